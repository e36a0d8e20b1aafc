"""certify, certify_dataset and margin_curve: margins of r-robustness, with stated confidence and assumptions."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.ball import MovementBounds
from seatbelt_jax.bounds.batches import Streaming, Subject, certify_batches
from seatbelt_jax.bounds.checks import (
    Decode,
    DecodePath,
    Encode,
    Features,
    Level,
    Norm,
    check_counts,
    check_images,
    check_norm,
    check_probability,
    check_radius,
)
from seatbelt_jax.bounds.claims import Question
from seatbelt_jax.bounds.confidence import check_sufficient_samples
from seatbelt_jax.bounds.margin import LipschitzConstants
from seatbelt_jax.bounds.methods import METHODS
from seatbelt_jax.bounds.streaming import Fetch
from seatbelt_jax.results import Certificate
from seatbelt_jax.unfinished import Store


def certify(
    encode: Encode | None,
    decode: Decode | DecodePath,
    images: Float[Array | ndarray, "n *image"],
    *,
    radius: float,
    key: Array,
    levels: Sequence[Level] | None = None,
    features: Features | None = None,
    num_samples: int = 10_000,
    num_paths: int = 64,
    alpha: float = 1e-3,
    risk: float = 0.5,
    method: str = "spectral",
    norm: Norm = "l2",
    lipschitz: LipschitzConstants | None = None,
    num_pilot_samples: int = 1_000,
    batch_size: int = 16,
    decode_batch: int | None = None,
    chunk_size: int = 16,
    progress: bool = False,
) -> Certificate:
    """Certifies the margin of r-robustness of every image.

    The event is A_r = {z : ||decode(z) - decode(mean(x))||_2 <= radius}, centred at the
    reconstruction of the unperturbed image (Camuto et al. 2021, Def. 3.1 and Eq. 3). Its
    probability under the encoder at x is bounded from below by the one-sided Clopper-Pearson bound
    of `num_samples` draws, and the bound turned into a margin by the method. Images are certified
    one by one and draws decoded in blocks, so memory holds one block of reconstructions however
    many draws are asked for.

    A hierarchy (Seatbelt-VAE, DLGM with more than one layer) is given by its `levels`, encode being None; the
    pathwise methods certify it, and to first order `hierarchical_margin`. It cannot be written as encode and decode:
    its decoder or higher levels read samples whose distribution the other margins do not follow. Collapsing it to its
    bottom or top layer certifies another model.

    Methods:
      - "camuto": (min sigma) / ||J||_F, Camuto et al. 2021, Theorem 1; first order, L2 only.
      - "spectral": the whitened norm ||W|| in its place; first order, never below "camuto".
      - "antithetic": each draw is decoded with its mirror image, twice the work, and the better of two bounds
        counts; first order.
      - "moving_std": sigma is not frozen but moves, to first order.
      - "linear_region": "moving_std" as far as the encoder is affine around the image, where it is exact; for ReLU
        networks; locally exact.
      - "lipschitz": bounds of mean and log_std over the whole ball, from the code of encode (`local_lipschitz`) or
        from `lipschitz`; sound.
      - "hybrid": "lipschitz" with a Lipschitz bound of decode too: a smaller ball of reconstructions, chosen for
        each image by pilot draws, leaves room in which the mean may move freely; sound.
      - "pathwise": each of `num_paths` draws, its noise held fixed, is a deterministic function of the image, bounded
        over the whole ball (`propagation`); the radius that enough of them survive. Sigma moves, the decoder counts,
        and any number of layers will do; sound.
      - "pathwise_first_order": the same with the Jacobian of each draw's reconstruction at the image; first order.
      - "best_sound": the larger of "pathwise" and "hybrid", each at alpha / 2; of a hierarchy, or where the code of
        one is not understood, the other at alpha; sound.

    Statistics: alpha is spent for each image on its own, so a data set of n images is expected to
    hold at most n * alpha bounds that fail (`Certificate.expected_failures`). The radius must not have been chosen by
    these draws; use another key to choose it.

    Args:
      encode: x -> DiagonalGaussian with mean and log_std [latent], for one example.
      decode: z [latent] -> x, the mean image, for one example.
      images: [n, ...], floating point, in the model's pixel range.
      radius: r, the L2 radius of the ball of reconstructions, in pixel units.
      key: one typed key. The draws depend on it, on the image's index and on the draw's index
        alone, not on any batch size.
      levels: for a hierarchy, as for `hierarchical_margin`, and its `features`, which all levels then read.
      num_samples: draws for each image.
      num_paths: draws that the pathwise methods bound one by one, the first of all.
      alpha: probability of a failed bound, for each image.
      risk: m, the probability that A_r must exceed; 0.5 is Camuto's "more likely than not".
      method: one of the above.
      norm: of perturbations: "l2", or "linf", the largest change of a pixel.
      lipschitz: for "lipschitz" and "hybrid", constants known to hold for every perturbation, as numbers.
      num_pilot_samples: further draws for each image, where a method chooses by draws.
      batch_size: images between two updates of the progress bar.
      decode_batch: draws decoded at once; by default 64 on a CPU, 2048 on an accelerator.
      chunk_size: rows of the Jacobian propagated at once.
      progress: shows a progress bar when the output is a terminal.

    Raises:
      TypeError: key is not a typed key, images not floating point, encode or decode of the wrong
        type.
      ValueError: radius not positive; alpha or risk outside (0, 1); num_samples too small for alpha
        ever to certify; an unknown method, or one without a bound for the norm; images empty, without a batch axis
        or not finite; encode or decode of the wrong shape, or not deterministic; a mean, sigma, Jacobian or
        reconstruction of the mean that is not finite, or a sigma of zero, named by the image's index; for
        "linear_region", "lipschitz", "hybrid" and "pathwise", code of which no bound is known, named by its
        operation; a hierarchy for a method of one layer.

    Warns:
      UserWarning: "pathwise" where too few draws of an unperturbed image lie within the radius: it abstains there; the
        least radius that would do is named.
    """
    return certify_dataset(
        encode,
        decode,
        check_images(images),
        radius=radius,
        key=key,
        levels=levels,
        features=features,
        num_samples=num_samples,
        num_paths=num_paths,
        alpha=alpha,
        risk=risk,
        methods=(method,),
        norm=norm,
        lipschitz=lipschitz,
        num_pilot_samples=num_pilot_samples,
        batch_size=batch_size,
        decode_batch=decode_batch,
        chunk_size=chunk_size,
        progress=progress,
    )[method]


def certify_dataset(
    encode: Encode | None,
    decode: Decode | DecodePath,
    images: Float[Array | ndarray, "n *image"] | Fetch,
    *,
    radius: float,
    key: Array,
    levels: Sequence[Level] | None = None,
    features: Features | None = None,
    count: int | None = None,
    num_samples: int = 10_000,
    num_paths: int = 64,
    alpha: float = 1e-3,
    risk: float = 0.5,
    methods: Sequence[str] = ("spectral",),
    norm: Norm = "l2",
    lipschitz: LipschitzConstants | None = None,
    num_pilot_samples: int = 1_000,
    batch_size: int = 16,
    decode_batch: int | None = None,
    chunk_size: int = 16,
    store: Store | None = None,
    progress: bool = False,
) -> dict[str, Certificate]:
    """Certifies a data set batch by batch, by several methods from the same draws; `certify` says what is claimed.

    One set of draws serves all methods at no further cost in confidence where they share p_lower, as "camuto",
    "spectral", "moving_std", "linear_region" and "lipschitz" do: they fail together. "antithetic", "hybrid" and the
    pathwise methods have bounds of their own, each of which fails with probability alpha.

    `certified_fraction`, `mean_margin` and `expected_failures` of each `Certificate` describe the whole data set.

    Args:
      images: as for `certify`, or a function from indices [batch] to images.
      count: how many images the function has.
      methods: names of methods.
      store: keeps each batch's certificates, so that the same call goes on after an interruption.
      The other arguments and the errors are those of `certify`.
    """
    names = _check_methods(methods)
    subject = Subject(encode, levels, decode, features)
    question = _question(subject, radius, (num_samples, num_paths), alpha, risk, norm, lipschitz)
    return certify_batches(
        subject,
        images,
        count,
        {name: question(name) for name in names},
        Streaming(key, num_pilot_samples, batch_size, decode_batch, chunk_size, progress, store),
    )


def margin_curve(
    encode: Encode | None,
    decode: Decode | DecodePath,
    images: Float[Array | ndarray, "n *image"],
    *,
    radii: Sequence[float],
    key: Array,
    levels: Sequence[Level] | None = None,
    features: Features | None = None,
    num_samples: int = 10_000,
    num_paths: int = 64,
    alpha: float = 1e-3,
    risk: float = 0.5,
    method: str = "spectral",
    norm: Norm = "l2",
    lipschitz: LipschitzConstants | None = None,
    num_pilot_samples: int = 1_000,
    batch_size: int = 16,
    decode_batch: int | None = None,
    chunk_size: int = 16,
    progress: bool = False,
) -> tuple[Certificate, ...]:
    """Certificates for several radii r of the ball of reconstructions, which hold together.

    All are of the same draws, so each is given alpha over the number of radii: with probability 1 - alpha, for each
    image on its own, none of them fails, and one may be picked after they are seen.

    Args:
      radii: r, each positive, L2 in pixel units.
      alpha: probability, for each image, that any of the certificates fails.
      The other arguments and the errors are those of `certify`.

    Returns:
      One Certificate for each radius, in their order, of level alpha / len(radii).
    """
    if not len(radii):
        raise ValueError("a curve needs at least one radius")
    _check_methods((method,))
    check_probability("alpha", alpha)
    subject = Subject(encode, levels, decode, features)
    share, draws = alpha / len(radii), (num_samples, num_paths)
    questions = {
        str(number): _question(subject, radius, draws, share, risk, norm, lipschitz)(method)
        for number, radius in enumerate(radii)
    }
    streaming = Streaming(key, num_pilot_samples, batch_size, decode_batch, chunk_size, progress)
    return tuple(certify_batches(subject, check_images(images), None, questions, streaming).values())


def _question(
    subject: Subject,
    radius: float,
    draws: tuple[int, int],
    alpha: float,
    risk: float,
    norm: Norm,
    lipschitz: LipschitzConstants | None,
) -> Callable[[str], Question]:
    """From a method's name to what is asked, checked; draws are num_samples and num_paths."""
    num_samples, num_paths = draws
    check_radius(radius)
    check_counts(num_samples=num_samples, num_paths=num_paths)
    check_norm(norm)
    if lipschitz is not None and any(np.ndim(value) for value in dataclasses.asdict(lipschitz).values()):
        raise ValueError("the Lipschitz constants of a certificate are numbers that hold for all images, not arrays")
    movement = None
    if subject.encode is not None:
        movement = MovementBounds(subject.encode, cast(Decode, subject.decode), norm, lipschitz)

    def question(name: str) -> Question:
        method = METHODS[name]
        if movement is None and not method.any_depth:
            of_levels = ", ".join(other for other in METHODS if METHODS[other].any_depth)
            raise ValueError(
                f"method {name!r} is for one latent layer, given as encode; a hierarchy is certified by {of_levels}, "
                "or to first order by hierarchical_margin"
            )
        if norm not in method.norms:
            raise ValueError(f"method {name!r} has no bound for norm={norm!r}")
        if name == "hybrid" and lipschitz is not None and lipschitz.decoder is None:
            raise ValueError("method 'hybrid' needs the Lipschitz constants of mean and decoder too")
        # Where two methods share alpha, each has half.
        share = alpha / 2.0 if method.draws == "both" else alpha
        if method.draws != "paths":
            check_sufficient_samples(num_samples, share, risk)
        if method.draws != "samples":
            check_sufficient_samples(num_paths, share, risk, name="num_paths")
        of_claim = num_paths if method.draws == "paths" else num_samples
        return Question(name, radius, of_claim, num_paths, alpha, risk, norm, movement)

    return question


def _check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    names = tuple(methods)
    if isinstance(methods, str) or not names or any(name not in METHODS for name in names):
        raise ValueError(f"methods must be some of {', '.join(METHODS)}, in a tuple; got {methods!r}")
    return names
