"""Certifies a trained run: python launch/certify.py --run=runs/NAME

One latent layer: Camuto's margin and the whitened spectral one. More: the hierarchical margin along sampled
paths. Writes certificates/METHOD.npz and certificates/margins.csv into the run.
"""

import pathlib

import cli
import jax
import numpy as np
from absl import flags

from seatbelt_jax import bounds, data, run, storage
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.vae import VAE

# Images certified where no number is given and there are as many.
_IMAGES = 50


def define_flags() -> None:
    flags.DEFINE_string("run", None, "The run directory.", required=True)
    flags.DEFINE_integer("images", None, "Validation images to certify, from the first; 50 by default.", lower_bound=1)
    flags.DEFINE_float("radius", 4.0, "r: how far a reconstruction may move, L2 in pixel units.")
    flags.register_validator("radius", lambda value: 0.0 < value < float("inf"), "must be positive and finite")
    flags.DEFINE_integer("samples", 2000, "Posterior draws per image.", lower_bound=1)
    flags.DEFINE_float("alpha", 1e-3, "Probability, per image, that a confidence bound fails.")
    flags.register_validator("alpha", lambda value: 0.0 < value < 1.0, "must lie between 0 and 1")
    flags.DEFINE_integer("seed", 0, "Of the draws.", lower_bound=0)


def main() -> None:
    certify(
        flags.FLAGS.run,
        images=flags.FLAGS.images,
        radius=flags.FLAGS.radius,
        samples=flags.FLAGS.samples,
        alpha=flags.FLAGS.alpha,
        seed=flags.FLAGS.seed,
    )


def certify(
    path: str | pathlib.Path, *, images: int | None, radius: float, samples: int, alpha: float, seed: int
) -> None:
    """Certifies images under the model of a run and writes the certificates into the run."""
    opened = run.open(path)
    # Before the work: a training that goes on meanwhile must not put its later step on these results.
    step = opened.latest_step
    vae = opened.load_vae(step)
    validation = data.load(opened.config["data"], vae.likelihood.image_range).validation
    if images is None:
        images = min(_IMAGES, validation.size)
    if images > validation.size:
        raise ValueError(
            f"there are {validation.size} validation images, not {images}; give --images={validation.size}"
        )
    chosen = np.asarray(validation.images(np.arange(images, dtype=np.int32)))
    certificates = certificates_of(vae, chosen, radius=radius, samples=samples, alpha=alpha, seed=seed)
    folder = opened.path / "certificates"
    for method, certificate in certificates.items():
        storage.write_npz(folder / f"{method}.npz", {**certificate.to_arrays(), "step": step})
        print(
            f"{opened.path}: {method} margin of {images} images at r = {radius:g}: median "
            f"{np.median(certificate.radius):.4g} (L2, pixel units), abstained on {certificate.abstained.sum()}; "
            f"{certificate.soundness.replace('_', ' ')}"
        )
    rows = [row for certificate in certificates.values() for row in certificate.rows()]
    storage.write_csv(folder / "margins.csv", rows)


def certificates_of(
    vae: VAE, images: np.ndarray, *, radius: float, samples: int, alpha: float, seed: int
) -> dict[str, bounds.Certificate]:
    """Every margin that exists for a model of this depth.

    Raises:
      ValueError: for a model with Concrete latents.
    """
    posteriors = jax.eval_shape(vae.encode, images[:1], vae.mean_path(1)).posteriors
    if not all(isinstance(q, DiagonalGaussian) for q in posteriors):
        raise ValueError("margins are for Gaussian latents; this model has Concrete ones (JointVAE)")

    def level(x: jax.Array, below: tuple[jax.Array, ...]) -> DiagonalGaussian:
        return jax.tree.map(lambda leaf: leaf[0], vae.posterior(x[None], tuple(z[None] for z in below)))

    def decode(latents: tuple[jax.Array, ...]) -> jax.Array:
        return vae.likelihood.mean(vae.decode(tuple(z[None] for z in latents)))[0]

    key = jax.random.key(seed)
    if len(vae.latent_sizes) == 1:
        return bounds.certify_dataset(
            lambda x: level(x, ()),
            lambda z: decode((z,)),
            images,
            radius=radius,
            key=key,
            num_samples=samples,
            alpha=alpha,
            methods=("camuto", "spectral"),
            progress=True,
        )
    print(
        f"{len(vae.latent_sizes)} latent layers: the Camuto and spectral margins are for one, so this is the "
        "hierarchical margin along sampled paths. It is of first order; what is not certified yet: that the encoder's "
        "means bend, and that its standard deviations move, within the margin."
    )
    hierarchical = bounds.hierarchical_margin(
        [level] * len(vae.latent_sizes),
        decode,
        images,
        radius=radius,
        key=key,
        num_samples=samples,
        num_pilot_samples=max(1, samples // 5),
        alpha=alpha,
        progress=True,
    )
    return {"hierarchical": hierarchical}


if __name__ == "__main__":
    define_flags()
    cli.start(main)
