"""Certificates made batch by batch, so that a data set of any size streams, and goes on after an interruption."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import (
    Decode,
    DecodePath,
    Encode,
    Features,
    Level,
    check_counts,
    check_images,
    check_key,
    warn_of_constant_means,
    warn_of_unmet_radius,
)
from seatbelt_jax.bounds.claims import Question
from seatbelt_jax.bounds.confidence import sufficient_hits
from seatbelt_jax.bounds.draws import described_model
from seatbelt_jax.bounds.evidence import Evidence, gather
from seatbelt_jax.bounds.methods import METHODS
from seatbelt_jax.bounds.streaming import Fetch, default_decode_batch
from seatbelt_jax.results import Certificate
from seatbelt_jax.unfinished import Labelled, Store


class Subject(NamedTuple):
    """The functions that certificates are about: encode and decode, or the levels of a hierarchy in encode's place."""

    encode: Encode | None
    levels: Sequence[Level] | None
    decode: Decode | DecodePath
    features: Features | None


@dataclasses.dataclass(frozen=True, eq=False)
class Streaming:
    """How the work is cut into pieces; of these only key and the numbers of draws change a result."""

    key: Array
    num_pilot_samples: int
    batch_size: int
    decode_batch: int | None
    chunk_size: int
    progress: bool
    store: Store | None = None


def certify_batches(
    subject: Subject,
    images: Float[Array | ndarray, "n *image"] | Fetch,
    count: int | None,
    questions: Mapping[str, Question],
    streaming: Streaming,
) -> dict[str, Certificate]:
    """Answers each question, under its name, for all images; the questions share their draws.

    All ask for the same norm. The arguments and errors are those of `certify_dataset`.
    """
    decode_batch = default_decode_batch() if streaming.decode_batch is None else streaming.decode_batch
    check_counts(
        num_pilot_samples=streaming.num_pilot_samples,
        batch_size=streaming.batch_size,
        decode_batch=decode_batch,
        chunk_size=streaming.chunk_size,
    )
    check_key(streaming.key)
    fetch, count = _check_source(images, count)
    first_image = fetch(np.arange(1))
    model, description = described_model(subject.encode, subject.levels, subject.decode, first_image, subject.features)

    methods = [METHODS[question.method] for question in questions.values()]
    pilot = streaming.num_pilot_samples if any(method.pilot for method in methods) else 0
    by_path = [one for one in questions.values() if METHODS[one.method].draws != "samples"]
    paths = max((one.num_paths for one in by_path), default=0)
    settings = f"{description} {count} {pilot} " + " ".join(
        f"{name}: {question.describe()}" for name, question in questions.items()
    )
    made, constant, unmet = _Made(streaming, settings), list[int](), dict[int, float]()
    for evidence in gather(
        model,
        fetch,
        count,
        key=streaming.key,
        num_samples=max(paths, *(one.num_samples for one in questions.values())),
        num_pilot_samples=pilot,
        num_paths=paths,
        mirrored=any(method.mirrored for method in methods),
        norm=next(iter(questions.values())).norm,
        batch_size=streaming.batch_size,
        decode_batch=decode_batch,
        chunk_size=streaming.chunk_size,
        progress=streaming.progress,
        skip=made.known,
    ):
        if evidence.jacobian_norms is not None:
            frobenius = evidence.jacobian_norms.frobenius
            constant += [evidence.first + int(row) for row in np.flatnonzero(frobenius == 0.0)]
        answers = {name: _certificate(question, evidence) for name, question in questions.items()}
        if by_path:
            unmet |= _least_radii(max(by_path, key=lambda one: one.radius), evidence)
        made.add(evidence.first, evidence.images, answers)
    warn_of_constant_means("encode's mean", constant, count, stacklevel=4)
    warn_of_unmet_radius(max((one.radius for one in by_path), default=0.0), unmet, count, stacklevel=4)
    return made.joined()


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
        assumptions=(*method.assumptions, *question.given),
        alpha=question.alpha,
        risk=question.risk,
        reconstruction_radius=float(question.radius),
        num_samples=question.num_samples,
        norm=question.norm,
    )


class _Made:
    """The certificates made so far, batch by batch, those of an earlier attempt with them."""

    def __init__(self, streaming: Streaming, settings: str):
        self._batches: dict[int, dict[str, Certificate]] = {}
        self._store = None
        if streaming.store is not None:
            key = np.asarray(jax.random.key_data(streaming.key))
            # The settings say what the model is, to the bit: nothing needs to be probed.
            self._store = Labelled(streaming.store, (settings, key), np.zeros(0))

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


def _check_source(images: Float[Array | ndarray, "n *image"] | Fetch, count: int | None) -> tuple[Fetch, int]:
    if not callable(images):
        array = check_images(images)
        return array.__getitem__, len(array)
    if count is None:
        raise TypeError("images is a function of indices: say with count how many there are")
    check_counts(count=count)

    def fetch(indices: ndarray) -> Float[ndarray, "batch *image"]:
        return check_images(images(indices), first=int(indices[0]))

    return fetch, count
