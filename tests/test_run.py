import importlib.metadata
import shutil

import jax
import numpy as np
import pytest

from seatbelt_jax import runs, storage
from seatbelt_jax.runs import lock
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.runs.run import Origin
from seatbelt_jax.unfinished import Labelled

MODEL = {"latent_sizes": (3, 2), "network": "mlp", "widths": (8,), "hidden_sizes": (4,)}
CONFIG = {"model": MODEL, "data": {"name": "mock"}, "seed": 0}
SHAPE = (8, 8, 1)


def save_something(opened, step=1):
    variables = opened.model.init(jax.random.key(3))
    with Checkpoints(opened.path / "checkpoints") as checkpoints:
        checkpoints.save(step, variables=variables, training={"count": np.zeros(1)})
    return variables


def test_a_run_opens_as_the_model_that_was_saved(tmp_path):
    opened = runs.prepare(tmp_path / "a", CONFIG, SHAPE)
    variables = save_something(opened)
    vae = runs.open(tmp_path / "a").load_vae()
    images = jax.random.normal(jax.random.key(0), (2, *SHAPE))
    expected = opened.model.bind(variables).reconstruct(images)
    np.testing.assert_array_equal(vae.reconstruct(images), expected)
    assert vae.latent_sizes == (3, 2)


def test_an_earlier_step_opens_as_it_was(tmp_path):
    opened = runs.prepare(tmp_path / "a", CONFIG, SHAPE)
    first = save_something(opened, step=1)
    later = jax.tree.map(lambda leaf: leaf + 0.1, first)
    with Checkpoints(opened.path / "checkpoints") as checkpoints:
        checkpoints.save(2, variables=later, training={"count": np.zeros(1)})
    images = jax.random.normal(jax.random.key(0), (2, *SHAPE))
    for step, variables in ((1, first), (2, later), (None, later)):
        expected = opened.model.bind(variables).reconstruct(images)
        np.testing.assert_array_equal(opened.load_vae(step).reconstruct(images), expected)


def test_config_json_holds_what_a_result_depends_on(tmp_path):
    record = storage.read_json(runs.prepare(tmp_path / "a", CONFIG, SHAPE).path / "config.json")
    assert record["config"]["model"]["latent_sizes"] == [3, 2]
    assert {"jax", "flax", "optax", "jaxopt", "orbax-checkpoint"} <= record["provenance"]["versions"].keys()
    assert record["provenance"]["device"].endswith("(cpu)")


def test_a_checkout_that_is_not_installed_makes_runs(tmp_path, monkeypatch):
    """Python finds it by PYTHONPATH or by its working directory, and pip knows no version of it."""
    installed = importlib.metadata.version

    def version(package):
        if package == "seatbelt-jax":
            raise importlib.metadata.PackageNotFoundError(package)
        return installed(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    record = storage.read_json(runs.prepare(tmp_path / "a", CONFIG, SHAPE).path / "config.json")
    assert record["provenance"]["versions"]["seatbelt-jax"] == "not installed"
    assert record["provenance"]["versions"]["jax"] == jax.__version__
    assert runs.open(tmp_path / "a").provenance == record["provenance"]
    # So does work that can be interrupted.
    Labelled(None, ("settings",), np.zeros(1))


def test_the_same_configuration_is_taken_up_again(tmp_path):
    save_something(runs.prepare(tmp_path / "a", CONFIG, SHAPE))
    assert runs.prepare(tmp_path / "a", CONFIG, SHAPE).latest_step == 1


def test_another_configuration_is_refused_with_every_difference(tmp_path):
    save_something(runs.prepare(tmp_path / "a", CONFIG, SHAPE))
    changed = {**CONFIG, "model": {**CONFIG["model"], "widths": (9,)}, "seed": 1}
    with pytest.raises(ValueError, match=r"model.widths was \[8\] and is \[9\]; seed was 0 and is 1"):
        runs.prepare(tmp_path / "a", changed, SHAPE)
    assert runs.open(tmp_path / "a").config["seed"] == 0


def test_a_run_that_saved_nothing_takes_a_new_configuration(tmp_path):
    runs.prepare(tmp_path / "a", CONFIG, SHAPE)
    assert runs.prepare(tmp_path / "a", {**CONFIG, "seed": 5}, SHAPE).config["seed"] == 5


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="is not a run directory"):
        runs.prepare(tmp_path, CONFIG, SHAPE)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_is_not_a_run_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        runs.open(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="is empty or not a run directory"):
        runs.open(tmp_path)
    (tmp_path / "config.json").write_text('{"config": {')
    with pytest.raises(ValueError, match=r"config\.json is not valid JSON"):
        runs.open(tmp_path)
    for content, message in (
        ("[]", "lacks config, image_shape, provenance"),
        ('{"config": {}}', "lacks image_shape, provenance"),
        ('{"config": {}, "image_shape": [8, 8, 1], "provenance": {}}', "lacks data, model"),
    ):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            runs.open(tmp_path)


def test_a_run_without_a_checkpoint_says_how_to_train_it(tmp_path):
    opened = runs.prepare(tmp_path / "a", CONFIG, SHAPE)
    with pytest.raises(FileNotFoundError, match="has no checkpoint yet; train it first"):
        opened.load_vae()


def test_other_data_are_refused_with_what_changed(tmp_path):
    record = {"train": {"size": 6, "digest": "a"}, "validation": {"size": 2, "digest": "b"}}
    runs.prepare(tmp_path / "a", CONFIG, SHAPE, record)
    grown = {**record, "train": {"size": 7, "digest": "c"}}
    # A run that has not saved anything yet takes them.
    assert runs.prepare(tmp_path / "a", CONFIG, SHAPE, grown).data == grown
    save_something(opened := runs.prepare(tmp_path / "a", CONFIG, SHAPE, record))
    opened.check_data({**record, "test": {"size": 1, "digest": "d"}})
    for changed, told in (
        (grown, r"train had 6 images and has 7; put them back"),
        ({**record, "validation": {"size": 2, "digest": "c"}}, "validation has as many images, 2, but others or in"),
        ({"train": record["train"]}, "validation had 2 images and has none"),
    ):
        with pytest.raises(ValueError, match=told):
            runs.prepare(tmp_path / "a", CONFIG, SHAPE, changed)
        with pytest.raises(ValueError, match=told):
            opened.check_data(changed)
    assert runs.prepare(tmp_path / "a", CONFIG, SHAPE, record).data == record


def test_a_run_that_does_not_say_what_its_data_were_goes_on(tmp_path):
    save_something(runs.prepare(tmp_path / "a", CONFIG, SHAPE))
    record = storage.read_json(tmp_path / "a" / "config.json")
    del record["data"]
    storage.write_json(tmp_path / "a" / "config.json", record)
    runs.prepare(tmp_path / "a", CONFIG, SHAPE, {"train": {"size": 7, "digest": "c"}})


def test_a_run_that_has_begun_goes_on_without_its_origin(tmp_path):
    save_something(runs.prepare(tmp_path / "a", CONFIG, SHAPE), step=3)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        runs.origin_of(tmp_path / "b", tmp_path / "none", "fork")
    origin = runs.origin_of(tmp_path / "b", f"{tmp_path}/a/", "fork")
    assert origin == Origin(str(tmp_path / "a"), 3, "fork")
    forked = runs.prepare(tmp_path / "b", CONFIG, SHAPE, origin=origin)
    save_something(runs.open(tmp_path / "a"), step=4)
    # Without a checkpoint of its own it begins with the newest one.
    assert runs.origin_of(tmp_path / "b", tmp_path / "a", "fork").step == 4
    save_something(forked, step=5)
    shutil.rmtree(tmp_path / "a")
    assert runs.origin_of(tmp_path / "b", f"{tmp_path}/c/../a", "fork") == origin
    assert runs.prepare(tmp_path / "b", CONFIG, SHAPE, origin=origin).latest_step == 5
    for other, kind in (("a", "warm_start"), ("c", "fork")):
        with pytest.raises(
            ValueError, match=rf"began with a fork of .*a, not with a {kind} of .*{other}; give another"
        ):
            runs.origin_of(tmp_path / "b", tmp_path / other, kind)


def test_a_training_that_has_not_saved_yet_keeps_its_configuration(tmp_path):
    first = runs.prepare(tmp_path / "run", CONFIG, (8, 8, 1))
    with lock.locked(tmp_path / "run"):
        with pytest.raises(BlockingIOError, match="another training is at work in"):
            runs.prepare(tmp_path / "run", {**CONFIG, "seed": 1}, (8, 8, 1))
        assert runs.open(tmp_path / "run").config == first.config
    assert runs.prepare(tmp_path / "run", {**CONFIG, "seed": 1}, (8, 8, 1)).config["seed"] == 1


def test_the_configuration_of_what_was_set_aside_stays(tmp_path):
    (runs.prepare(tmp_path / "a", CONFIG, SHAPE).path / "damaged").mkdir()
    with pytest.raises(ValueError, match="seed was 0 and is 5"):
        runs.prepare(tmp_path / "a", {**CONFIG, "seed": 5}, SHAPE)
