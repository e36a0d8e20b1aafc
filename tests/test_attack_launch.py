"""launch/attack.py on a tiny run: every attack it offers, interruptions, and options that make no sense."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest

from configs import sprites_seatbelt
from seatbelt_jax import attacks, data, metrics, storage
from seatbelt_jax.attacks import lanes
from seatbelt_jax.attacks.adam import Adam
from seatbelt_jax.attacks.projected_gradient import ProjectedGradient
from seatbelt_jax.attacks.sigmoid_lbfgs import SigmoidLBFGS
from seatbelt_jax.data import sprites
from seatbelt_jax.jobs import attack as attack_job
from seatbelt_jax.jobs import train
from tests import launchers


@pytest.fixture(scope="module")
def launcher():
    return attack_job


@pytest.fixture(scope="module")
def run_path(tmp_path_factory):
    """A two-layer model on sprites of 16 x 16, after four steps."""
    config = sprites_seatbelt.get_config("smoke").to_dict()
    config["data"] = {"name": "sprites", "image_size": 16}
    config["model"] |= {"latent_sizes": (3, 2), "network": "mlp", "widths": (8,), "hidden_sizes": (8,)}
    path = tmp_path_factory.mktemp("runs") / "tiny"
    train.train(config, path)
    return path


def results(path, name):
    arrays = storage.read_npz(path / "attacks" / f"{name}.npz")
    return attacks.AttackResult.from_arrays(arrays), arrays, table(path, name)


def table(path, name):
    with (path / "attacks" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def command(launcher, run_path, monkeypatch):
    """Gives the options that a command line comes to, in place of the attack."""
    seen = []
    monkeypatch.setattr(launcher, "attack", lambda path, options, allow: seen.append(options))

    def parsed(*arguments):
        with launchers.given("attack", f"--run={run_path}", *arguments) as module:
            module.main()
        return seen.pop()

    return parsed


@pytest.mark.slow
def test_sprites_that_differ_in_one_factor(launcher, run_path, capsys):
    options = launcher.Options(pairs=2, budgets=(0.1, 1.0), iterations=5, pairs_by="factor:orientation")
    launcher.attack(run_path, options)
    result, arrays, rows = results(run_path, "latent_kl_all_factor_orientation")
    source, target = (np.asarray(sprites.factors_from_index(arrays[name])) for name in ("source_index", "target_index"))
    np.testing.assert_array_equal((source != target).sum(axis=1), 1)
    assert np.all(source[:, 2] != target[:, 2])
    np.testing.assert_array_equal(result.sources, 2.0 * np.asarray(sprites.draw(source, size=16)) - 1.0)
    np.testing.assert_array_equal(result.budgets, [0.1, 1.0])
    assert len(rows) == 4 and rows[0]["penalty"] == "0.1" and "flags" in rows[0]
    named = attacks.diagnose(result).names(1, 0)
    assert rows[2]["flags"] == ";".join(named)
    assert "4 attacks on validation images, median Delta" in capsys.readouterr().out


@pytest.mark.slow
def test_maximum_damage_by_number_in_balls(launcher, run_path, capsys, monkeypatch):
    options = launcher.Options(
        attack="maximum_damage", through="mean", draws=2, pairs_by="3-7,8-9", budgets=(0.5, 1.0), iterations=5
    )
    launcher.attack(run_path, options)
    result, arrays, rows = results(run_path, "maximum_damage_mean_2_draws_l2_ball")
    np.testing.assert_array_equal(arrays["source_index"], [3, 8])
    assert not result.targeted and result.threat == "l2_ball"
    assert np.all(result.distortion_norm <= [0.5 * (1 + 1e-6), 1.0 + 1e-6])
    assert rows[1]["radius"] == "1.0"
    assert "radius 0.5: median Delta" in capsys.readouterr().out
    # Found already: what counts from here on is where it is written.
    monkeypatch.setattr(attacks, "sweep", lambda *_, **__: result)
    launcher.attack(run_path, options)
    assert "(in place of earlier ones)" in capsys.readouterr().out
    launcher.attack(run_path, dataclasses.replace(options, name="again"))
    assert (run_path / "attacks" / "maximum_damage_mean_2_draws_l2_ball_again_summary.csv").exists()


@pytest.mark.slow
def test_pairs_of_different_labels_are_recorded(launcher, run_path):
    options = launcher.Options(
        attack="output_l2", pairs_by="label", pairs=3, budgets=(1.0,), iterations=3, threat="squared_penalty"
    )
    launcher.attack(run_path, options)
    result, arrays, rows = results(run_path, "output_l2_squared_penalty_label")
    images = data.load({"name": "sprites", "image_size": 16}, (-1.0, 1.0)).validation
    for end, attacked in (("source", result.sources), ("target", result.targets)):
        index, label = arrays[f"{end}_index"], arrays[f"{end}_label"]
        np.testing.assert_array_equal(label, images.labels(index))
        np.testing.assert_array_equal(attacked, images.images(index))
        assert [(row[f"{end}_index"], row[f"{end}_label"]) for row in rows] == [
            (str(number), str(shape)) for number, shape in zip(index, label, strict=True)
        ]
    assert np.all(arrays["source_label"] != arrays["target_label"])
    assert rows[0]["objective_squared_pixel_units"] == str(result.objective[0, 0])


# At 0.4 the second attack goes part of the way.
BY_LOCATION = {
    "divergence": "l2",
    "pairs": 2,
    "budgets": (0.001, 0.02, 0.4, 1.0),
    "iterations": 30,
    "lanes_at_once": 2,
}


@pytest.mark.slow
def test_the_tables_hold_the_measures_of_attacks_pairs_and_sweep(launcher, run_path):
    launcher.attack(run_path, launcher.Options(**BY_LOCATION))
    budgets = BY_LOCATION["budgets"]
    result, _, rows = results(run_path, "latent_l2_all")
    degradation = metrics.relative_likelihood_degradation(result)
    shown = metrics.shown_budget(result)
    of_pairs = {
        "distortion_half_way_l2": metrics.distortion_to_reach(result, 0.5),
        "distortion_nine_tenths_l2": metrics.distortion_to_reach(result, 0.9),
        "auddc": metrics.auddc(result),
    }
    assert np.any(of_pairs["distortion_half_way_l2"] < of_pairs["distortion_nine_tenths_l2"])
    for lane, row in enumerate(rows):
        pair, budget = divmod(lane, len(budgets))
        assert float(row["relative_likelihood_degradation"]) == degradation[pair, budget]
        assert row["shown"] == str(shown[pair] == budget)
        for name, values in of_pairs.items():
            assert row[name] == str(values[pair])
    summary = metrics.summarise(result)
    measures = table(run_path, "latent_l2_all_summary")
    assert [*measures[0]] == ["measure", "value", "low", "high"]
    found = {}
    for row in measures:
        found[row["measure"]] = float(row["value"])
        found |= {f"{row['measure']}_{bound}": float(row[bound]) for bound in ("low", "high")}
    for name in set(summary) | set(found):
        assert found[name] == summary.get(name, np.nan) or np.isnan([found[name], summary.get(name, np.nan)]).all()


def test_attacks_without_targets_have_no_measures_of_the_way_to_them(launcher, run_path):
    launcher.attack(run_path, launcher.Options(attack="maximum_damage", draws=1, pairs=1, budgets=(0.5,), iterations=2))
    row = table(run_path, "maximum_damage_both_1_draws_l2_ball")[0]
    assert not {"distortion_half_way_l2", "distortion_nine_tenths_l2", "auddc"} & set(row)
    assert row["shown"] == "True" and float(row["relative_likelihood_degradation"]) >= 0.0


@pytest.mark.slow
def test_results_say_how_they_were_made_and_another_attack_leaves_them(launcher, run_path):
    plain = {"divergence": "symmetric_kl", "pairs": 1, "budgets": (1.0,), "iterations": 2}
    limited = {"solver": "adam", "learning_rate": 0.01, "pixel_limit": 0.1, "pairs_by": "all_labels"}
    names = []
    for changed in ({}, limited):
        before = set((run_path / "attacks").glob("*"))
        options = launcher.Options(**(plain | changed))
        launcher.attack(run_path, options)
        made = set((run_path / "attacks").glob("*")) - before
        (name,) = (file.stem for file in made if file.suffix == ".npz")
        assert {file.name for file in made} == {f"{name}.npz", f"{name}.csv", f"{name}_summary.csv"}
        told = json.loads(str(results(run_path, name)[1]["options"]))
        assert launcher.Options(**(told | {"budgets": tuple(told["budgets"])})) == options
        names.append(name)
    assert names == ["latent_symmetric_kl_all", "latent_symmetric_kl_all_within_0.1_adam_all_labels"]


@pytest.mark.parametrize(
    ("options", "suffix"),
    [
        ({"solver": "lbfgsb"}, ""),
        ({"solver": "sigmoid_lbfgs"}, "_sigmoid_lbfgs"),
        ({"threat": "l2_ball", "solver": "projected_gradient"}, "_l2_ball"),
        ({"threat": "l2_ball", "solver": "lbfgsb"}, "_l2_ball_lbfgsb"),
        ({"threat": "squared_penalty", "pixel_limit": 1e-4}, "_squared_penalty_within_0.0001"),
        ({"pairs_by": " 3-7,8-9"}, ""),
        ({"pairs_by": "factor:x"}, "_factor_x"),
        ({"seed": 3, "restarts": 2, "pairs": 7}, ""),
    ],
)
def test_a_name_has_what_makes_another_attack_of_it(launcher, options, suffix):
    options = launcher.Options(**options)
    objective = attacks.Objective(None, None, "an_objective", "nats")
    assert launcher._name(objective, launcher._threat(options), options) == f"an_objective{suffix}"


def test_the_attack_of_sootla_and_what_the_command_line_changes_of_it(launcher, command):
    expected = launcher.Options(
        divergence="joint_l2",
        budgets=(1.0,),
        solver="adam",
        iterations=1000,
        keep_best=False,
        start_std=0.2,
        exchanges=0,
    )
    assert command("--attack=sootla") == expected
    changes = "--iterations=7", "--pixel_limit=0.1", "--keep_best", "--accumulate_gradients", "--solver=adam"
    assert command("--attack=sootla", *changes) == dataclasses.replace(
        expected, iterations=7, pixel_limit=0.1, keep_best=True, accumulate_gradients=True
    )
    assert command("--attack=sootla", "--threat=squared_penalty").threat == "squared_penalty"
    solver = built(launcher, expected)
    assert isinstance(solver, Adam)
    assert (solver.maxiter, solver.learning_rate) == (1000, 1e-3)
    assert (solver.keep_best, solver.accumulate_gradients) == (False, False)


def built(launcher, options):
    """The solver of an attack with these options."""
    return launcher._solver(options, launcher._threat(options))


def test_the_options_of_adam_reach_it(launcher):
    solver = built(launcher, launcher.Options(solver="adam", learning_rate=0.5, accumulate_gradients=True))
    assert (solver.maxiter, solver.learning_rate, solver.keep_best, solver.accumulate_gradients) == (
        *(1000, 0.5),
        *(True, True),
    )


@pytest.mark.parametrize(
    ("options", "solver", "iterations"),
    [
        ({}, attacks.BoxLBFGS, 200),
        ({"threat": "linf_ball"}, attacks.BoxLBFGS, 200),
        ({"threat": "l2_ball"}, ProjectedGradient, 200),
        ({"threat": "l2_ball", "solver": "projected_gradient"}, ProjectedGradient, 200),
        ({"solver": "sigmoid_lbfgs"}, SigmoidLBFGS, 200),
        ({"solver": "adam"}, Adam, 1000),
    ],
)
def test_a_solver_has_its_own_limit_of_iterations_until_it_is_given_another(launcher, options, solver, iterations):
    usual = built(launcher, launcher.Options(**options))
    assert type(usual) is solver and usual.maxiter == iterations
    assert built(launcher, launcher.Options(**options, iterations=17)).maxiter == 17


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # Also where what is given is what it would be anyway.
        (["--penalties=50", "--budgets=1,2"], "--penalties goes with penalties other than --budgets"),
        (["--penalties=50", "--threat=linf_ball"], "--penalties goes with penalties"),
        (["--penalties=5", "--attack=maximum_damage"], "--penalties goes with penalties"),
        (["--penalties=5", "--attack=sootla"], "--penalties goes with penalties"),
        (["--pairs=2", "--pairs_by=3-7,8-9"], "--pairs goes with pairs drawn at random"),
        (["--pixel_limit=0.1", "--attack=maximum_damage"], "--pixel_limit goes with a penalty, .* --threat=l2_ball"),
        (["--learning_rate=0.001"], "--learning_rate goes with --solver=adam"),
        (["--keep_best", "--solver=lbfgsb"], "--keep_best goes with --solver=adam"),
        (["--noaccumulate_gradients"], "--accumulate_gradients goes with --solver=adam"),
        (["--divergence=kl", "--attack=output_l2"], "--divergence goes with --attack=latent, not output_l2"),
        (["--through=mean"], "--through goes with --attack=maximum_damage, not latent"),
        (["--attack=sootla", "--threat=l2_ball"], "penalty lambda = 1, so --threat=l2_ball cannot be combined with it"),
        (["--attack=sootla", "--solver=lbfgsb"], "so --solver=lbfgsb cannot be combined with it"),
        (["--budgets=1,x"], "--budgets must be numbers with commas between them, got 1,x"),
    ],
)
def test_options_that_nothing_would_read_are_refused(command, arguments, message):
    with pytest.raises(ValueError, match=message):
        command(*arguments)


def test_options_that_go_together_are_taken(command):
    arguments = "--penalties=3", "--pairs=2", "--pairs_by=label", "--pixel_limit=1", "--divergence=w2", "--layers=1"
    options = command(*arguments)
    assert (options.penalties, options.pairs, options.pixel_limit, options.iterations) == (3, 2, 1.0, None)
    assert command("--budgets=0.5,1", "--attack=maximum_damage", "--through=mean").budgets == (0.5, 1.0)


def test_an_interrupted_attack_goes_on(launcher, run_path, monkeypatch):
    options = launcher.Options(**BY_LOCATION)
    launcher.attack(run_path, options)
    file = run_path / "attacks" / "latent_l2_all.npz"
    expected = storage.read_npz(file)
    file.unlink()

    monkeypatch.setattr(lanes, "_SECONDS_BETWEEN_SNAPSHOTS", 0.0)
    writes = []
    write = storage.Folder.write

    def interrupted_write(self, name, arrays):
        write(self, name, arrays)
        writes.append(name)
        if len(writes) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(storage.Folder, "write", interrupted_write)
    with pytest.raises(KeyboardInterrupt):
        launcher.attack(run_path, options)
    unfinished = run_path / "attacks" / ".latent_l2_all"
    assert not file.exists() and len(list(unfinished.iterdir())) >= 1
    launcher.attack(run_path, options)
    assert not unfinished.exists()
    for name, array in storage.read_npz(file).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(launcher, run_path, monkeypatch, tmp_path):
    def work(*_, **__):
        raise AssertionError("the work was begun")

    monkeypatch.setattr(attacks, "sweep", work)
    path = shutil.copytree(run_path, tmp_path / "run", ignore=shutil.ignore_patterns("attacks"))
    (path / "attacks").write_text("a file, which can hold no others")
    with pytest.raises(OSError, match=r"nothing can be written in .*attacks \(Not a directory\)"):
        launcher.attack(path, launcher.Options())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs_by": "foo"}, "must be seed, label, all_labels, factor:NAME, or numbers"),
        ({"pairs_by": "factor:colour"}, "shape, scale, orientation, x, y"),
        ({"pairs_by": "3-3"}, "one image twice"),
        ({"name": "../elsewhere"}, "part of a file's name"),
        ({"name": "a" * 300}, "at most 40 letters"),
        ({"layers": "1,3"}, r"layers must be .* got \(1, 3\)"),
        ({"divergence": "js"}, "divergence must be one of kl"),
        ({"threat": "l2_ball", "pixel_limit": 0.1}, "--pixel_limit goes with a penalty"),
        ({"learning_rate": 0.1}, "--learning_rate goes with --solver=adam"),
        ({"budgets": (-1.0,)}, "budgets must be finite numbers >= 0"),
        ({"attack": "maximum_damage", "through": "std"}, "pass noise"),
        ({"pairs": 10**6}, "give 1 to"),
    ],
)
def test_bad_options_are_refused_before_any_work(launcher, run_path, options, message):
    before = sorted((run_path / "attacks").glob("*")) if (run_path / "attacks").exists() else []
    with pytest.raises(ValueError, match=message):
        launcher.attack(run_path, launcher.Options(**options))
    after = sorted((run_path / "attacks").glob("*")) if (run_path / "attacks").exists() else []
    assert before == after


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"threat": "squared_penality"}, "one of penalty, squared_penalty, l2_ball, linf_ball, ''; got 'squared_penal"),
        ({"solver": "x"}, "solver must be one of lbfgsb"),
        ({"draws": -1}, "draws must be at least 0"),
        ({"draws": 10**9}, "draws must be at most 100000"),
        ({"restarts": 10**9}, "restarts must be at most 10000"),
        ({"exchanges": 10**9}, "exchanges must be at most 10000"),
        ({"seed": -1}, "attack.seed must be a whole number >= 0"),
        ({"pairs": True}, r"attack\.pairs must be .*got True"),
        ({"iterations": 2.5}, r"attack\.iterations must be "),
        ({"budgets": (-1.0,)}, "budgets must be finite numbers >= 0"),
    ],
)
def test_options_made_in_python_are_refused_as_flags_are(launcher, option, message):
    with pytest.raises(ValueError, match=message):
        launcher.Options(**option)
