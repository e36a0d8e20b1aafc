"""What launchers read of a run's data after training: the parts it did not see, and none that have changed."""

import csv
import json
import shutil

import numpy as np
import pytest

from configs import sprites_vae
from seatbelt_jax import runs, storage
from seatbelt_jax.jobs import attack as attack_job
from seatbelt_jax.jobs import certify as certify_job
from seatbelt_jax.jobs import run_data
from seatbelt_jax.jobs import train as train_job
from tests.local_files import noise

IMAGES = noise(12, 8, 8)


def write(folder, training, **others):
    np.savez(folder / "a.npz", x_train=IMAGES[:training], x_test=IMAGES[8:], y_test=np.arange(4), **others)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny model after one step, on six images; two are for validation, four for tests."""
    folder = tmp_path_factory.mktemp("runs")
    write(folder, 8)
    config = sprites_vae.get_config("smoke").to_dict()
    config["data"] = {"name": f"npz:{folder}/a.npz", "image_size": 8, "held_out": 0.25}
    config["model"] |= {"latent_sizes": (2,), "network": "mlp", "widths": (4,), "hidden_sizes": (4,)}
    config["train"] |= {"steps": 1, "batch_size": 4, "log_every": 1, "evaluate_every": 1, "checkpoint_every": 1}
    train_job.train(config, folder / "run")
    return folder, config


@pytest.fixture
def path(trained, tmp_path):
    return shutil.copytree(trained[0] / "run", tmp_path / "run")


def attack(path, **options):
    launcher = attack_job
    launcher.attack(path, launcher.Options(**{"budgets": (1.0,), "iterations": 2, "pairs": 1} | options))


def certify(path, **options):
    launcher = certify_job
    chosen = {"methods": ("spectral",), "samples": 30, "images": 2, "radius": 40.0, "minimal_radius": False} | options
    launcher.certify(path, launcher.Options(**chosen))


def splits_named(file):
    with file.open() as opened:
        return {row["split"] for row in csv.DictReader(opened)}


def test_no_launcher_goes_on_from_a_run_whose_data_have_changed(trained, path):
    folder, config = trained
    train = train_job.train
    write(folder, 7)
    try:
        for go_on in (train, lambda _, path: attack(path), lambda _, path: certify(path)):
            with pytest.raises(
                ValueError, match=r"data of .*run are not what they were .* train had 6 images and has 5"
            ):
                go_on(config, path)
    finally:
        write(folder, 8)
    train(config, path)


def test_a_run_from_before_a_field_of_data_was_in_its_configuration_goes_on(trained, path):
    _, config = trained
    fields = {"channels": 0, "num_images": 256, "crop": (), "fit": "resize", "on_corrupt": "refuse", "data_dir": ""}
    train_job.train(config | {"data": config["data"] | fields}, path)
    with pytest.raises(ValueError, match=r"another configuration: data\.crop was \[\] and is \[0, 0, 8, 8\];"):
        train_job.prepare(config | {"data": config["data"] | {"crop": (0, 0, 8, 8)}}, path)


def test_a_batch_size_that_is_left_open_is_chosen_and_written(trained, tmp_path, capsys):
    _, config = trained
    config = config | {"train": config["train"] | {"batch_size": 0}}
    train = train_job
    assert train.prepare(config, tmp_path / "run").settings.train.batch_size == 2
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["train"]["batch_size"] == 2
    assert "batches of 2" in capsys.readouterr().out
    train.prepare(config, tmp_path / "run")


def test_a_fork_of_a_run_with_fewer_images_says_that_it_may_have_seen_those_held_out(trained, path, tmp_path, capsys):
    folder, config = trained
    train = train_job.train
    warm = runs.origin_of(tmp_path / "grown", path, "warm_start")
    write(folder, 7)
    try:
        train(config, tmp_path / "grown", origin=warm)
    finally:
        write(folder, 8)
    assert "may have trained on images that are held out here: train had 6 images and has 5" in capsys.readouterr().out
    train(config, tmp_path / "same", origin=warm)
    assert "beware" not in capsys.readouterr().out


def test_attacks_are_on_validation_images_or_on_test_images(trained, path, capsys):
    attack(path)
    attack(path, split="test")
    splits = run_data.splits_of(runs.open(path), (-1.0, 1.0))
    for split, name in (("validation", "latent_kl_all"), ("test", "latent_kl_all_test")):
        arrays = storage.read_npz(path / "attacks" / f"{name}.npz")
        assert arrays["split"] == split and splits_named(path / "attacks" / f"{name}.csv") == {split}
        part = getattr(splits, split)
        np.testing.assert_array_equal(arrays["sources"], part.images(arrays["source_index"]))
        np.testing.assert_array_equal(arrays["targets"], part.images(arrays["target_index"]))
    assert "1 attacks on test images" in capsys.readouterr().out
    # Labels of the test part alone.
    assert "source_label" in arrays


# One step of training leaves networks of which no unit is active at some images.
@pytest.mark.filterwarnings("ignore:encode's mean does not depend on the image:UserWarning")
def test_certificates_of_test_images_stand_apart(path, capsys):
    certify(path)
    certify(path, split="test", images=4)
    for split, folder, number in (("validation", "certificates", 2), ("test", "certificates_test", 4)):
        arrays = storage.read_npz(path / folder / "spectral.npz")
        assert arrays["split"] == split and arrays["radius"].shape == (number,)
        assert splits_named(path / folder / "margins.csv") == {split}
    assert "of 4 test images at r = 40" in capsys.readouterr().out
    assert (path / "figures_test").is_dir()
    with pytest.raises(ValueError, match="there are 4 test images, not 5"):
        certify(path, split="test", images=5)


def test_parts_that_are_not_there_are_refused(trained, path):
    with pytest.raises(ValueError, match="split must be one of validation, test; got 'train'"):
        attack(path, split="train")
    with pytest.raises(ValueError, match="--split goes with pairs of stored images"):
        attack(path, split="test", pairs_by="factor:shape")
    record = storage.read_json(path / "config.json")
    record["config"]["data"] = {"name": "mock", "image_size": 8}
    storage.write_json(path / "config.json", record | {"data": {}})
    for go_on in (attack, certify):
        with pytest.raises(ValueError, match="mock has no test images; take those of --split=validation"):
            go_on(path, split="test")
