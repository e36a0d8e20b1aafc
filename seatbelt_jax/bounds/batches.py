"""Certificates made batch by batch, so that a data set of any size streams, and goes on after an interruption."""

import dataclasses
import hashlib
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import check_radius, warn_of_constant_means, warn_of_unmet_radius
from seatbelt_jax.bounds.confidence import check_sufficient_samples, sufficient_hits
from seatbelt_jax.bounds.evidence import Evidence, Needed, gather
from seatbelt_jax.bounds.methods import METHODS
from seatbelt_jax.bounds.model import Model
from seatbelt_jax.bounds.question import Question
from seatbelt_jax.bounds.streaming import Fetch, Source
from seatbelt_jax.bounds.work import Work
from seatbelt_jax.results import Certificate
from seatbelt_jax.unfinished import Labelled, Store


def certificates(
    model: Model,
    images: Float[Array | ndarray, "n *image"] | Fetch,
    questions: Mapping[str, Question],
    work: Work | None = None,
    *,
    count: int | None = None,
) -> dict[str, Certificate]:
    """Answers each question, under its name, for all images; `certify` says what is claimed.

    The questions share their draws, so they share key, norm and Lipschitz constants, too. Certificates of several
    radii, or several times the same method, hold together only with probability 1 minus the sum of their alphas.

    Args:
      images: [n, ...], or a function from indices [batch] to images.
      questions: each with a radius.
      count: how many images the function has.

    Raises:
      TypeError, ValueError: as for `certify`.
    """
    work = Work() if work is None else work
    questions = {name: _checked(question, model) for name, question in questions.items()}
    shared = _shared(list(questions.values()))
    source = Source.of(images, count)
    layers, description = model.checked(source.fetch(np.arange(1)))

    needs = frozenset[str]().union(*(METHODS[question.method].needs for question in questions.values()))
    by_path = [question for question in questions.values() if "paths" in METHODS[question.method].needs]
    paths = max((question.num_paths for question in by_path), default=0)
    needed = Needed(
        samples=max(paths, *(question.num_samples for question in questions.values())),
        pilot=shared.num_pilot_samples if "pilot" in needs else 0,
        paths=paths,
        mirrored="mirrored" in needs,
    )
    told = " ".join(f"{name}: {question.describe()}" for name, question in questions.items())
    made = _Made(work.store, shared.key, f"{description} {source.count} {needed.pilot} {told}")
    constant, unmet = set[int](), dict[int, float]()
    for evidence in gather(layers, source, shared, needed, work, made.known):
        answers = {name: _certificate(question, evidence) for name, question in questions.items()}
        constant |= _constant(evidence, answers)
        if by_path:
            unmet |= _least_radii(max(by_path, key=lambda one: one.radius), evidence)
        made.add(evidence.first, evidence.images, answers)
    warn_of_constant_means(layers.means, sorted(constant), source.count)
    warn_of_unmet_radius(max((one.radius for one in by_path), default=0.0), unmet, source.count)
    return made.joined()


def _checked(question: Question, model: Model) -> Question:
    """The question, with num_samples as its method needs it; raises unless it can be answered."""
    name = question.method
    if name not in METHODS:
        raise ValueError(f"methods must be some of {', '.join(METHODS)}, in a tuple; got {name!r}")
    method, kind = METHODS[name], "one" if model.levels is None else "levels"
    check_radius(question.radius)
    if method.models not in (kind, "any"):
        others = ", ".join(other for other in METHODS if METHODS[other].models in (kind, "any"))
        raise ValueError(
            f"method {name!r} is for one latent layer, given as encode; a hierarchy is certified by {others}"
            if kind == "levels"
            else f"method {name!r} is for a hierarchy, given as levels; one latent layer is certified by {others}"
        )
    if question.norm not in method.norms:
        raise ValueError(f"method {name!r} has no bound for norm={question.norm!r}")
    if name == "hybrid" and question.lipschitz is not None and question.lipschitz.decoder is None:
        raise ValueError("method 'hybrid' needs the Lipschitz constants of mean and decoder too")
    if question.level_norms is not None and (method.takes is None or method.takes[0] != "level_norms"):
        raise ValueError(f"level_norms are for mode='sup', which is method 'hierarchical_sup', not {name!r}")
    of_samples, of_paths = ({need} <= method.needs for need in ("samples", "paths"))
    # Where two methods share alpha, each has half.
    share = question.alpha / 2.0 if of_samples and of_paths else question.alpha
    if of_samples:
        check_sufficient_samples(question.num_samples, share, question.risk)
    if of_paths:
        check_sufficient_samples(question.num_paths, share, question.risk, name="num_paths")
    return question if of_samples else dataclasses.replace(question, num_samples=question.num_paths)


def _shared(questions: list[Question]) -> Question:
    """One of the questions; raises unless all are answered by the same draws and bounds."""
    if not questions:
        raise ValueError("there is no question to answer")
    first = questions[0]
    for name in ("key", "norm", "lipschitz", "num_pilot_samples"):
        mine = getattr(first, name)
        if not all(getattr(other, name) is mine or bool(getattr(other, name) == mine) for other in questions):
            raise ValueError(f"questions that are answered together share their {name}")
    return first


def _constant(evidence: Evidence, answers: Mapping[str, Certificate]) -> set[int]:
    """Indices of the images on which no mean depends."""
    norms = evidence.jacobian_norms
    still = np.zeros(len(evidence.images), bool) if norms is None else np.asarray(norms.frobenius) == 0.0
    for answer in answers.values():
        still |= (answer.norm_bound == 0.0) & (answer.hits > 0)
    return {evidence.first + int(row) for row in np.flatnonzero(still)}


def _least_radii(question: Question, evidence: Evidence) -> dict[int, float]:
    """The radius that would do, for images that have too few draws within the radius asked for."""
    rank = sufficient_hits(question.num_paths, question.alpha, question.risk)
    least = np.sort(evidence.distances[:, : question.num_paths, 0], axis=1)[:, rank - 1]
    return {evidence.first + int(row): float(least[row]) for row in np.flatnonzero(least > question.radius)}


def _certificate(question: Question, evidence: Evidence) -> Certificate:
    method = METHODS[question.method]
    claim = method.claim(evidence, question)
    return Certificate(
        radius=np.asarray(claim.radius),
        p_lower=np.asarray(claim.p_lower),
        hits=claim.hits,
        abstained=~(np.asarray(claim.radius) > 0.0),
        norm_bound=np.asarray(claim.norm_bound),
        norms=evidence.jacobian_norms,
        method=question.method,
        soundness=method.soundness,
        assumptions=method.assumed(question),
        alpha=question.alpha,
        risk=question.risk,
        reconstruction_radius=float(question.radius),
        num_samples=question.num_samples,
        norm=question.norm,
    )


class _Made:
    """The certificates made so far, batch by batch, those of an earlier attempt with them."""

    def __init__(self, store: Store | None, key: Array, settings: str):
        self._batches: dict[int, dict[str, Certificate]] = {}
        self._store = None
        if store is not None:
            # The settings say what the model is, to the bit: nothing needs to be probed.
            self._store = Labelled(store, (settings, np.asarray(jax.random.key_data(key))), np.zeros(0))

    def known(self, first: int, images: Float[ndarray, "batch *image"]) -> bool:
        """Takes up what an earlier attempt left of a batch, if it did."""
        arrays = None if self._store is None else self._store.read(_group(first), _digest(images))
        if arrays is None:
            return False
        left: dict[str, dict[str, ndarray]] = {}
        for path, array in arrays.items():
            if "/" in path:
                name, field = path.split("/")
                left.setdefault(name, {})[field] = array
        self._batches[first] = {name: Certificate.from_arrays(fields) for name, fields in left.items()}
        return True

    def add(self, first: int, images: Float[ndarray, "batch *image"], made: dict[str, Certificate]) -> None:
        self._batches[first] = made
        if self._store is not None:
            arrays = {
                f"{name}/{field}": array
                for name, certificate in made.items()
                for field, array in certificate.to_arrays().items()
            }
            self._store.write(_group(first), _digest(images), arrays)

    def joined(self) -> dict[str, Certificate]:
        batches = [self._batches[first] for first in sorted(self._batches)]
        return {name: Certificate.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _group(first: int) -> str:
    return f"images from {first}"


def _digest(images: Float[ndarray, "batch *image"]) -> ndarray:
    return np.frombuffer(hashlib.sha256(np.ascontiguousarray(images).tobytes()).digest(), np.uint8)
