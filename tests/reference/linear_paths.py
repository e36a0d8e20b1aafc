"""A hierarchy of linear layers with a linear decoder: each draw's radius in closed form, NumPy, float64."""

import itertools

import jax.numpy as jnp
import numpy as np

from seatbelt_jax.gaussian import DiagonalGaussian


class LinearPaths:
    """z^i = A_i x + C_i z^{<i} + sigma_i e_i, decoded by G: h_e(x) = J x + N e, the same J for every draw.

    Attributes:
      levels, decode: as `bounds` takes them.
      jacobian: J [pixels, pixels].
      of_noise: N [pixels, total].
    """

    def __init__(self, sizes, shape, seed=0, scale=1.0):
        rng = np.random.default_rng(seed)
        pixels, total = int(np.prod(shape)), sum(sizes)
        self.sizes = tuple(sizes)
        self._matrices = [np.float32(rng.normal(size=(size, pixels))) for size in sizes]
        self._couplings = [np.float32(rng.normal(size=(size, sum(sizes[:i])))) for i, size in enumerate(sizes)]
        self._stds = [rng.uniform(0.3, 1.2, size) for size in sizes]
        self._out = np.float32(scale * rng.normal(size=(pixels, total)) / np.sqrt(total))
        self._shape = shape

        of_image, of_noise = np.zeros((0, pixels)), np.zeros((0, total))
        start = 0
        for matrix, coupling, std in zip(self._matrices, self._couplings, self._stds, strict=True):
            own = np.zeros((len(std), total))
            own[:, start : start + len(std)] = np.diag(std)
            of_image = np.concatenate([of_image, matrix + coupling.astype(np.float64) @ of_image])
            of_noise = np.concatenate([of_noise, own + coupling.astype(np.float64) @ of_noise])
            start += len(std)
        self.jacobian = self._out.astype(np.float64) @ of_image
        self.of_noise = self._out.astype(np.float64) @ of_noise

    @property
    def levels(self):
        def make(matrix, coupling, std):
            def level(x, below):
                under = jnp.concatenate([jnp.zeros(0), *below])
                mean = jnp.asarray(matrix) @ x.reshape(-1) + jnp.asarray(coupling) @ under
                return DiagonalGaussian(mean, jnp.asarray(np.log(std), jnp.float32))

            return level

        return [make(*layer) for layer in zip(self._matrices, self._couplings, self._stds, strict=True)]

    def decode(self, latents):
        return (jnp.asarray(self._out) @ jnp.concatenate(latents)).reshape(self._shape)

    def norm(self, norm):
        """sup ||J d||_2 over ||d|| <= 1: the largest singular value, or the farthest corner of the box."""
        if norm == "l2":
            return np.linalg.norm(self.jacobian, 2)
        corners = np.array(list(itertools.product([-1.0, 1.0], repeat=self.jacobian.shape[1])))
        return np.linalg.norm(corners @ self.jacobian.T, axis=1).max()

    def radii(self, noise, radius, norm="l2"):
        """A lower bound of every draw's R_e, exact where the worst distortion points along the draw: [draw]."""
        distance = np.linalg.norm(np.asarray(noise, np.float64) @ self.of_noise.T, axis=1)
        return np.maximum(radius - distance, 0.0) / self.norm(norm)
