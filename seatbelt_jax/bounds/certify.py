"""certify, certify_dataset, margin_curve and hierarchical_margin: margins of r-robustness, with stated confidence."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, Unpack, get_args

from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.batches import certificates
from seatbelt_jax.bounds.checks import check_images
from seatbelt_jax.bounds.functions import Decode, DecodePath, Encode, Features, Level
from seatbelt_jax.bounds.methods import METHODS
from seatbelt_jax.bounds.model import Model, given
from seatbelt_jax.bounds.settings import Settings, records
from seatbelt_jax.bounds.streaming import Fetch
from seatbelt_jax.results import Certificate
from seatbelt_jax.sections import check_choice

Mode = Literal["path", "sup"]


def certify(
    encode: Encode | Model | None,
    decode: Decode | DecodePath | None,
    images: Float[Array | ndarray, "n *image"],
    *,
    radius: float,
    key: Array,
    method: str = "spectral",
    levels: Sequence[Level] | None = None,
    features: Features | None = None,
    **settings: Unpack[Settings],
) -> Certificate:
    """Certifies the margin of r-robustness of every image.

    The event is A_r = {z : ||decode(z) - decode(mean(x))||_2 <= radius}, centred at the
    reconstruction of the unperturbed image (Camuto et al. 2021, Def. 3.1 and Eq. 3). Its
    probability under the encoder at x is bounded from below by the one-sided Clopper-Pearson bound
    of `num_samples` draws, and the bound turned into a margin by the method. Images are certified
    one by one and draws decoded in blocks, so memory holds one block of reconstructions however
    many draws are asked for.

    A hierarchy (Seatbelt-VAE, DLGM with more than one layer) is given by its `levels`, encode being None; the
    pathwise methods certify it, and to first order the hierarchical ones. It cannot be written as encode and decode:
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
      - "hierarchical", "hierarchical_sup": of a hierarchy, first order; see `hierarchical_margin`.

    Statistics: alpha is spent for each image on its own, so a data set of n images is expected to
    hold at most n * alpha bounds that fail (`Certificate.expected_failures`). The radius must not have been chosen by
    these draws; use another key to choose it.

    Args:
      encode: x -> DiagonalGaussian with mean and log_std [latent], for one example. Or a `Model`, with decode None.
      decode: z [latent] -> x, the mean image, for one example.
      images: [n, ...], floating point, in the model's pixel range.
      radius: r, the L2 radius of the ball of reconstructions, in pixel units.
      key: one typed key. The draws depend on it, on the image's index and on the draw's index
        alone, not on any batch size.
      levels: for a hierarchy, as for `hierarchical_margin`, and its `features`, which all levels then read.
      method: one of the above.
      settings: fields of `Question` and of `Work` by their names, num_samples, num_paths, alpha, risk and norm among
        them; their defaults are those of the records.

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
        methods=(method,),
        levels=levels,
        features=features,
        **settings,
    )[method]


def certify_dataset(
    encode: Encode | Model | None,
    decode: Decode | DecodePath | None,
    images: Float[Array | ndarray, "n *image"] | Fetch,
    *,
    radius: float,
    key: Array,
    methods: Sequence[str] = ("spectral",),
    levels: Sequence[Level] | None = None,
    features: Features | None = None,
    count: int | None = None,
    **settings: Unpack[Settings],
) -> dict[str, Certificate]:
    """Certifies a data set batch by batch, by several methods from the same draws; `certify` says what is claimed.

    One set of draws serves all methods at no further cost in confidence where they share p_lower, as "camuto",
    "spectral", "moving_std", "linear_region" and "lipschitz" do: they fail together. "antithetic", "hybrid" and the
    pathwise and hierarchical methods have bounds of their own, each of which fails with probability alpha.

    `certified_fraction`, `mean_margin` and `expected_failures` of each `Certificate` describe the whole data set.

    Args:
      images: as for `certify`, or a function from indices [batch] to images.
      count: how many images the function has.
      methods: names of methods.
      store: keeps each batch's certificates, so that the same call goes on after an interruption.
      The other arguments and the errors are those of `certify`.
    """
    names = _check_methods(methods)
    question, work = records(settings, Settings, key=key, radius=radius)
    questions = {name: dataclasses.replace(question, method=name) for name in names}
    return certificates(given(encode, decode, levels, features), images, questions, work, count=count)


def margin_curve(
    encode: Encode | Model | None,
    decode: Decode | DecodePath | None,
    images: Float[Array | ndarray, "n *image"],
    *,
    radii: Sequence[float],
    key: Array,
    method: str = "spectral",
    levels: Sequence[Level] | None = None,
    features: Features | None = None,
    **settings: Unpack[Settings],
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
    whole, work = records(settings, Settings, key=key, method=method)
    question = dataclasses.replace(whole, alpha=whole.alpha / len(radii))
    questions = {str(number): dataclasses.replace(question, radius=radius) for number, radius in enumerate(radii)}
    model = given(encode, decode, levels, features)
    return tuple(certificates(model, check_images(images), questions, work).values())


def hierarchical_margin(
    levels: Sequence[Level],
    decode: DecodePath,
    images: Float[Array | ndarray, "n *image"],
    *,
    radius: float,
    key: Array,
    features: Features | None = None,
    mode: Mode = "path",
    level_norms: Sequence[float] | None = None,
    **settings: Unpack[Settings],
) -> Certificate:
    """Certifies the margin of r-robustness of every image under a model with one or more latent layers.

    The event is that ||decode(z) - c||_2 <= radius, c decoded from the mean path of the unperturbed image (z^i the
    mean of layer i given those means below), *and* that the whitened Jacobians of all layers, taken at the draw,
    stack to a spectral norm of at most kappa. With q the one-sided Clopper-Pearson bound of its probability,

        margin = (Phi^-1(q) - Phi^-1(risk)) / kappa.

    kappa is chosen, for each image, among the norms of `num_pilot_samples` separate draws: the one that promises
    the largest margin. The proof, and why neither averaged Jacobians nor those of the mean path would do, is at the
    top of hierarchy.py. First order: the means are linearised in the perturbation, at each path. For one layer this is
    `certify`'s "spectral" margin, on the same draws. It is for comparing models, at the price of a Jacobian a draw; a
    margin to rely on is `certify(None, decode, images, levels=levels, method="pathwise")`, sound and for any depth.

    Each draw costs one backward pass for every latent coordinate above layer 1 (layer 1's Jacobian is the same for
    all draws). Those passes run for `draw_batch` draws and `chunk_size` coordinates at once, which bounds the
    memory, not the result. Where all levels read the image through the same features, pass these: the passes then
    end at the features, whose own Jacobian is found once for an image, and the result is the same.

    Args:
      levels: one function per layer, layer 1 (nearest the data) first: (x, below) -> DiagonalGaussian with mean
        and log_std [latent], for one example; below is the tuple of the latents of the layers before it.
      decode: the tuple of all latents -> x, the mean image, for one example.
      images: [n, ...], floating point, in the model's pixel range.
      radius: r, the L2 radius of the ball of reconstructions, in pixel units.
      key: one typed key. The draws depend on it, on the image's index and on the draw's index alone.
      features: x -> [feature], for one example; levels then take its value in the place of x.
      mode: "path", the norm of the levels' Jacobians stacked, draw by draw; or "sup", a bound for each level, composed.
      level_norms: for "sup", bounds of ||W_i||_2 that hold for all latents below, for every perturbation in question:
        standard deviations per pixel unit, one for each layer. Without them each level's largest norm among the pilot
        draws, which the event then includes.
      The other arguments are those of `certify`; kappa is chosen by the pilot draws.

    Returns:
      A Certificate of method "hierarchical", or "hierarchical_sup", norm_bound holding kappa. It abstains where no
      pilot draw has a finite norm.

    Raises:
      TypeError, ValueError: as for `certify`, levels in the place of encode; what must be finite must be so along
        the mean path. A draw with a mean, sigma, Jacobian or reconstruction that is not finite is a miss.
    """
    check_choice("mode", mode, get_args(Mode))
    method = {"path": "hierarchical", "sup": "hierarchical_sup"}[mode]
    asked = {"key": key, "radius": radius, "method": method, "level_norms": level_norms}
    # Jacobians take seconds an image: each is seen in the progress bar.
    question, work = records({"batch_size": 1, **settings}, Settings, **asked)
    model = Model.of_levels(levels, decode, features)
    return certificates(model, check_images(images), {method: question}, work)[method]


def _check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    names = tuple(methods)
    if isinstance(methods, str) or not names or any(name not in METHODS for name in names):
        raise ValueError(f"methods must be some of {', '.join(METHODS)}, in a tuple; got {methods!r}")
    return names
