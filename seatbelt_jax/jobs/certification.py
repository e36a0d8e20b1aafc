"""What certification does with the model of a run: margins, what attacks leave of them, and the least r."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from typing import Any, get_args

import jax
import numpy as np
from jax.tree_util import Partial

from seatbelt_jax import bounds, sections, storage
from seatbelt_jax.bounds import checks, pathwise_bounds
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.jobs import run_data
from seatbelt_jax.options import check, option
from seatbelt_jax.unfinished import Labelled
from seatbelt_jax.vae import VAE, Inference

# Margins of several latent layers by `hierarchical_margin`; all others are those of `bounds.METHODS`.
MODES: dict[str, Any] = {"hierarchical": "path", "hierarchical_sup": "sup"}
KNOWN = (*bounds.METHODS, *MODES)
# Images between two saves of what is done.
_PIECE = 16
# Beyond this a typing error is likelier than a wish.
_MOST_SAMPLES = 100_000_000
_CONCRETE = "margins are for Gaussian latents; this model has Concrete ones (JointVAE)"


@dataclasses.dataclass(frozen=True)
class Options:
    """How the images of a run are certified.

    Raises:
      ValueError: for values that an option does not allow.
    """

    methods: tuple[str, ...] = option(
        (),
        f"Margins to compute, from: {', '.join(KNOWN)}. Default: best_sound and the first-order "
        "methods, or the path of a hierarchy.",
    )
    split: str = option("validation", run_data.SPLIT_HELP, choices=run_data.UNSEEN)
    images: int | None = option(None, "Number of images to certify, from the first on. Default: 50.", least=1)
    radius: float = option(4.0, "r: largest change of a reconstruction that counts as robust, L2 in pixel units.")
    samples: int = option(2000, "Number of posterior draws per image.", least=1, most=_MOST_SAMPLES)
    paths: int = option(64, "Number of these draws that the pathwise methods bound one by one.", least=1)
    alpha: float = option(1e-3, "Probability that the confidence bound of an image is wrong.")
    risk: float = option(0.5, "m: the reconstruction must stay within r with a probability above this.")
    norm: str = option("l2", "Norm of the perturbation.", choices=get_args(checks.Norm))
    seed: int = option(0, "Seed of the draws.")
    empirical: int = option(0, "Number of images to attack for upper bounds; 0 computes none.", least=0)
    frozen_std: bool = option(
        False,
        "With --empirical: freeze sigma at the unperturbed image (Camuto et al. 2021, Eq. 3); by default it moves.",
    )
    minimal_radius: bool = option(True, "Also find the smallest r for which each image has a margin.")
    sound: bool = option(
        True, "Without --methods: also find the largest sound margin; seconds an image, more for wide networks."
    )

    def __post_init__(self) -> None:
        check("certify", self)
        sections.check_seed("certify.seed", self.seed)
        checks.check_radius(self.radius)
        checks.check_probability("alpha", self.alpha)
        checks.check_probability("risk", self.risk)
        if self.frozen_std and not self.empirical:
            raise ValueError(
                "frozen_std changes margins by attack, and empirical is 0: set it to the number of images to attack"
            )

    @property
    def question(self) -> dict[str, Any]:
        """What is asked of every image, as `bounds` has it."""
        return {
            "radius": self.radius,
            "num_samples": self.samples,
            "alpha": self.alpha,
            "risk": self.risk,
            "norm": self.norm,
        }


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Functions:
    """A model as functions of one example: of layers 1..depth, and of the first alone with a decoder of it alone.

    The functions are values, which share what is compiled with those of other models of the architecture.
    """

    vae: VAE

    @property
    def depth(self) -> int:
        return len(self.vae.latent_sizes)

    @property
    def features(self) -> Callable[[jax.Array], jax.Array]:
        return Partial(_features, self.vae)

    @property
    def level(self) -> Callable[[jax.Array, tuple[jax.Array, ...]], DiagonalGaussian]:
        return Partial(_level, self.vae)

    @property
    def decode_path(self) -> Callable[[tuple[jax.Array, ...]], jax.Array]:
        return Partial(_decode_path, self.vae)

    @property
    def encode(self) -> Callable[[jax.Array], DiagonalGaussian]:
        return Partial(_encode, self.vae)

    @property
    def decode(self) -> Callable[[jax.Array], jax.Array]:
        return Partial(_decode, self.vae)

    @property
    def of_depth(self) -> tuple[Any, Any]:
        """encode and decode of one layer; of several no encode, and a decoder of all their latents."""
        return (self.encode, self.decode) if self.depth == 1 else (None, self.decode_path)

    @property
    def levels_of_features(self) -> list[Callable] | None:
        """One function for each of several layers, which reads the features."""
        return None if self.depth == 1 else [self.level] * self.depth

    @property
    def levels(self) -> list[Callable] | None:
        """One function for each of several layers, which reads the image itself."""
        return None if self.depth == 1 else [Partial(_level_of_image, self.vae)] * self.depth


def _inference(vae: VAE) -> Inference:
    if vae.inference is None:
        raise ValueError(_CONCRETE)
    return vae.inference


def _features(vae: VAE, x: jax.Array) -> jax.Array:
    return _inference(vae).features(x[None])[0]


def _level(vae: VAE, features: jax.Array, below: tuple[jax.Array, ...]) -> DiagonalGaussian:
    posterior = _inference(vae).posterior(features[None], tuple(z[None] for z in below))
    return jax.tree.map(lambda leaf: leaf[0], posterior)


def _level_of_image(vae: VAE, x: jax.Array, below: tuple[jax.Array, ...]) -> DiagonalGaussian:
    return _level(vae, _features(vae, x), below)


def _encode(vae: VAE, x: jax.Array) -> DiagonalGaussian:
    return _level_of_image(vae, x, ())


def _decode_path(vae: VAE, latents: tuple[jax.Array, ...]) -> jax.Array:
    return vae.likelihood.mean(vae.decode(tuple(z[None] for z in latents)))[0]


def _decode(vae: VAE, z: jax.Array) -> jax.Array:
    return _decode_path(vae, (z,))


@jax.jit
def _mean_path(vae: VAE, x: jax.Array) -> tuple[list[DiagonalGaussian], jax.Array]:
    """The posteriors along the means, and what they decode to."""
    features = _features(vae, x)
    posteriors: list[DiagonalGaussian] = []
    for _ in vae.latent_sizes:
        posteriors.append(_level(vae, features, tuple(posterior.mean for posterior in posteriors)))
    return posteriors, _decode_path(vae, tuple(posterior.mean for posterior in posteriors))


def why_not(config: Mapping[str, Any]) -> str:
    """Why models of a configuration have no margins; empty where they have."""
    return _CONCRETE if config["model"].get("discrete_sizes") else ""


def functions_of(vae: VAE) -> Functions:
    """The model as `bounds` takes it.

    Raises:
      ValueError: for a model with Concrete latents.
    """
    _inference(vae)
    return Functions(vae.traced())


def certificates(
    functions: Functions, methods: tuple[str, ...], images: np.ndarray, options: Options, store: storage.Folder
) -> dict[str, bounds.Certificate]:
    """A certificate by each method; methods are those of the model's depth."""
    key, pilot = jax.random.key(options.seed), max(1, options.samples // 5)
    of_draws = tuple(name for name in methods if name in bounds.METHODS)
    made: dict[str, bounds.Certificate] = {}
    if of_draws:
        encode, decode = functions.of_depth
        made = bounds.certify_dataset(
            encode,
            decode,
            images,
            key=key,
            levels=functions.levels_of_features,
            features=functions.features if functions.depth > 1 else None,
            methods=of_draws,
            num_paths=options.paths,
            num_pilot_samples=pilot,
            # Bounds from the code take seconds an image: each is saved, and seen in the bar.
            batch_size=_PIECE if all(bounds.METHODS[name].soundness == "first_order" for name in of_draws) else 1,
            store=store,
            progress=True,
            **options.question,
        )

    def by(method: str) -> bounds.Certificate:
        def certify(images: np.ndarray, key: jax.Array) -> Mapping[str, np.ndarray]:
            return bounds.hierarchical_margin(
                functions.levels_of_features or (),
                functions.decode_path,
                images,
                key=key,
                features=functions.features,
                mode=MODES[method],
                num_pilot_samples=pilot,
                progress=True,
                **options.question,
            ).to_arrays()

        arrays = _in_pieces(certify, functions, images, key, f"{method} {pilot} {options.question}", store)
        return bounds.Certificate.from_arrays(arrays)

    return {method: made[method] if method in made else by(method) for method in methods}


def no_sound_margin(functions: Functions, image: np.ndarray) -> str:
    """Why no sound margin is made unasked: an operation without bounds, or the time that bounds take; else empty."""
    encode, decode = functions.of_depth
    if reason := pathwise_bounds.refusal(encode, decode, image, levels=functions.levels):
        return reason
    if pathwise_bounds.is_costly(encode, decode, image, levels=functions.levels):
        return "bounds of networks so deep or wide take minutes; --methods=best_sound makes them"
    return ""


def empirical_margin(
    functions: Functions, images: np.ndarray, options: Options, store: storage.Folder
) -> bounds.EmpiricalMargin:
    """Upper bounds of the margins, by attack."""

    def attack(images: np.ndarray, key: jax.Array) -> Mapping[str, np.ndarray]:
        return bounds.empirical_margin(
            *functions.of_depth,
            images,
            key=key,
            levels=functions.levels,
            frozen_std=options.frozen_std,
            progress=True,
            **options.question,
        ).to_arrays()

    key = _key(options, "empirical margin")
    settings = f"empirical margin {options.question}{' of a frozen sigma' if options.frozen_std else ''}"
    arrays = _in_pieces(attack, functions, images, key, settings, store)
    return bounds.EmpiricalMargin.from_arrays(arrays)


def minimal_radius(functions: Functions, images: np.ndarray, options: Options) -> bounds.MinimalRobustRadius:
    """The least r that each image can meet, by draws of its own: those of a certificate must not choose its r."""
    return bounds.minimal_robust_radius(
        *functions.of_depth,
        images,
        levels=functions.levels,
        key=_key(options, "minimal radius"),
        num_samples=options.samples,
        alpha=options.alpha,
        risk=options.risk,
        progress=True,
    )


def _key(options: Options, what: str) -> jax.Array:
    """A key other than the certificates' one, and other than what they derive from it: the numbers of images."""
    return jax.random.fold_in(jax.random.key(options.seed), zlib.crc32(what.encode()))


def _in_pieces(
    make: Callable[[np.ndarray, jax.Array], Mapping[str, np.ndarray]],
    functions: Functions,
    images: np.ndarray,
    key: jax.Array,
    settings: str,
    store: storage.Folder,
) -> dict[str, np.ndarray]:
    """Makes the arrays of a result a few images at a time, each piece with a key of its own and kept in the store."""
    probe = np.concatenate([np.ravel(part) for part in jax.tree.leaves(_mean_path(functions.vae, images[0]))])
    labelled = Labelled(store, (settings, np.asarray(jax.random.key_data(key))), probe)
    pieces = []
    for first in range(0, len(images), _PIECE):
        piece, name = images[first : first + _PIECE], f"{settings.split()[0]} from {first}"
        arrays = labelled.read(name, piece)
        if arrays is None:
            arrays = make(piece, jax.random.fold_in(key, zlib.crc32(f"images from {first}".encode())))
            labelled.write(name, piece, arrays)
        pieces.append(arrays)
    # What is of the whole result is the same in all pieces.
    return {
        name: np.concatenate([piece[name] for piece in pieces]) if array.ndim and name != "assumptions" else array
        for name, array in pieces[0].items()
        if name not in ("settings", "probes", "lanes")
    }
