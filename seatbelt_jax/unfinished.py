"""Storage for unfinished work, with labels by which a later attempt recognises its own."""

import hashlib
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float

from seatbelt_jax import versions

# Gradients at the same image, on the same model, in two processes: an accelerator may choose other algorithms.
_ROUNDING = 1e-3


@runtime_checkable
class Store(Protocol):
    """Where unfinished work is kept: named groups of arrays, each written whole or not at all."""

    def read(self, name: str) -> Mapping[str, np.ndarray] | None: ...

    def write(self, name: str, arrays: Mapping[str, np.ndarray]) -> None: ...


class Labelled:
    """A store that writes on each group whose it is, and does not see other work's groups.

    Args:
      store: keeps the groups.
      settings: what two attempts share bit for bit for one to go on with the other's work: a text, and arrays.
      probes: what their models say of the same images, by which models are told apart.
    """

    def __init__(
        self, store: Store, settings: tuple[str, *tuple[np.ndarray, ...]], probes: Float[np.ndarray, " probe"]
    ):
        digest = hashlib.sha256(f"{settings[0]}, {_versions()}".encode())
        for array in settings[1:]:
            digest.update(np.ascontiguousarray(array).tobytes())
        self._store, self._settings, self._probes = store, np.asarray(digest.hexdigest()), probes

    def read(self, name: str, lanes: np.ndarray) -> Mapping[str, np.ndarray] | None:
        """A group on the same lanes (what each part of the work is on), or None."""
        arrays = self._store.read(name)
        if arrays is None or arrays.get("settings") != self._settings or not np.array_equal(arrays["lanes"], lanes):
            return None
        same = np.allclose(arrays["probes"], self._probes, rtol=_ROUNDING, atol=1e-6, equal_nan=True)
        return arrays if same else None

    def write(self, name: str, lanes: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        label = {"settings": self._settings, "probes": self._probes, "lanes": lanes}
        self._store.write(name, {**arrays, **label})


def _versions() -> str:
    """The state of a solver is laid out as these packages please."""
    return f"{versions.installed('seatbelt-jax')}, {jax.__version__}"
