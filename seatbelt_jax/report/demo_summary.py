"""What the demo prints at its end: what an attack costs, what is certified soundly, and then the rest, side by side."""

import pathlib
from collections.abc import Mapping

import numpy as np

from seatbelt_jax import attacks, metrics, runs, training
from seatbelt_jax.results import AttackResult, Certificate, files
from seatbelt_jax.results.measures import OF_ATTACKS, OF_MODELS, Measure, of_place

# The demo's attack: latent, by KL, on all layers, between images of different labels.
_ATTACK = pathlib.Path("attacks", "latent_kl_all_label.npz")
# Columns are at least so wide.
_WIDTH = 12

Table = dict[str, dict[str, str]]


def summary(runs: Mapping[str, pathlib.Path]) -> str:
    """The measures of the runs, one column each, under headings; the two that matter most come first.

    Args:
      runs: run directories by the names of their columns; each trained, attacked and certified.
    """
    tables = [_table(path) for path in runs.values()]
    labels = max(len(label) for rows in tables[0].values() for label in rows) + 2
    width = max(_WIDTH, *(len(name) + 2 for name in runs))
    lines = [" " * labels + "".join(f"{name:>{width}}" for name in runs)]
    for heading, rows in tables[0].items():
        lines.append(heading)
        for label in rows:
            values = "".join(f"{table[heading][label]:>{width}}" for table in tables)
            lines.append(f"{f'  {label}':<{labels}}{values}")
    return "\n".join(lines)


def _table(path: pathlib.Path) -> Table:
    result = files.read(path / _ATTACK, AttackResult)
    found = metrics.summarise(result)
    certificates = _certificates(path)
    radius = certificates[0].reconstruction_radius
    validation = [row for row in training.read_metrics(path) if row["split"] == "validation"][-1]
    of_attacks = tuple(of_place("demo", OF_ATTACKS))
    limit = np.mean(attacks.diagnose(result).flags["iteration_limit"])
    return {
        "What an attack costs: ||d||, L2 over the image": {
            _words(one): f"{found[one.name]:.4g}" for one in of_attacks if one.unit == "pixel units"
        },
        f"What is certified: no smaller ||d|| moves the reconstruction by r = {radius:g}, in median": {
            "sound": _median(certificates, "sound"),
            "to first order, which is no proof": _median(certificates, "first_order"),
        },
        "How strong the attacks are": {
            **{_words(one): f"{found[one.name]:.4g}" for one in of_attacks if one.unit == "{unit}"},
            "attacks that ended at the iteration limit": f"{limit:.0%}",
        },
        "How good the models are, on validation images": {
            _words(one): f"{validation[one.training]:.4g}" for one in of_place("demo", OF_MODELS)
        },
    }


def _words(measure: Measure) -> str:
    return f"{measure.words.format(unit='nats')} ({measure.direction} is better)"


def _certificates(path: pathlib.Path) -> list[Certificate]:
    """Those of the run's newest step."""
    current, _ = files.current(path / "certificates", runs.newest_step(path / "checkpoints"))
    found = [margins for margins in map(files.read_margins, current) if isinstance(margins, Certificate)]
    if not found:
        raise FileNotFoundError(f"{path / 'certificates'} has no certificates")
    return found


def _median(certificates: list[Certificate], soundness: str) -> str:
    """The largest median margin among the certificates of a class, with its method; "none" without any."""
    margins = [float(np.median(one.radius)) for one in certificates if one.soundness == soundness]
    return f"{max(margins):.3g}" if margins else "none"
