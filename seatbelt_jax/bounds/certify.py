"""certify: margins of r-robustness for a data set, with stated confidence and assumptions."""

import dataclasses
from typing import overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.certificate import Certificate
from seatbelt_jax.bounds.checks import (
    Decode,
    Encode,
    check_centres,
    check_counts,
    check_images,
    check_jacobians,
    check_key,
    check_model,
    check_posteriors,
    check_radius,
)
from seatbelt_jax.bounds.confidence import check_sufficient_samples, lower_confidence_bound
from seatbelt_jax.bounds.jacobian import (
    JacobianNorms,
    RowScaledGram,
    norms_from_gram,
    posterior_and_gram,
)
from seatbelt_jax.bounds.margin import METHODS, margin
from seatbelt_jax.bounds.reconstruction import reconstruction_distances
from seatbelt_jax.bounds.streaming import default_decode_batch, map_images
from seatbelt_jax.gaussian import DiagonalGaussian


@overload
def certify(
    encode: Encode,
    decode: Decode,
    images: Float[Array | ndarray, "n *image"],
    *,
    radius: float,
    key: Array,
    num_samples: int = ...,
    alpha: float = ...,
    risk: float = ...,
    method: str = ...,
    batch_size: int = ...,
    decode_batch: int | None = ...,
    chunk_size: int = ...,
    progress: bool = ...,
) -> Certificate: ...


@overload
def certify(
    encode: Encode,
    decode: Decode,
    images: Float[Array | ndarray, "n *image"],
    *,
    radius: float,
    key: Array,
    num_samples: int = ...,
    alpha: float = ...,
    risk: float = ...,
    method: tuple[str, ...] | list[str],
    batch_size: int = ...,
    decode_batch: int | None = ...,
    chunk_size: int = ...,
    progress: bool = ...,
) -> dict[str, Certificate]: ...


def certify(
    encode: Encode,
    decode: Decode,
    images: Float[Array | ndarray, "n *image"],
    *,
    radius: float,
    key: Array,
    num_samples: int = 10_000,
    alpha: float = 1e-3,
    risk: float = 0.5,
    method: str | tuple[str, ...] | list[str] = "spectral",
    batch_size: int = 16,
    decode_batch: int | None = None,
    chunk_size: int = 16,
    progress: bool = False,
) -> Certificate | dict[str, Certificate]:
    """Certifies the margin of r-robustness of every image.

    The event is A_r = {z : ||decode(z) - decode(mean(x))||_2 <= radius}, centred at the
    reconstruction of the unperturbed image (Camuto et al. 2021, Def. 3.1 and Eq. 3). Its
    probability under the encoder at x is bounded from below by the one-sided Clopper-Pearson bound
    of `num_samples` draws, and the bound turned into a margin by the method. Images are certified
    one by one and draws decoded in blocks, so memory holds one block of reconstructions however
    many draws are asked for.

    For one latent layer only; a hierarchy (Seatbelt-VAE, DLGM with more than one layer) is for
    `hierarchical_margin`. It cannot be written as these two functions: its decoder or higher levels
    read samples whose distribution these margins do not follow. Collapsing it to its bottom or top
    layer certifies another model.

    Statistics: alpha is spent for each image on its own, so a data set of n images is expected to
    hold at most n * alpha bounds that fail (`Certificate.expected_failures`). One set of draws
    serves all methods at no further cost in confidence: they share the one event that p_lower is
    below the truth. The radius must not have been chosen by these draws; use another key to choose
    it.

    Args:
      encode: x -> DiagonalGaussian with mean and log_std [latent], for one example.
      decode: z [latent] -> x, the mean image, for one example.
      images: [n, ...], floating point, in the model's pixel range.
      radius: r, the L2 radius of the ball of reconstructions, in pixel units.
      key: one typed key. The draws depend on it, on the image's index and on the draw's index
        alone, not on any batch size.
      num_samples: draws for each image.
      alpha: probability of a failed bound, for each image.
      risk: m, the probability that A_r must exceed; 0.5 is Camuto's "more likely than not".
      method: "spectral" (`r_robustness_margin`), "camuto" (`camuto_margin`), or a tuple of them.
      batch_size: images between two updates of the progress bar.
      decode_batch: draws decoded at once; by default 64 on a CPU, 2048 on an accelerator.
      chunk_size: rows of the Jacobian propagated at once.
      progress: shows a progress bar when the output is a terminal.

    Returns:
      A Certificate; for a tuple of methods a dictionary of one for each, from the same draws.

    Raises:
      TypeError: key is not a typed key, images not floating point, encode or decode of the wrong
        type.
      ValueError: radius not positive; alpha or risk outside (0, 1); num_samples too small for alpha
        ever to certify; an unknown method; images empty, without a batch axis or not finite; encode
        or decode of the wrong shape; a mean, sigma, Jacobian or reconstruction of the mean that is
        not finite, or a sigma of zero, named by the image's index.
    """
    methods = _check_methods(method)
    check_radius(radius)
    decode_batch = default_decode_batch() if decode_batch is None else decode_batch
    check_counts(
        num_samples=num_samples,
        batch_size=batch_size,
        decode_batch=decode_batch,
        chunk_size=chunk_size,
    )
    check_sufficient_samples(num_samples, alpha, risk)
    check_key(key)
    array = check_images(images)
    check_model(encode, decode, array)

    def evidence(
        x: Float[Array, "*image"], index: Int[Array, ""]
    ) -> tuple[DiagonalGaussian, RowScaledGram, Bool[Array, ""], Float[Array, "num_samples"]]:
        posterior, gram = posterior_and_gram(encode, x, chunk_size)
        centre, distances = reconstruction_distances(
            decode,
            posterior,
            jax.random.fold_in(key, index),
            num_samples=num_samples,
            decode_batch=decode_batch,
        )
        return posterior, gram, jnp.isfinite(centre).all(), distances

    batches = []
    for first, (posterior, gram, finite, distances) in map_images(
        evidence, array, batch_size=batch_size, progress=progress, description="certify"
    ):
        std = np.asarray(posterior.std)
        check_posteriors(posterior.mean, std, first)
        check_jacobians(gram.gram, first)
        check_centres(finite, first)
        # In float64: a radius rounded to float32 could be the larger of the two.
        hits = np.count_nonzero(distances.astype(np.float64) <= radius, axis=1)
        batches.append((hits, norms_from_gram(gram, std)))

    hits = np.concatenate([batch for batch, _ in batches])
    norms = JacobianNorms(
        **{
            field.name: np.concatenate([getattr(batch, field.name) for _, batch in batches])
            for field in dataclasses.fields(JacobianNorms)
        }
    )
    p_lower = lower_confidence_bound(hits, num_samples, alpha)
    norm_bounds = {name: METHODS[name].norm_bound(norms) for name in methods}
    certificates = {
        name: Certificate(
            radius=margin(p_lower, norm_bounds[name], risk=risk),
            p_lower=p_lower,
            hits=hits,
            abstained=p_lower <= risk,
            norm_bound=norm_bounds[name],
            norms=norms,
            method=name,
            soundness=METHODS[name].soundness,
            assumptions=METHODS[name].assumptions,
            alpha=alpha,
            risk=risk,
            reconstruction_radius=float(radius),
            num_samples=num_samples,
        )
        for name in methods
    }
    return certificates[method] if isinstance(method, str) else certificates


def _check_methods(method: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    methods = (method,) if isinstance(method, str) else tuple(method)
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, or a tuple of them, got {method!r}")
    return methods
