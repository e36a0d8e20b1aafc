"""The measures of a run as evaluation.json holds them."""

import pathlib
import sys
from typing import Any

from seatbelt_jax import storage
from seatbelt_jax.runs import summary
from seatbelt_jax.runs.run import Run
from seatbelt_jax.untrusted import check

# What evaluation.json holds: each measure is a mapping, and each that was skipped has its reason.
_RECORD = {"step": (int, type(None)), "measures": {"*": {"options?": {}}}, "skipped": {"*": str}}


def read_record(file: pathlib.Path) -> dict[str, Any]:
    """What `evaluate` wrote; raises ValueError naming the file where it is something else."""
    found = storage.read_json(file)
    try:
        check(found, _RECORD, f"{file}")
    except ValueError as error:
        raise ValueError(f"{error}; this is not an evaluation; remove the file") from error
    return found


def read_measures(file: pathlib.Path, opened: Run) -> dict[str, Any]:
    """The measures in a file of `evaluate`, but for terms that lack their bracket; one line says so.

    Raises:
      ValueError: as `read_record`.
    """
    measures = read_record(file)["measures"]
    elbo = measures.get("elbo", {})
    if unknown := summary.without_bracket(elbo, opened.config):
        terms = ", ".join(name for name in unknown if not name.endswith("_error"))
        print(f"left out: {terms} in {file}: bracket not measured by that version; evaluate again", file=sys.stderr)
    return {**measures, "elbo": {k: v for k, v in elbo.items() if k not in unknown}} if unknown else measures
