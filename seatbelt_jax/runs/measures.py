"""The measures of a run as evaluation.json holds them."""

import pathlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from seatbelt_jax import storage
from seatbelt_jax.runs.overview import number
from seatbelt_jax.untrusted import check

if TYPE_CHECKING:
    from seatbelt_jax.runs.run import Run

# What evaluation.json holds: each measure is a mapping, and each that was skipped has its reason.
_RECORD = {"step": (int, type(None)), "measures": {"*": {"options?": {}}}, "skipped": {"*": str}}
# Terms of the measure "elbo" that depend on the aggregate posterior: in hierarchies they are brackets.
_BRACKETED = ("mutual_information_nats", "total_correlation_nats", "dimension_wise_kl_nats")


def read_record(file: pathlib.Path) -> dict[str, Any]:
    """What `evaluate` wrote; raises ValueError naming the file where it is something else."""
    found = storage.read_json(file)
    try:
        check(found, _RECORD, f"{file}")
    except ValueError as error:
        raise ValueError(f"{error}; this is not an evaluation; remove the file") from error
    return found


def current_record(file: pathlib.Path, step: int | None) -> dict[str, Any]:
    """What `evaluate` wrote of the model at a step; a record without measures where it wrote none of that step."""
    if file.exists() and (found := read_record(file))["step"] == step:
        return found
    return {"step": step, "measures": {}, "skipped": {}}


def read_measures(file: pathlib.Path, opened: "Run") -> dict[str, Any]:
    """The measures of the model as it stands, but for terms that lack their bracket; one line says so.

    Raises:
      ValueError: as `read_record`.
    """
    measures = current_record(file, opened.latest_step)["measures"]
    elbo = measures.get("elbo", {})
    if unknown := without_bracket(elbo, opened.config):
        terms = ", ".join(name for name in unknown if not name.endswith("_error"))
        print(f"left out: {terms} in {file}: bracket not measured by that version; evaluate again", file=sys.stderr)
    return {**measures, "elbo": {k: v for k, v in elbo.items() if k not in unknown}} if unknown else measures


def bracket(found: Mapping[str, Any], name: str) -> str:
    """Describes the bracket of a term of `metrics.elbo_decomposition`: its ends, and whether they determine it.

    An empty string if the term is missing.
    """
    lower, upper = (found.get(f"{name}_{end}") for end in ("lower", "upper"))
    if lower is None or upper is None:
        return ""
    ends = f"{number(lower)} to {number(upper)}, {found.get('paths')} paths"
    return ends if found.get(f"{name}_determined") else f"not determined ({ends})"


def without_bracket(elbo: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Entries of the measure "elbo" that hold one number although a bracket is needed.

    An earlier version computed them from one path an image and called them exact, also for hierarchies.

    Args:
      elbo: the measure, of evaluation.json.
      config: of the run.
    """
    is_hierarchy = len(config["model"].get("latent_sizes", ())) > 1
    if not is_hierarchy or "paths" in elbo or "paths" in elbo.get("options", {}):
        return []
    return [name for name in elbo if name.startswith(_BRACKETED)]


def at(found: Mapping[str, Any], path: str) -> Any:
    """The entry at a path of names with slashes between them; None where there is none."""
    entry: Any = found
    for name in path.split("/"):
        entry = entry.get(name) if isinstance(entry, Mapping) else None
    return entry
