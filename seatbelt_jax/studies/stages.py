"""What is done to each cell of a sweep, and how it is known to be done."""

import pathlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from seatbelt_jax import data, interrupts, runs, training
from seatbelt_jax.errors import EXPECTED
from seatbelt_jax.jobs import attack, certification, certify, evaluate, evaluation, train
from seatbelt_jax.results import files
from seatbelt_jax.runs import measures
from seatbelt_jax.runs.layout import newest_step, saved_steps
from seatbelt_jax.studies.cells import Cell, Sweep


class Stage(NamedTuple):
    """Something done to a trained run.

    Attributes:
      is_done: whether the run has its results, made on its newest step with these options.
    """

    name: str
    is_done: Callable[[runs.Run], bool]
    do: Callable[[pathlib.Path], None]


def stages_of(sweep: Sweep, cell: Cell) -> list[Stage]:
    """All but training, in their order: some measures read attacks."""
    layers = len(cell.config["model"]["latent_sizes"])
    stages = [
        Stage(f"attack {name}", partial(_is_attacked, options=options), partial(attack.attack, options=options))
        for name, options in sweep.attacks.items()
        # With one layer they equal the attack on all layers.
        if layers > 1 or options.layers not in ("top", "bottom")
    ]
    if (certifying := sweep.certify) is not None and not certification.why_not(cell.config):
        doing = partial(certify.certify, options=certifying)
        stages.append(Stage("certify", partial(_is_certified, options=certifying), doing))
    if (evaluating := sweep.evaluate) is not None:
        measuring = partial(evaluate.evaluate, options=evaluating)
        stages.append(Stage("evaluate", partial(_is_evaluated, options=evaluating), measuring))
    return stages


def is_trained(cell: Cell, path: pathlib.Path) -> bool:
    """Whether the last step was taken and evaluated.

    Raises:
      ValueError: where the run is of another configuration, or damaged.
      DivergenceError: where the training ended in steps that were not finite.
    """
    steps = cell.config["train"]["steps"]
    if newest_step(path / "checkpoints") != steps:
        return False
    if not is_of(cell, path):
        # It says what differs.
        train.prepare(cell.config, path)
    last = {row["split"]: row for row in training.read_metrics(path) if row["step"] == steps}
    skipped = int(last.get("train", {}).get("skipped_in_a_row") or 0)
    if skipped >= training.parse_settings(cell.config).train.max_skipped_in_a_row:
        raise training.DivergenceError(
            f"training diverged: its last {skipped} steps were not finite and not applied; try a lower "
            f"optimizer.learning_rate or set optimizer.max_gradient_norm, and remove {path}"
        )
    return "validation" in last


def is_of(cell: Cell, path: pathlib.Path) -> bool:
    """Whether the run was made with the cell's configuration."""
    return not runs.configuration_changes(runs.open(path).config, cell.config, {"data": data.DEFAULTS})


def train_cells(cells: Sequence[Cell], folder: pathlib.Path) -> dict[str, Exception]:
    """Trains cells of a group, together, from where they are; returns why some could not be, by name."""
    ready, failed = {}, {}
    for cell in cells:
        try:
            if not is_trained(cell, folder / cell.name):
                ready[cell.name] = train.prepare(cell.config, folder / cell.name)
        except Exception as error:
            failed[cell.name] = failure(error)
    # What ends a group may be the matter of one cell alone: then each is tried by itself.
    waiting = _at_one_step(ready)
    while waiting:
        together = waiting.pop(0)
        try:
            _train(together)
        except Exception as error:
            reason = failure(error)
            if len(together) > 1 and not isinstance(error, training.DivergenceError):
                waiting += [[prepared] for prepared in together]
            else:
                failed |= dict.fromkeys((prepared.opened.name for prepared in together), reason)
    for cell in cells:
        try:
            if cell.name not in failed:
                is_trained(cell, folder / cell.name)
        except Exception as error:
            failed[cell.name] = failure(error)
    return failed


def do(stage: Stage, path: pathlib.Path) -> Exception | None:
    """Does it where it is not done; returns why it could not be done."""
    try:
        if not stage.is_done(runs.open(path)):
            print(f"{path.name}: {stage.name}")
            stage.do(path)
    except Exception as error:
        return failure(error)
    return None


def failure(error: Exception) -> Exception:
    """The error; its traceback on standard error where its message alone does not say what went wrong.

    Raises:
      Exception: the error itself, after Ctrl-C: what is broken off fails in ways of its own.
    """
    if interrupts.is_stopping():
        raise error
    if not isinstance(error, EXPECTED):
        traceback.print_exception(error)
    return error


def attack_file(opened: runs.Run, options: attack.Options) -> pathlib.Path | None:
    """The results of an attack with these options on the run's newest step."""
    for file in sorted((opened.path / "attacks").glob(f"*{options.name}.npz")):
        if files.made_by(file).is_of(opened.latest_step, options):
            return file
    return None


def _train(together: Sequence[train.Prepared]) -> None:
    first = together[0]
    if len(together) == 1:
        training.train(first.model, first.splits, first.settings, first.opened.path, on_evaluation=first.show)
        return
    training.train_grid(
        first.model,
        first.splits,
        [prepared.settings for prepared in together],
        [prepared.opened.path for prepared in together],
        on_evaluation=lambda number, step, found: together[number].show(step, found),
    )


def _at_one_step(ready: Mapping[str, train.Prepared]) -> list[list[train.Prepared]]:
    """Those that go on from the same step; a kill between two saves leaves some of a group one save behind."""
    groups: list[tuple[set[int], list[train.Prepared]]] = []
    for prepared in ready.values():
        steps = saved_steps(prepared.opened.path / "checkpoints")
        for shared, group in groups:
            if shared & steps or not (shared or steps):
                shared &= steps
                group.append(prepared)
                break
        else:
            groups.append((steps, [prepared]))
    return [group for _, group in groups]


def _is_attacked(opened: runs.Run, options: attack.Options) -> bool:
    return attack_file(opened, options) is not None


def _is_certified(opened: runs.Run, options: certification.Options) -> bool:
    return not certify.is_unfinished(opened, options) and all(
        file.exists() and files.made_by(file).is_of(opened.latest_step, options)
        for file in certify.results(opened, options)
    )


def _is_evaluated(opened: runs.Run, options: evaluation.Options) -> bool:
    record = measures.current_record(evaluate.record_file(opened, options), opened.latest_step)
    made, skipped = record["measures"], record["skipped"]
    return all(
        name in skipped or (name in made and made[name].get("options") == files.as_json(options))
        for name in options.measures or evaluate.MEASURES
    )
