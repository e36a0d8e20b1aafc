"""A hierarchy of linear layers with a linear decoder: each draw's radius in closed form, NumPy, float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from seatbelt_jax.bounds.operator_norm import operator_norm
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

    def exact_radii(self, noise, radius, norm="l2"):
        """Every draw's R_e, by bisection: [draw]."""
        moved = np.asarray(noise, np.float64) @ self.of_noise.T
        farthest = {"l2": self._farthest_in_ball, "linf": self._farthest_in_box}[norm]
        low, high = np.zeros(len(moved)), np.full(len(moved), 2.0 * radius / self.norm("l2"))
        for _ in range(50):
            middle = 0.5 * (low + high)
            held = farthest(moved, middle) <= radius
            low, high = np.where(held, middle, low), np.where(held, high, middle)
        return np.where(np.linalg.norm(moved, axis=1) <= radius, low, 0.0)

    def _farthest_in_ball(self, moved, size):
        """max ||v + J d||_2 over ||d||_2 <= R: y_i = s_i c_i / (t - s_i^2) at the t > s_1^2 that makes its length R."""
        left, values, _ = np.linalg.svd(self.jacobian)
        values = np.pad(values, (0, left.shape[0] - values.size))
        along = moved @ left
        low, high = np.full(len(moved), values[0] ** 2), np.full(len(moved), values[0] ** 2 + 1e9)
        for _ in range(200):
            middle = 0.5 * (low + high)
            y = values * along / (middle[:, None] - values**2)
            longer = np.linalg.norm(y, axis=1) > size
            low, high = np.where(longer, middle, low), np.where(longer, high, middle)
        y = values * along / (high[:, None] - values**2)
        return np.linalg.norm(along + values * y, axis=1)

    def _farthest_in_box(self, moved, size):
        corners = np.array(list(itertools.product([-1.0, 1.0], repeat=self.jacobian.shape[1]))) @ self.jacobian.T
        return np.linalg.norm(moved[:, None] + size[:, None, None] * corners, axis=2).max(axis=1)


@jax.jit
def values_of(fun, x, noise):
    return jax.vmap(lambda e: fun(x, e).reshape(-1))(noise)


@jax.jit
def jacobian_of(fun, x, noise):
    return jax.jacobian(lambda image: fun(image, noise).reshape(-1))(x)


def jacobian_bound(fun, x, noise, centre, size, *, norm, draw_batch=None):
    """Stands in for `propagation.deviation_bound` on linear models: ||fun(x, e) - centre|| + R ||J||."""
    values = np.asarray(values_of(fun, x, noise))
    slope = operator_norm(np.asarray(jacobian_of(fun, x, noise[0])).reshape(values.shape[1], -1), norm)
    return np.linalg.norm(values - centre.reshape(-1), axis=1) + size * slope
