"""Figures and tables of Sootla 2018, from the tables and the runs of sweeps.

The thesis reconstructs from the arg max of the Concrete logits (Sec. 3.3 and 4). The models of the sweeps s18_small and
s18_paper do so too: `model.hard_samples`.
"""

import pathlib
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pandas as pd

from seatbelt_jax import metrics, plots, runs
from seatbelt_jax.results import AttackResult, files
from seatbelt_jax.studies.papers.drawing import Drawn, Figure, Row, page
from seatbelt_jax.studies.papers.figure_tables import MissingError, Tables

# Its models, as it calls them. All have Concrete latents.
_MODELS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "JointVAE": lambda cells: cells["kind"] == "joint_vae",
    "VAE": lambda cells: (cells["kind"] == "concrete_vae") & ~(cells["weight_decay"] > 0.0),
    "VAE with weight decay": lambda cells: (cells["kind"] == "concrete_vae") & (cells["weight_decay"] > 0.0),
}
# AS_ignore-target and AS_target of its Table 4.1, per cent.
_TABLE_4_1 = {"JointVAE": (36.86, 12.54), "VAE": (29.83, 9.49), "VAE with weight decay": (26.88, 7.85)}
_MEASURES = {"ignore_target": "AS ignore-target", "target": "AS target"}
_COLUMNS = 10
_OF_AN_EXAMPLE = ("source_index", "source_label", "target_label", "distortion_l2", "distance_left_l2")
_COUNTED = "Attacks count whose source's clean reconstruction is classified right; pairs of digits weigh the same."


def latents(tables: Tables) -> Drawn:
    """Fig. 4.1: images, reconstructions, and what each latent unit changes in the first image, for each model."""
    panels: list[plots.Panel] = []
    table: list[Row] = []
    for name, cell in _cells(tables).items():
        folder = _folders(tables, cell)[0]
        result = _attack(tables, cell, whole=True)
        # One source of every label: the first.
        _, first = np.unique(np.asarray(result.source_label), return_index=True)
        chosen = first[:_COLUMNS]
        vae = runs.open(folder).load_vae(int(cell["step"]))
        image = result.sources[chosen[0]]
        strips = metrics.traversal_from_image(vae, image, values=np.linspace(-3.0, 3.0, _COLUMNS).tolist())
        rows = [result.sources[chosen], result.source_reconstructions[chosen], *strips]
        columns = max(map(len, rows))
        tiles = np.stack([np.concatenate([row, np.full((columns - len(row), *row.shape[1:]), np.nan)]) for row in rows])
        continuous = sum(len(strip) == _COLUMNS for strip in strips) - (len(strips[-1]) == _COLUMNS)
        names = ["x", "recon(x)", *(f"z{unit}" for unit in range(1, continuous + 1))]
        names += ["class"] * (len(rows) - len(names))
        panels.append(plots.Tiles(name, tiles, vae.likelihood.image_range, names, ()))
        changes = [float(np.sqrt(np.square(strip - strip[:1]).sum(axis=(1, 2, 3)).max())) for strip in strips]
        table += [
            {"data": cell["data"], "model": name, "cell": cell["cell"], "unit": unit, "largest_change_l2": change}
            for unit, change in zip(names[2:], changes, strict=True)
        ]
    notes = (
        "Above, one image of each digit and its reconstruction. Below, units of the first image's code are set to "
        "values from -3 to 3, one row a unit, and its Concrete variable to each class.",
        "In the table: the largest L2 distance, in pixel units, from the first picture of a row.",
    )
    return Drawn(table, panels, columns=3, notes=notes)


def examples(tables: Tables, model: str) -> Drawn:
    """Fig. 4.2 and 4.3: adversarial examples of many sources against one target, and their reconstructions."""
    cell = _cells(tables, model)[model]
    found = _attack(tables, cell, whole=False)
    count = len(found.sources) // _COLUMNS * _COLUMNS
    shape = (-1, _COLUMNS, *found.sources.shape[1:])
    image_range = (0.0, 1.0) if found.sources.min() >= 0.0 else (-1.0, 1.0)
    panels = [
        plots.Tiles(title, images[:count].reshape(shape), image_range, (), ())
        for title, images in (
            ("adversarial examples", found.adversarial[:, 0]),
            ("their reconstructions", found.adversarial_reconstructions[:, 0]),
        )
    ]
    place = {"data": cell["data"], "model": model, "cell": cell["cell"]}
    table = [{**place, **{name: row[name].item() for name in _OF_AN_EXAMPLE}} for row in found.rows()[:count]]
    label = table[0]["target_label"]
    median = np.median(found.distortion_norm)
    notes = (
        f"{count} test images attacked with one {label} for a target; median ||d|| {median:.3g} (L2, pixel units).",
    )
    return Drawn(table, panels, notes=notes)


def success(tables: Tables) -> Drawn:
    """Table 4.1: AS of each model."""
    table = []
    lines = []
    of_cells = {name: (cell, _success(tables, cell)) for name, cell in _cells(tables).items()}
    total = _label_pairs(rows for _, rows in of_cells.values())
    for name, (cell, rows) in of_cells.items():
        means = rows[list(_MEASURES)].mean()
        counted = int(rows["counted_pairs"].iloc[0])
        paper = _TABLE_4_1[name]
        left_out = {"label_pairs": total, "label_pairs_left_out": total - len(rows)}
        place = {"data": cell["data"], "model": name, "cell": cell["cell"], "counted_pairs": counted, **left_out}
        table += [
            {**place, "measure": measure, "share": means[measure], "share_in_paper": share / 100.0}
            for measure, share in zip(_MEASURES, paper, strict=True)
        ]
        lines.append([name, *map(_per_cent, means), f"{paper[0]} %, {paper[1]} %", str(counted)])
        lines[-1].append(f"{total - len(rows)} of {total}")
    columns = ("model", *_MEASURES.values(), "in the thesis", "attacks counted", "pairs of digits left out")
    return Drawn(table, page=page(columns, lines), notes=(_COUNTED,))


def marginals(tables: Tables, of: str) -> Drawn:
    """Tables 4.2 and 4.3: means of AS over the targets of each source, or over the sources of each target."""
    table: list[Row] = []
    of_cells = {name: (cell, _success(tables, cell)) for name, cell in _cells(tables).items()}
    # A label may be missing from one model: of its sources none is reconstructed so that a classifier knows it.
    labels = sorted({int(label) for _, rows in of_cells.values() for label in rows[f"{of}_label"]})
    lines: list[list[str]] = []
    for name, (cell, rows) in of_cells.items():
        means = rows.groupby(f"{of}_label")[list(_MEASURES)].mean().reindex(labels)
        for measure, words in _MEASURES.items():
            place = {"data": cell["data"], "model": name, "cell": cell["cell"], "measure": measure}
            table += [{**place, f"{of}_label": label, "share": mean} for label, mean in means[measure].items()]
            lines.append([f"{name}, {words}", *map(_per_cent, means[measure])])
    total = _label_pairs(rows for _, rows in of_cells.values())
    counts = ", ".join(f"{name} {total - len(rows)}" for name, (_, rows) in of_cells.items())
    notes = (_COUNTED, f"Left out of {total} ordered pairs of digits, since no attack counts: {counts}.")
    return Drawn(table, page=page((of, *map(str, labels)), lines), notes=notes)


def matrices(tables: Tables, model: str) -> Drawn:
    """Tables 5.1 to 5.3: AS of every ordered pair of digits."""
    cell = _cells(tables, model)[model]
    rows = _success(tables, cell)
    labels = sorted({int(label) for end in ("source", "target") for label in rows[f"{end}_label"]})
    panels = []
    for measure, words in _MEASURES.items():
        found = rows.pivot(index="source_label", columns="target_label", values=measure).reindex(labels, columns=labels)
        values = 100.0 * found.to_numpy()
        panels.append(plots.NumberMap(f"{words}, per cent: {model}", "target", labels, "source", labels, values))
    place = {"data": cell["data"], "model": model, "cell": cell["cell"]}
    names = ["source_label", "target_label", *_MEASURES]
    table = [{**place, **row} for row in rows[names].to_dict("records")]
    counted, total = int(rows["counted_pairs"].iloc[0]), _label_pairs([rows])
    empty = f"Empty: the diagonal, and {total - len(rows)} of {total} ordered pairs of digits for which none counts."
    return Drawn(table, panels, notes=(_COUNTED, f"{counted} attacks counted. {empty}"))


def _cells(tables: Tables, *names: str) -> dict[str, pd.Series]:
    """The cell of each of its models, of all by default; of several seeds the first.

    Raises:
      MissingError: where one of those asked for is not there, or none of all.
    """
    asked = names or tuple(_MODELS)
    there = {name: cells.iloc[0] for name in asked if len(cells := tables.cells[_MODELS[name](tables.cells)])}
    if not there or (names and len(there) < len(names)):
        missing = " and ".join(name for name in asked if name not in there)
        raise MissingError(f"a trained {missing} with Concrete latents")
    return there


def _label_pairs(of_models: Iterable[pd.DataFrame]) -> int:
    """How many ordered pairs there are of the labels that some model has attacks on, as sources or as targets."""
    labels = {label for rows in of_models for end in ("source", "target") for label in rows[f"{end}_label"]}
    return len(labels) * (len(labels) - 1)


def _success(tables: Tables, cell: pd.Series) -> pd.DataFrame:
    """Rows of `success` of the attack that has the most pairs of labels.

    Raises:
      MissingError: where there is none.
    """
    rows = tables.success[tables.success["cell"] == cell["cell"]]
    if not len(rows):
        raise MissingError(
            f"the measure attack_success of {cell['cell']} (evaluate.measures), of attacks by all_labels"
        )
    return rows[rows["attack"] == rows["attack"].value_counts(sort=True).index[0]]


def _attack(tables: Tables, cell: pd.Series, *, whole: bool) -> AttackResult:
    """The model's attacks by pairs of all labels, or those of many sources against one target.

    Raises:
      MissingError: where there is none.
    """
    _folders(tables, cell)
    for file, found in tables.attacked(cell["cell"]):
        is_current = files.made_by(file).step == cell["step"] and found.target_label is not None and found.targeted
        if is_current and (len(np.unique(np.asarray(found.target_index))) == 1) != whole:
            return found
    words = "pairs of all labels" if whole else "many images against one target"
    raise MissingError(f"attacks on {cell['cell']} by {words}")


def _folders(tables: Tables, cell: pd.Series) -> list[pathlib.Path]:
    if cell["cell"] not in tables.runs:
        raise MissingError(f"the run directory of {cell['cell']}: pictures are not in tables")
    return tables.runs[cell["cell"]]


def _per_cent(share: float) -> str:
    return f"{100.0 * share:.2f} %" if np.isfinite(share) else "none"


def _figure(source: str, title: str, draw: Callable[[Tables], Drawn]) -> Figure:
    paper = "seatbelt sweep --sweep=s18_paper"
    return Figure(f"Sootla 2018, {source}", title, ("mnist",), "configs/sweeps/s18_small.py", draw, paper)


FIGURES: dict[str, Figure] = {
    "s18_4_1": _figure("Fig. 4.1", "Reconstructions and latent traversals", latents),
    "s18_4_2": _figure("Fig. 4.2", "Adversarial examples for JointVAE", partial(examples, model="JointVAE")),
    "s18_4_3": _figure("Fig. 4.3", "Adversarial examples for VAE", partial(examples, model="VAE")),
    "s18_table_4_1": _figure("Table 4.1", "Attack success", success),
    "s18_table_4_2": _figure("Table 4.2", "Attack success by source", partial(marginals, of="source")),
    "s18_table_4_3": _figure("Table 4.3", "Attack success by target", partial(marginals, of="target")),
    **{
        f"s18_table_5_{number}": _figure(
            f"Table 5.{number}", f"Attack success by pair: {model}", partial(matrices, model=model)
        )
        for number, model in enumerate(_MODELS, 1)
    },
}
