"""Runs that somebody disturbs: files removed during training, origins whose newest checkpoint is damaged."""

import jax.numpy as jnp
import pytest

from seatbelt_jax import runs, storage
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.runs.damage import DamagedCheckpointError
from seatbelt_jax.training.writers import MetricWriter, read_metrics


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.json"])
@pytest.mark.parametrize("moment", ["write", "flush"])
def test_a_file_removed_during_training_is_put_back_and_said_to_be(tmp_path, name, moment):
    storage.write_json(tmp_path / "config.json", {"a": 1})
    with MetricWriter(tmp_path, start=0) as writer:
        writer.write(1, "train", {"elbo": 1.0})
        before = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        with pytest.warns(UserWarning, match=rf"{name} was removed during training; it is put back"):
            writer.write(2, "train", {"elbo": float("nan")}) if moment == "write" else writer.flush()
        assert (tmp_path / name).read_bytes().startswith(before)
        writer.write(3, "train", {"elbo": 3.0})
    assert [row["step"] for row in read_metrics(tmp_path)] == ([1, 2, 3] if moment == "write" else [1, 3])


@pytest.fixture
def origin(tmp_path):
    path = tmp_path / "origin"
    config = {"data": {"name": "mock"}, "model": {"latent_sizes": [2]}}
    storage.write_json(path / "config.json", {"config": config, "image_shape": [8, 8, 1], "provenance": {}})
    with Checkpoints(path / "checkpoints") as checkpoints:
        for step in (2, 4):
            checkpoints.save(step, variables={"w": jnp.ones(3)}, training={"m": jnp.ones(3)})
    return path


def break_item(path, step, item):
    file = next(file for file in (path / "checkpoints" / f"{step}" / item).rglob("d/*"))
    file.write_bytes(file.read_bytes() + b"more")


def test_an_older_step_of_an_origin_can_be_asked_for(origin, tmp_path):
    assert runs.origin_of(tmp_path / "new", origin, "fork").step == 4
    assert runs.origin_of(tmp_path / "new", origin, "fork", 2).step == 2
    with pytest.raises(FileNotFoundError, match=r"has no checkpoint of step 3; it has 4, 2"):
        runs.origin_of(tmp_path / "new", origin, "warm_start", 3)


def test_an_older_step_of_an_origin_is_taken_where_the_newest_is_damaged(origin, tmp_path):
    break_item(origin, 4, "training")
    assert runs.origin_of(tmp_path / "new", origin, "warm_start").step == 4
    with pytest.warns(UserWarning, match=r"step 4 .* is damaged.*; step 2 is taken instead"):
        assert runs.origin_of(tmp_path / "new", origin, "fork").step == 2
    with pytest.raises(DamagedCheckpointError, match=r"its parameters alone may be whole: --warm_start="):
        runs.origin_of(tmp_path / "new", origin, "fork", 4)
    break_item(origin, 2, "variables")
    break_item(origin, 4, "variables")
    with pytest.raises(DamagedCheckpointError, match=r"step 4 .*step 2"):
        runs.origin_of(tmp_path / "new", origin, "warm_start")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_shape", [8, 8]),
        ("image_shape", [8, 8, 10**9]),
        ("image_shape", "8x8"),
        ("provenance", []),
        ("origin", {"run": "a"}),
        ("origin", {"run": 1, "step": 2, "kind": "fork"}),
        ("origin", {"run": "a", "step": 2, "kind": "theft"}),
        ("data", {"train": 3}),
        ("config", {"data": {"name": "mock"}, "model": {"latent_sizes": ["2"]}}),
        ("config", {"data": {"name": "mock"}, "model": {"latent_sizes": [10**12]}}),
        ("config", {"data": {"name": "mock"}, "model": {"latent_sizes": 2}}),
        ("config", {"data": {"name": ["mock"]}, "model": {"latent_sizes": [2]}}),
        ("config", {"data": {"name": "mock"}, "model": {"latent_sizes": [2]}, "objective": {"beta": "4"}}),
        ("config", {"data": {"name": "mock"}, "model": {"latent_sizes": [2]}, "train": []}),
    ],
)
def test_a_config_of_another_schema_is_refused_by_its_name(tmp_path, name, value):
    config = {"data": {"name": "mock"}, "model": {"latent_sizes": [2]}}
    record = {"config": config, "image_shape": [8, 8, 1], "provenance": {}, name: value}
    storage.write_json(tmp_path / "config.json", record)
    with pytest.raises(ValueError, match=r"config\.json") as refused:
        runs.open(tmp_path)
    assert "\n" not in str(refused.value)


def test_rows_of_metrics_of_another_schema_are_refused_by_their_line(tmp_path):
    for row in ('{"step": "1", "split": "train"}', '{"step": 1}', "[]", '{"step": 1, "split": "train", "elbo": []}'):
        (tmp_path / "metrics.jsonl").write_text('{"step": 0, "split": "train"}\n' + row + "\n")
        with pytest.raises(ValueError, match=r"line 2 of .*metrics\.jsonl"):
            read_metrics(tmp_path)
