"""Figures and tables of Sootla 2018: their numbers from planted tables, pictures from runs with planted attacks."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import mnist_joint_vae
from seatbelt_jax import runs
from seatbelt_jax.jobs import attack
from seatbelt_jax.results import files
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.studies import schema
from seatbelt_jax.studies.papers import figures as figures_paper
from tests import planted_sweep
from tests.reference.made_up_attacks import made_up_result

DIGITS = 3
CELLS = {"joint": ("capacity", 0.0), "vae": ("kl", 0.0), "decayed": ("kl", 0.5)}
NAMES = {"joint": "JointVAE", "vae": "VAE", "decayed": "VAE with weight decay"}
FIGURES = ("s18_4_1", "s18_4_2", "s18_4_3", *(f"s18_table_{number}" for number in ("4_1", "4_2", "4_3")))
MATRICES = ("s18_table_5_1", "s18_table_5_2", "s18_table_5_3")


def share(cell, source, target):
    """AS_ignore-target; AS_target is half of it."""
    return 0.1 * list(CELLS).index(cell) + 0.1 * source + 0.04 * target


def write(folder, cells=CELLS):
    """Tables of digits 0 to 2; of digit 2 the model with weight decay has no source that counts."""
    rows, every = [], []
    for cell in cells:
        penalty, decay = CELLS[cell]
        place = {"cell": cell, "status": "done", "data": "mnist", "model": cell, "L": 1, "d_z": 2}
        place |= {"penalty": penalty, "weight_decay": decay, "discrete_sizes": "3"}
        rows.append({**place, "tau": 0.0, "beta": 1.0, "seed": 0, "step": 4})
        pairs = [(source, target) for source in range(DIGITS) for target in range(DIGITS) if source != target]
        success = [
            {"source_label": source, "target_label": target, "ignore_target": share(cell, source, target)}
            | {"target": 0.5 * share(cell, source, target), "counted_pairs": 40}
            for source, target in pairs
            if (cell, source) != ("decayed", 2)
        ]
        # Many images against one target have fewer pairs of labels.
        one = {"source_label": 0, "target_label": 1, "ignore_target": 1.0, "target": 1.0, "counted_pairs": 9}
        found = [{"attack": "gallery", **one}, *({"attack": "digits", **row} for row in success)]
        every += [{"cell": cell, **row} for row in found]
    schema.write(folder / "sweep.csv", {"cells": rows, "success": every})
    return folder


def _attacks(pairs, sources, targets):
    """Attacks by one budget, as launch/attack.py writes them; images are all of their pair's number over 100."""
    images = np.broadcast_to(np.arange(pairs).reshape(-1, 1, 1, 1) / 100.0, (pairs, 16, 16, 1)).astype(np.float32)
    of_lanes = {"adversarial": images[:, None], "adversarial_reconstructions": images[:, None]}
    result = made_up_result(
        **of_lanes,
        sources=images,
        targets=images,
        source_reconstructions=images,
        target_reconstructions=images,
        distortion_norm=np.arange(float(pairs))[:, None],
    )
    numbers = {"source_index": np.arange(pairs), "target_index": np.asarray(targets) + 200}
    labels = {"source_label": np.asarray(sources), "target_label": np.asarray(targets)}
    return dataclasses.replace(result, **numbers, **labels)


@pytest.fixture(scope="module")
def figures():
    return figures_paper


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("s18"))
    settings = mnist_joint_vae.get_config("smoke").to_dict()
    settings["data"] = {"name": "mock", "image_size": 16}
    settings["model"] |= {"latent_sizes": (2,), "discrete_sizes": (3,), "network": "mlp", "widths": (8,)}
    for cell in CELLS:
        opened = runs.prepare(folder / cell, settings, (16, 16, 1))
        with Checkpoints(opened.path / "checkpoints") as checkpoints:
            checkpoints.save(4, variables=opened.model.init(jax.random.key(0)), training={"step": np.zeros(())})
        all_labels, one_target = _attacks(6, [0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]), _attacks(21, [0] * 21, [1] * 21)
        # The last is of an earlier step.
        for name, result, step in (("digits", all_labels, 4), ("gallery", one_target, 4), ("before", all_labels, 3)):
            files.write(opened.path / "attacks" / f"{name}.npz", result, step, attack.Options())
    return folder


@pytest.fixture(scope="module")
def drawn(figures, planted):
    figures.draw([planted], [*FIGURES, *MATRICES], planted / "figures")
    return planted / "figures"


def rows(drawn, name, **wanted):
    table = planted_sweep.table(drawn / f"{name}.csv")
    return [row for row in table if all(row.get(column) == value for column, value in wanted.items())]


def test_each_has_a_picture_or_a_page(drawn):
    for name in (*FIGURES, *MATRICES):
        picture, page = drawn / f"{name}.png", drawn / f"{name}.md"
        assert page.exists() if "table_4" in name else planted_sweep.png_size(picture) > 5000


@pytest.mark.parametrize(("cell", "paper"), [("joint", 0.3686), ("vae", 0.2983), ("decayed", 0.2688)])
def test_success_is_the_mean_over_pairs_of_labels(drawn, cell, paper):
    sources = range(2 if cell == "decayed" else DIGITS)
    values = [share(cell, source, target) for source in sources for target in range(DIGITS) if source != target]
    (ignore,) = rows(drawn, "s18_table_4_1", model=NAMES[cell], measure="ignore_target")
    (target,) = rows(drawn, "s18_table_4_1", model=NAMES[cell], measure="target")
    assert (ignore["share"], target["share"]) == pytest.approx((np.mean(values), 0.5 * np.mean(values)))
    assert ignore["share_in_paper"] == pytest.approx(paper) and ignore["counted_pairs"] == 40
    left_out = 2 if cell == "decayed" else 0
    assert (ignore["label_pairs"], ignore["label_pairs_left_out"]) == (6, left_out)
    page = (drawn / "s18_table_4_1.md").read_text()
    assert f"| {left_out} of 6 |" in page
    assert f"| {NAMES[cell]} | {100 * np.mean(values):.2f} % |" in page and f"{100 * paper:.2f} %" in page


def test_marginals_are_means_of_rows_and_columns(drawn):
    (by_source,) = rows(drawn, "s18_table_4_2", model="VAE", measure="ignore_target", source_label=1.0)
    assert by_source["share"] == pytest.approx(np.mean([share("vae", 1, target) for target in (0, 2)]))
    (by_target,) = rows(drawn, "s18_table_4_3", model="JointVAE", measure="target", target_label=2.0)
    assert by_target["share"] == pytest.approx(0.5 * np.mean([share("joint", source, 2) for source in (0, 1)]))
    # Columns are the same for all models, also where one has no source of a label that counts.
    lines = (drawn / "s18_table_4_2.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1 and table[-1].endswith("| none |")
    assert "Left out of 6 ordered pairs of digits, since no attack counts: JointVAE 0, VAE 0, VAE with" in lines[-1]
    assert lines[-1].endswith("VAE with weight decay 2.")


def test_a_matrix_has_every_pair_of_labels(drawn):
    for name, cell in zip(MATRICES, CELLS, strict=True):
        found = {(row["source_label"], row["target_label"]): row["ignore_target"] for row in rows(drawn, name)}
        assert found[1.0, 2.0] == pytest.approx(share(cell, 1, 2))
        assert len(found) == (4 if cell == "decayed" else 6)


def test_examples_are_of_the_attacks_against_one_target(drawn):
    found = rows(drawn, "s18_4_2")
    # Whole rows of ten.
    assert [row["source_index"] for row in found] == list(range(20))
    assert [row["distortion_l2"] for row in found] == list(range(20))
    assert {(row["model"], row["target_label"]) for row in found} == {("JointVAE", 1.0)}
    assert {row["model"] for row in rows(drawn, "s18_4_3")} == {"VAE"}


def test_latents_are_units_and_classes_of_the_run(drawn, planted):
    found = rows(drawn, "s18_4_1", model="JointVAE")
    assert [row["unit"] for row in found] == ["z1", "z2", "class"]
    vae = runs.open(planted / "joint").load_vae()
    image = np.zeros((1, 16, 16, 1), np.float32)
    concrete, mean = vae.encode(image, vae.mean_path(1)).latents
    codes = np.repeat(np.asarray(mean), 2, axis=0)
    codes[:, 0] = (-3.0, 3.0)
    ends = np.asarray(vae.likelihood.mean(vae.decode((np.repeat(np.asarray(concrete), 2, axis=0), codes))))
    assert found[0]["largest_change_l2"] >= np.linalg.norm(ends[1] - ends[0]) - 1e-4 > 0.0


def test_what_is_missing_is_named(figures, planted, tmp_path):
    tables = planted_sweep.copy_without_runs(planted, tmp_path / "tables")
    written, missing = figures.draw([tables], ["all"], tmp_path / "figures")
    assert len([file for file in written if "table" in file.name]) == 12
    assert "the run directory of joint: pictures are not in tables" in missing["s18_4_1"]
    one = write(tmp_path / "one", ("vae",))
    with pytest.raises(ValueError, match=r"--figure=s18_4_2: .* needs a trained JointVAE with Concrete latents"):
        figures.draw([one], ["s18_4_2"], tmp_path)
    (one / "sweep_success.csv").unlink()
    with pytest.raises(ValueError, match=r"needs the measure attack_success of vae"):
        figures.draw([one], ["s18_table_4_1"], tmp_path)
