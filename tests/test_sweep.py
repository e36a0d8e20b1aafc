"""launch/sweep.py: a whole sweep, one that was killed, cells that fail, and shards."""

import csv
import dataclasses
import json
import shutil
import signal
import types

import numpy as np
import pytest

from configs.sweeps import smoke
from seatbelt_jax import runs, storage, training
from seatbelt_jax.jobs import certify, train
from seatbelt_jax.report import build
from seatbelt_jax.results import files
from seatbelt_jax.runs import lock
from seatbelt_jax.runs.layout import newest_step
from seatbelt_jax.studies import cells as cells_study
from seatbelt_jax.studies import details, measures
from seatbelt_jax.studies import stages as stages_study
from seatbelt_jax.studies import sweep as sweep_study
from seatbelt_jax.studies.papers import figure_tables
from seatbelt_jax.studies.papers import figures as figures_paper
from tests import launchers, made_up_runs
from tests.smoke_sweep import CELLS, FILE, config

pytestmark = pytest.mark.slow

# One layer, for little compiling: its two cells are trained together.
SMALL = ("--sweep.grids.all.model=('beta_vae',)", "--sweep.evaluate.measures=('active_units',)")


@pytest.fixture(scope="module")
def cells():
    return cells_study


@pytest.fixture(scope="module")
def sweep(cells):
    """Does a sweep in this process; a second of all it takes is done once."""
    launcher = sweep_study

    def sweep(config, folder, **options):
        return launcher.sweep(cells.parse(config), folder, **options)

    return sweep


@pytest.fixture(scope="module")
def command():
    with launchers.Forks() as forks:
        yield lambda *options, **settings: forks.run(["launch/sweep.py", FILE, *options], **settings)


@pytest.fixture(scope="module")
def whole(sweep, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    assert sweep(config(), folder) == folder / "sweep.csv"
    return folder


def small(**changes):
    """Two cells that are trained together, and not attacked."""
    grids = {"all": {"model": ("beta_vae",), "beta": (1.0, 4.0)}}
    found = config(**{"grids": grids, "evaluate": {"measures": ("weight_norms",)}, **changes})
    return {name: values for name, values in found.items() if name != "attacks"}


def copy_of(whole, folder):
    """The two cells of `small`, done."""
    for name in CELLS[:2]:
        shutil.copytree(whole / name, folder / name)
    return folder


def table(folder, name="sweep.csv"):
    """The rows of the cells, with their measures beside: "latent median_delta" is of the attack latent."""
    with (folder / name).open() as file:
        rows = {row["cell"]: row for row in csv.DictReader(file)}
    beside = folder / name.replace("sweep", "sweep_measures")
    for row in storage.read_csv(beside) if beside.exists() else ():
        of = [row.get(column) for column in ("attack", "method", "layer")]
        called = " ".join(filter(None, (*of, row["measure"])))
        rows[row["cell"]] |= {called: row["value"]} | ({f"{called} low": row["low"]} if row.get("low") else {})
    return rows


def times(folder):
    """When each result was written."""
    files = [file for file in folder.rglob("*") if file.suffix in (".npz", ".json", ".jsonl", ".png")]
    return {file: file.stat().st_mtime_ns for file in files}


def test_every_cell_is_an_ordinary_run_with_all_results(whole):
    tables = [
        "sweep.csv",
        *(f"sweep_{name}.csv" for name in ("budgets", "densities", "images", "margins", "measures", "pairs")),
    ]
    assert [path.name for path in sorted(whole.iterdir())] == [*CELLS, *tables]
    for name in CELLS:
        made = {str(file.relative_to(whole / name)) for file in (whole / name).rglob("*") if file.is_file()}
        certificate = "hierarchical" if name.startswith("seatbelt") else "spectral"
        assert {
            "metrics.jsonl",
            "samples.npz",
            "figures/reconstructions_00000004.png",
            "attacks/latent_kl_all_latent.npz",
            f"certificates/{certificate}.npz",
            "evaluation.json",
        } <= made
    opened = runs.open(whole / "seatbelt_beta4")
    assert opened.latest_step == 4 and opened.config["objective"]["beta"] == 4.0
    assert opened.config["model"]["latent_sizes"] == [3, 2]
    page = build.report([whole / name for name in CELLS])
    assert "seatbelt_beta4" in page.read_text()
    page.unlink()


def test_the_table_has_what_is_in_the_runs(whole):
    rows = table(whole)
    assert list(rows) == CELLS and all(row["status"] == "done" for row in rows.values())
    row = rows["seatbelt_beta4"]
    place = {"data": "mock", "model": "seatbelt", "L": "2", "d_z": "3", "latent_sizes": "3 2", "beta": "4"}
    assert row.items() >= {**place, "penalty": "total_correlation", "tau": "0", "seed": "0", "step": "4"}.items()
    path = whole / "seatbelt_beta4"
    arrays = storage.read_npz(path / "attacks" / "latent_kl_all_latent.npz")
    assert float(row["latent median_delta"]) == pytest.approx(np.median(arrays["objective"]))
    assert float(row["latent median_delta low"]) <= float(row["latent median_delta"])
    assert {"latent median_distortion_half_way_l2", "latent share_suspicious"} <= row.keys()
    abstained = storage.read_npz(path / "certificates" / "hierarchical.npz")["abstained"]
    assert float(row["hierarchical margin_share_abstained"]) == abstained.mean()
    assert ("hierarchical margin_median_l2" in row) == (not abstained.all())
    radius = storage.read_npz(whole / "beta_vae_beta4" / "certificates" / "spectral.npz")["radius"]
    assert float(rows["beta_vae_beta4"]["spectral margin_median_l2"]) == np.median(radius) > 0.0
    assert "spectral margin_median_l2" not in row
    found = storage.read_json(path / "evaluation.json")["measures"]
    expected = {
        "elbo_nats": found["elbo"]["elbo_nats"],
        "2 kl_nats": found["elbo"]["kl_2_nats"],
        "importance_weighted_log_likelihood_nats": found["importance_weighted"]["log_likelihood_nats"],
        "active_units": found["active_units"]["active_1"] + found["active_units"]["active_2"],
        "2 posterior_std_norm_mean_latent_units": found["posterior_std"]["layer_2"]["mean"],
    }
    assert {name: float(row[name]) for name in expected} == pytest.approx(expected)
    vae = rows["beta_vae_beta1"]
    norms = storage.read_npz(whole / "beta_vae_beta1" / "certificates" / "spectral.npz")["norms_spectral"]
    assert float(vae["encoder_jacobian_norm_median_latent_units_per_pixel_unit"]) == pytest.approx(np.median(norms))
    assert "2 kl_nats" not in vae


def test_its_companions_have_what_a_row_a_cell_cannot_hold(whole):
    tables = figure_tables.read([whole])
    path = whole / "seatbelt_beta4"
    arrays = storage.read_npz(path / "attacks" / "latent_kl_all_latent.npz")
    pairs, budgets = (rows[rows["cell"] == "seatbelt_beta4"] for rows in (tables.pairs, tables.budgets))
    assert pairs["source_index"].tolist() == list(arrays["source_index"])
    columns = {"delta": "objective", "distortion_l2": "distortion_norm", "target_nll_nats": "negative_log_likelihood"}
    for rows, axis in ((pairs, 1), (budgets, 0)):
        for column, name in columns.items():
            assert rows[f"{column}_mean"].tolist() == pytest.approx(arrays[name].mean(axis), rel=1e-5)
            assert rows[f"{column}_std"].tolist() == pytest.approx(arrays[name].std(axis), rel=1e-4, abs=1e-3)
    assert budgets["budget"].tolist() == pytest.approx(arrays["budgets"])
    margin = storage.read_npz(path / "certificates" / "hierarchical.npz")["radius"]
    of_images = tables.margins.query("cell == 'seatbelt_beta4' and method == 'hierarchical'")
    assert of_images["margin"].tolist() == pytest.approx(margin, rel=1e-5)
    density = tables.densities.query("cell == 'seatbelt_beta4' and layer == '2'").iloc[0]
    places, heights = np.linspace(density["first"], density["last"], 51), density["density"]
    # Every image counts once.
    assert np.trapezoid(heights, places) == pytest.approx(1.0, abs=0.01)
    assert tables.runs["seatbelt_beta4"] == [path]


def test_figures_of_images_show_what_the_runs_have(whole, tmp_path):
    figures = figures_paper
    (picture, table), _ = figures.draw([whole], ["w21_1"], tmp_path)
    arrays = storage.read_npz(whole / "seatbelt_beta4" / "attacks" / "latent_kl_all_latent.npz")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["beta_vae", "seatbelt"] and picture.stat().st_size > 3000
    budget = list(arrays["budgets"]).index(float(rows[1]["penalty"]))
    assert float(rows[1]["distortion_l2"]) == pytest.approx(arrays["distortion_norm"][0, budget])
    with pytest.raises(ValueError, match=r"Fig. 4 needs run directories of beta_tcvae and seatbelt with attacks by"):
        figures.draw([whole], ["w21_4"], tmp_path)


def test_the_figure_of_rotations_takes_attacks_on_the_orientation_alone(whole, tmp_path):
    for name in ("sweep.csv", "seatbelt_beta1", "seatbelt_beta4"):
        (shutil.copytree if (whole / name).is_dir() else shutil.copy)(whole / name, tmp_path / name)
    for name in ("seatbelt_beta1", "seatbelt_beta4"):
        file = tmp_path / name / "attacks" / "latent_kl_all_latent.npz"
        arrays = storage.read_npz(file)
        options = json.loads(str(arrays["options"])) | {"pairs_by": "factor:orientation"}
        storage.write_npz(file, {**arrays, "options": json.dumps(options)})
    (picture, table), _ = figures_paper.draw([tmp_path], ["w21_4"], tmp_path)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["beta"] for row in rows] == ["1.0", "4.0"] * 2 and picture.stat().st_size > 3000
    least = [float(row["delta_nats"]) for row in rows if row["shown"] == "at the least Delta"]
    objective = arrays["objective"][0]
    assert least[1] == pytest.approx(objective.min())
    better = [float(row["delta_nats"]) for row in rows if row["shown"] == "at the largest Delta below its mean"]
    assert better[1] == pytest.approx(objective[objective < objective.mean()].max())


def test_its_report_has_what_is_in_the_table_and_the_runs(whole, tmp_path):
    page = build.report_of_sweep(whole, tmp_path / "page.html").read_text()
    delta = float(table(whole)["seatbelt_beta4"]["latent median_delta"])
    assert "4 cells" in page and "4 done" in page and f'data-value="{delta}"' in page
    assert page.count('type="application/json"') == 4 and page.count('"name":"latent"') == 4
    assert "hierarchical" in page and "attack latent: iterations" in page


def test_what_is_done_is_not_done_again(sweep, whole):
    before, rows = times(whole), table(whole)
    sweep(config(), whole)
    assert times(whole) == before and table(whole) == rows


def test_changed_settings_are_a_stage_of_their_own(sweep, whole, tmp_path):
    folder = copy_of(whole, tmp_path)
    before = times(folder)
    sweep(small(evaluate={"images": 10, "measures": ("active_units",)}, certify={"images": 1, "sound": False}), folder)
    changes = {file.name for file, time in times(folder).items() if before.get(file) != time}
    assert {"evaluation.json", "spectral.npz"} <= changes
    assert not changes & {"samples.npz", "metrics.jsonl", "latent_kl_all_latent.npz"}
    assert storage.read_json(folder / CELLS[0] / "evaluation.json")["measures"]["active_units"]["images"] == 10


@pytest.mark.parametrize(
    ("stop", "status", "moment"),
    [
        (signal.SIGKILL, -9, "beta_vae_beta1/checkpoints/2"),
        (signal.SIGTERM, 143, "beta_vae_beta1/attacks/*.npz"),
        (signal.SIGINT, 130, "beta_vae_beta4/certificates/spectral.npz"),
    ],
)
def test_stopped_anywhere_it_goes_on(command, whole, tmp_path, stop, status, moment):
    if stop != signal.SIGKILL:
        copy_of(whole, tmp_path)
        # Done is all but this and what comes after it.
        shutil.rmtree((tmp_path / moment).parent)
    done = command(f"--workdir={tmp_path}", *SMALL, strike=(stop, str(tmp_path / moment)))
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    before, left = times(tmp_path), table(tmp_path)
    assert any(row["status"] == "unfinished" for row in left.values())
    done = command(f"--workdir={tmp_path}", *SMALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == f"{tmp_path / 'sweep.csv'}: 2 cells"
    rows, expected = table(tmp_path), table(whole)
    for name in CELLS[:2]:
        assert rows[name]["status"] == "done"
        for column in ("latent median_delta", "spectral margin_median_l2"):
            assert float(rows[name][column]) == pytest.approx(float(expected[name][column]), rel=1e-3)
    # Attacks that were there stay as they were.
    after = times(tmp_path)
    assert all(
        after[file] == time for file, time in before.items() if "attacks" in file.parts and file.suffix == ".npz"
    )


def test_a_cell_that_fails_is_reported_and_the_rest_goes_on(sweep, tmp_path, capsys):
    broken = small(
        data_sets={"mock": smoke.get_config().base.data.to_dict(), "lost": {"name": "npz:missing.npz"}},
        grids={"all": {"data": ("lost", "mock"), "model": ("beta_vae",), "beta": (1.0, 4.0)}},
        evaluate={"measures": ("active_units",)},
    )
    with pytest.raises(
        ValueError, match=r"2 of 4 cells failed, .*sweep.csv says why; the first is lost_beta_vae_beta1"
    ):
        sweep(broken, tmp_path)
    rows = table(tmp_path)
    assert [row["status"] for row in rows.values()][2:] == ["done", "done"]
    assert rows["lost_beta_vae_beta4"]["status"].startswith("failed: train: ")
    assert "missing.npz" in rows["lost_beta_vae_beta4"]["status"]
    assert "failed: lost_beta_vae_beta1: train: " in capsys.readouterr().out


def test_one_stage_that_fails_does_not_take_the_others_along(sweep, whole, tmp_path):
    folder = copy_of(whole, tmp_path)
    changed = small(certify={"images": 1000, "sound": False})
    with pytest.raises(ValueError, match=r"certify: there are 25 validation images, not 1000"):
        sweep(changed, folder)
    rows = table(folder)
    assert all(row["status"].startswith("failed: certify: ") and row["encoder_weight_norm"] for row in rows.values())


def test_of_trainings_together_the_one_that_diverges_fails(sweep, tmp_path):
    config = small(grids={"all": {"model": ("beta_vae",), "beta": (1.0, 1e38)}})
    config["base"]["train"]["max_skipped_in_a_row"] = 2
    del config["certify"]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"1 of 2 cells failed.* train: training diverged: its last \d steps"):
            sweep(config, tmp_path)
    assert [row["status"][:6] for row in table(tmp_path).values()] == ["done", "failed"]


def test_what_a_group_cannot_do_together_its_cells_do_alone(sweep, cells, tmp_path):
    # Another process holds the lock of the first, which is prepared already.
    train.prepare(cells.parse(small()).cells[0].config, tmp_path / CELLS[0])
    with lock.locked(tmp_path / CELLS[0]), pytest.raises(ValueError, match=r"1 of 2 cells failed.* at work in"):
        sweep(small(), tmp_path)
    assert newest_step(tmp_path / CELLS[1] / "checkpoints") == smoke.get_config().base.train.steps
    assert newest_step(tmp_path / CELLS[0] / "checkpoints") is None


def test_cells_are_trained_together_from_a_step_that_all_have(tmp_path):
    stages = stages_study
    ready = {}
    for name, steps in {"a": (700,), "new": (), "b": (500, 700), "c": (900,), "d": (), "e": (500,)}.items():
        for step in steps:
            (tmp_path / name / "checkpoints" / str(step) / "variables").mkdir(parents=True)
        ready[name] = types.SimpleNamespace(opened=types.SimpleNamespace(path=tmp_path / name))
    groups = [[one.opened.path.name for one in group] for group in stages._at_one_step(ready)]
    assert groups == [["a", "b"], ["new", "d"], ["c"], ["e"]]


def test_a_cell_stopped_before_its_first_checkpoint_has_nothing_to_show_yet(cells, whole, tmp_path):
    asked = cells.parse(config())
    path = tmp_path / CELLS[0]
    path.mkdir()
    shutil.copy(whole / CELLS[0] / "config.json", path)
    assert not any(details.rows_of(asked, path).values())
    stages = stages_study.stages_of(asked, asked.cells[0])
    assert not any(stage.is_done(runs.open(path)) for stage in stages)


def test_where_every_image_is_abstained_on_there_is_no_margin(tmp_path):
    def of(record):
        file = tmp_path / "certificates" / "camuto.npz"
        files.write(file, record, 4, certify.Options())
        return {row["measure"]: row["value"] for row in measures.of_certificate(file)}

    some = made_up_runs.certificate()
    none = dataclasses.replace(some, radius=np.zeros(some.n), abstained=np.ones(some.n, bool))
    assert of(some)["margin_median_l2"] == 0.375
    assert "margin_median_l2" not in of(none) and of(none)["margin_share_abstained"] == 1.0


def test_a_bracket_has_its_measures_and_one_number_in_its_place_none(cells, tmp_path):
    name = "total_correlation_nats"
    bracket = {f"{name}_lower": 4.0, f"{name}_upper": 4.5, f"{name}_determined": False}
    measured = {"elbo_nats": -3.0, **bracket, f"{name}_lower_error": 0.1, "paths": 16, "options": {"paths": 16}}
    rows = list(measures.of_evaluation({"elbo": measured}))
    found = {row["measure"]: row["value"] for row in rows}
    assert found == {"elbo_nats": -3.0, **bracket, "aggregate_posterior_paths": 16}
    assert [row["error"] for row in rows if row["measure"] == f"{name}_lower"] == [0.1]

    asked = cells.parse(config())
    path = made_up_runs.write(tmp_path / "run", latent_sizes=(4, 2))
    earlier = {"elbo_nats": -3.0, name: 4.0, f"{name}_error": 0.1, "options": {"images": 20}}
    for elbo, expected in ((measured, {"elbo_nats": -3.0, **bracket}), (earlier, {"elbo_nats": -3.0})):
        record = {"step": None, "measures": {"elbo": elbo}, "skipped": {}}
        storage.write_json(path / "evaluation.json", record)
        rows = details.rows_of(asked, path)["measures"]
        assert {row["measure"]: row["value"] for row in rows if "_nats" in row["measure"]} == expected


def test_every_number_of_a_measure_that_a_plugin_adds_is_in_the_table():
    added = {"mean": 0.5, "layer_1": {"top": 2}, "many": [1.0], "word": "a", "options": {"images": 20}}
    skipped = {"attack_success": {"held_out_accuracy": 0.9}, "traversals": {"layer_1": {"units": [1]}}}
    rows = list(measures.of_evaluation({"brightness": added, **skipped}))
    assert rows == [{"measure": "brightness_mean", "value": 0.5}, {"measure": "brightness_layer_1_top", "value": 2}]


def test_a_folder_of_another_sweep_is_refused_cell_by_cell(sweep, whole):
    before = times(whole)
    other = config()
    other["base"]["train"]["batch_size"] = 8
    with pytest.raises(ValueError, match=r"4 of 4 cells failed.*train.batch_size was 16 and is 8"):
        sweep(other, whole)
    assert times(whole) == before
    # Nor are its numbers those of the cells that were asked for.
    assert not any("encoder_weight_norm" in row or "elbo_nats" in row for row in table(whole).values())
    assert not (whole / "sweep_pairs.csv").exists()
    sweep(config(), whole)  # and the table is that of this sweep again


def test_shards_share_the_work_and_one_call_gathers_it(cells, sweep, tmp_path):
    config = small(evaluate={"measures": ("weight_norms",)})
    del config["certify"]
    config["together"] = 1
    assert sweep(config, tmp_path, shard="2/2") == tmp_path / "sweep_2_of_2.csv"
    assert list(table(tmp_path, "sweep_2_of_2.csv")) == ["beta_vae_beta4"]
    assert not (tmp_path / "beta_vae_beta1").exists()
    sweep(config, tmp_path, shard="1/2")
    before = times(tmp_path)
    sweep(config, tmp_path)
    assert times(tmp_path) == before
    rows = table(tmp_path)
    assert [row["status"] for row in rows.values()] == ["done", "done"]
    assert all(row["encoder_weight_norm"] for row in rows.values())


def test_some_cells_alone_are_done_and_the_table_has_the_others(sweep, whole, tmp_path):
    folder = copy_of(whole, tmp_path)
    asked = small()
    before = times(folder / CELLS[0])
    assert sweep(asked, folder, cells=["*beta4"]) == folder / "sweep.csv"
    rows = table(folder)
    assert {name: row["status"] for name, row in rows.items()} == {CELLS[0]: "unfinished", CELLS[1]: "done"}
    assert times(folder / CELLS[0]) == before
    column = "encoder_weight_norm"
    assert [column in row for row in rows.values()] == [False, True]
    sweep(asked, folder, cells=CELLS[:1])
    assert all(row["status"] == "done" and row[column] for row in table(folder).values())


def test_models_with_concrete_latents_are_not_certified_and_do_not_fail(cells, sweep, tmp_path, capsys):
    models = {"joint": {"objective": {"penalty": "kl"}, "model": {"latent_sizes": (2,), "discrete_sizes": (3,)}}}
    grids = {"all": {"model": ("joint",), "beta": (1.0,)}}
    asked = small(models=models, grids=grids, certify={"images": 2, "sound": False})
    stages = stages_study
    found = cells.parse(asked)
    assert [stage.name for stage in stages.stages_of(found, found.cells[0])] == ["evaluate"]
    sweep(asked, tmp_path)
    assert "joint_beta1: not certified: margins are for Gaussian latents" in capsys.readouterr().out
    row = table(tmp_path)["joint_beta1"]
    assert row["status"] == "done" and row["encoder_weight_norm"] and "spectral margin_median_l2" not in row


def test_a_kill_between_two_saves_of_a_group_is_made_up_for(sweep, whole, tmp_path):
    folder = copy_of(whole, tmp_path)
    # The second has one save less than the first, and neither has been evaluated.
    (folder / CELLS[1] / "checkpoints" / "4").rename(tmp_path / "4")
    for name in CELLS[:2]:
        (folder / name / "metrics.jsonl").unlink()
    config = small()
    del config["certify"]
    sweep(config, folder)
    assert newest_step(folder / CELLS[1] / "checkpoints") == 4
    for name in CELLS[:2]:
        assert [row["step"] for row in training.read_metrics(folder / name)] == [4, 4]
        one, other = (runs.open(path / name).load_variables()["params"]["decoder"] for path in (whole, folder))
        np.testing.assert_allclose(one["Dense_0"]["kernel"], other["Dense_0"]["kernel"], rtol=1e-4, atol=1e-5)
