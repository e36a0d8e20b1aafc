import dataclasses
import importlib.util
import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from benchmarks import bench_attack_sweep, bench_data, bench_train_step, hardware
from benchmarks.bench_train_step import Row
from configs import celeba_seatbelt, sprites_beta_tcvae
from seatbelt_jax import attacks, data, models
from seatbelt_jax.attacks import BoxLBFGS

torch_is_here = importlib.util.find_spec("torch") is not None


def tiny(config: ConfigDict) -> ConfigDict:
    depth = len(config.model.latent_sizes)
    config.model.update(
        latent_sizes=tuple(range(depth + 1, 1, -1)), widths=(6, 4), feature_size=8, hidden_sizes=(9, 7, 5)
    )
    return config


def row(case: str = "sprites_seatbelt", implementation: str = "float32", milliseconds: float = 2.0) -> Row:
    return Row(
        case=case,
        batch=8,
        implementation=implementation,
        milliseconds_per_step=milliseconds,
        images_per_second=8e3 / milliseconds,
        times_torch=None,
        peak_mib=None,
        temporary_mib=1.0,
        compile_seconds=0.5,
    )


@pytest.mark.slow
@pytest.mark.skipif(not torch_is_here, reason="PyTorch, the benchmark's reference, is not installed")
@pytest.mark.parametrize(
    ("config", "channels"), [(sprites_beta_tcvae.get_config(), 1), (celeba_seatbelt.get_config(), 3)]
)
def test_the_reference_in_pytorch_takes_the_very_step_that_ours_takes(config, channels):
    problem = bench_train_step.make_problem(tiny(config), (16, 16, channels), dataset_size=1000, batch=12)
    ours, reference = (
        bench_train_step.our_step(problem).first(),
        bench_train_step.torch_step(problem, is_compiled=False).first(),
    )
    apart = bench_train_step.differences(ours, reference)
    assert set(reference["gradient"]) == set(reference["from_flax"](ours["gradient"]))
    assert max(apart["loss_difference"], apart["total_correlation_difference"]) < 1e-5
    assert apart["gradient_difference"] < 1e-4
    # Nothing that is compared may be nothing.
    assert min(ours["loss"], abs(ours["total_correlation"])) > 0.1
    assert all(np.all(np.isfinite(value)) for value in reference["gradient"].values())


def test_a_later_run_replaces_what_it_measured_again_and_keeps_the_rest():
    earlier = [dataclasses.asdict(r) for r in (row("celeba_seatbelt"), row(implementation="torch"), row())]
    merged = bench_train_step.merge(json.loads(json.dumps(earlier)), [row(milliseconds=4.0)])
    assert [(r["case"], r["implementation"], r["milliseconds_per_step"]) for r in merged] == [
        ("sprites_seatbelt", "float32", 4.0),
        ("sprites_seatbelt", "torch", 2.0),
        ("celeba_seatbelt", "float32", 2.0),
    ]


def test_results_of_another_machine_are_not_mixed_with_this_ones(tmp_path, capsys):
    settings = {"repeats": 3}
    rows = [dataclasses.asdict(row())]
    assert bench_train_step.rows_before(settings, tmp_path) == []
    packages = bench_train_step.PACKAGES
    path = hardware.write_results("train_step", rows, settings=settings, packages=packages, directory=tmp_path)
    content = json.loads(path.read_text())
    assert {"benchmark", "date", "command", "hardware", "versions", "settings", "rows"} == set(content)
    assert bench_train_step.rows_before(settings, tmp_path) == rows
    content["hardware"]["processor"] = "another"
    path.write_text(json.dumps(content))
    assert bench_train_step.rows_before(settings, tmp_path) == []
    assert "another machine" in capsys.readouterr().out


def test_the_table_shows_what_was_not_measured_as_a_dash(capsys):
    bench_train_step.report([row()])
    header, line = capsys.readouterr().out.splitlines()
    assert line.split()[:6] == ["sprites_seatbelt", "8", "float32", "2.0", "4000.0", "-"]
    assert len(header) == len(line)


@pytest.mark.slow
def test_the_attack_benchmark_runs_both_solvers_on_the_same_attacks():
    model = models.build({"latent_sizes": (2,), "network": "mlp", "widths": (8,), "batch_norm": False}, (8, 8, 1))
    vae = model.bind(model.init(jax.random.key(0)))
    images = data.load({"name": "sprites", "image_size": 8}, vae.likelihood.image_range).validation
    threat = attacks.Penalty(attacks.penalty_grid(5))
    these = bench_attack_sweep.prepare(vae, attacks.latent(vae), threat, images, pairs=2)
    assert these.number == 10 and 0 < these.moving.size < 10
    solver = BoxLBFGS(maxiter=50, tol=bench_attack_sweep.TOL)
    _, ours, our_evaluations = bench_attack_sweep.by_lanes(these, solver, lanes_at_once=4)
    _, scipys, evaluations = bench_attack_sweep.by_scipy(these, iterations=50, ftol=0.0)
    still = np.setdiff1d(np.arange(10), these.moving)
    np.testing.assert_array_equal(our_evaluations[still], 1)
    np.testing.assert_allclose(ours[still], scipys[still], rtol=1e-5)
    assert np.exp(np.mean(np.log(ours / scipys))) < 1.05 and np.all(evaluations >= 1)
    aim = 1.5 * ours
    aiming = bench_attack_sweep.Aiming(maxiter=50, tol=bench_attack_sweep.TOL)
    _, reached, fewer = bench_attack_sweep.by_lanes(these, aiming, lanes_at_once=4, aim=aim)
    assert np.all(reached <= aim * (1 + 1e-6)) and fewer.sum() < our_evaluations.sum()


@pytest.mark.slow
def test_every_path_of_the_data_is_timed_alone_and_feeding_each_network(monkeypatch):
    monkeypatch.setattr(bench_data, "NETWORKS", {"dense 4": {"network": "mlp", "widths": (4,)}})
    rows = list(bench_data.rows(number=24, size=8, batch=4, steps=2))
    paths = [bench_data.ON_DEVICE, bench_data.IN_MEMORY, bench_data.IN_FOLDER]
    assert [row["path"] for row in rows if "path" in row] == paths
    assert [row["fed"] for row in rows if "fed" in row] == paths
    assert all(row["images_per_second"] > 0.0 for row in rows) and rows[4]["times_the_device_path"] == 1.0
