"""What certification does with the model of a run: margins, what attacks leave of them, and the least r."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from typing import Any, get_args

import jax
import numpy as np

from seatbelt_jax import bounds, sections, storage
from seatbelt_jax.bounds import checks
from seatbelt_jax.bounds.model import CONCRETE
from seatbelt_jax.jobs import run_data
from seatbelt_jax.options import check, option
from seatbelt_jax.unfinished import Labelled

# Images between two saves of what is done.
_PIECE = 16
# Beyond this a typing error is likelier than a wish.
_MOST_SAMPLES = 100_000_000


@dataclasses.dataclass(frozen=True)
class Options:
    """How the images of a run are certified.

    Raises:
      ValueError: for values that an option does not allow.
    """

    methods: tuple[str, ...] = option(
        (), "Margins to compute. Default: best_sound and the first-order methods, or the path of a hierarchy."
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


def why_not(config: Mapping[str, Any]) -> str:
    """Why models of a configuration have no margins; empty where they have."""
    return CONCRETE if config["model"].get("discrete_sizes") else ""


def certificates(
    model: bounds.Model, methods: tuple[str, ...], images: np.ndarray, options: Options, store: storage.Folder
) -> dict[str, bounds.Certificate]:
    """A certificate by each method; methods are those of the model's depth."""
    return bounds.certify_dataset(
        model,
        None,
        images,
        key=jax.random.key(options.seed),
        methods=methods,
        num_paths=options.paths,
        num_pilot_samples=max(1, options.samples // 5),
        # Bounds from the code, and Jacobians of draws, take seconds an image: each is saved, and seen in the bar.
        batch_size=_PIECE if all(map(_is_quick, methods)) else 1,
        store=store,
        progress=True,
        **options.question,
    )


def _is_quick(method: str) -> bool:
    return bounds.METHODS[method].models == "one" and bounds.METHODS[method].soundness == "first_order"


def empirical_margin(
    model: bounds.Model, images: np.ndarray, options: Options, store: storage.Folder
) -> bounds.EmpiricalMargin:
    """Upper bounds of the margins, by attack."""

    def attack(images: np.ndarray, key: jax.Array) -> Mapping[str, np.ndarray]:
        return bounds.empirical_margin(
            model, None, images, key=key, frozen_std=options.frozen_std, progress=True, **options.question
        ).to_arrays()

    key = _key(options, "empirical margin")
    settings = f"empirical margin {options.question}{' of a frozen sigma' if options.frozen_std else ''}"
    pieces = _in_pieces(attack, model, images, key, settings, store)
    return bounds.EmpiricalMargin.concatenate([bounds.EmpiricalMargin.from_arrays(piece) for piece in pieces])


def minimal_radius(model: bounds.Model, images: np.ndarray, options: Options) -> bounds.MinimalRobustRadius:
    """The least r that each image can meet, by draws of its own: those of a certificate must not choose its r."""
    return bounds.minimal_robust_radius(
        model,
        None,
        images,
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
    model: bounds.Model,
    images: np.ndarray,
    key: jax.Array,
    settings: str,
    store: storage.Folder,
) -> list[Mapping[str, np.ndarray]]:
    """Makes the arrays of a result a few images at a time, each piece with a key of its own and kept in the store.

    `make` batches its images itself (`bounds.streaming.map_images`) but keeps nothing; after an interruption, finished
    pieces are read from the store.
    """
    described = f"{settings} {model.checked(images)[1]}"
    labelled = Labelled(store, (described, np.asarray(jax.random.key_data(key))), np.zeros(0))
    pieces: list[Mapping[str, np.ndarray]] = []
    for first in range(0, len(images), _PIECE):
        piece, name = images[first : first + _PIECE], f"{settings.split()[0]} from {first}"
        arrays = labelled.read(name, piece)
        if arrays is None:
            arrays = make(piece, jax.random.fold_in(key, zlib.crc32(f"images from {first}".encode())))
            labelled.write(name, piece, arrays)
        pieces.append(arrays)
    return pieces
