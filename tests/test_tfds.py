"""Data sets of TensorFlow Datasets, written to disk with made-up content and read back as users' are."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from seatbelt_jax import data
from seatbelt_jax.data import sprites, tfds_source
from tests import launchers, prepared

SIZES = {"train": 40, "test": 10}


def numbered(split, index):
    """The label of an example."""
    return (index if split == "train" else index + 5) % 10


def grey(split, index):
    """An image that tells which example it is of."""
    image = np.zeros((28, 28, 1), np.uint8)
    image[10:18, 10:18] = 255
    image[0, 0] = index + (100 if split == "test" else 0)
    return image


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    prepared.write("mnist", folder, SIZES, image=grey, label=numbered)
    return {"name": "mnist", "data_dir": str(folder), "image_size": 28, "held_out": 0.1}


def places(dataset):
    """Which examples the data set has, as `grey` tells."""
    return dataset.pixels(np.arange(dataset.size))[:, 0, 0, 0]


def test_the_test_split_stays_apart_and_validation_images_are_held_out(mnist):
    splits = data.load(mnist, (-1.0, 1.0))
    assert (splits.train.size, splits.validation.size, splits.test.size) == (36, 4, 10)
    np.testing.assert_array_equal(np.sort(places(splits.test)), np.arange(100, 110))
    train, validation = places(splits.train), places(splits.validation)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(40))
    # Not the first or the last ones, and the same in every process.
    assert not np.array_equal(np.sort(validation), np.arange(4))
    again = data.load(mnist, (0.0, 1.0))
    np.testing.assert_array_equal(places(again.validation), validation)
    assert data.load({**mnist, "held_out": 0.25}, (0.0, 1.0)).validation.size == 10


def test_by_default_a_twentieth_of_the_training_images_is_held_out(mnist):
    del (config := dict(mnist))["held_out"]
    splits = data.load(config, (0.0, 1.0))
    # MNIST's 60,000 images: 57,000 and 3,000.
    assert (splits.train.size, splits.validation.size) == (38, 2)


def test_labels_stay_with_their_images(mnist):
    splits = data.load(mnist, (0.0, 1.0))
    for dataset, first in ((splits.train, 0), (splits.validation, 0), (splits.test, 5)):
        np.testing.assert_array_equal(dataset.labels(np.arange(dataset.size)), (places(dataset) + first) % 10)
    assert splits.train.factors is None


def test_the_very_pixels_are_read_and_padded_or_resized(mnist):
    splits = data.load({**mnist, "image_size": 32, "fit": "pad"}, (-1.0, 1.0))
    (which,) = np.flatnonzero(places(data.load(mnist, (-1.0, 1.0)).test) == 101)
    image = splits.test.images(np.array([which]))
    assert image.shape == (1, 32, 32, 1) and image.dtype == np.float32
    expected = np.pad(grey("test", 1), [(2, 2), (2, 2), (0, 0)]) / 127.5 - 1.0
    np.testing.assert_allclose(image[0], expected, atol=1e-6)
    resized = data.load({**mnist, "image_size": 32}, (0.0, 1.0)).test.images(np.array([which]))
    by_pillow = Image.fromarray(grey("test", 1)[..., 0]).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(resized[0, ..., 0], np.asarray(by_pillow) / 255.0, atol=1e-6)


def test_pixels_on_the_device_are_those_of_the_host(mnist):
    dataset = data.load(mnist, (0.0, 1.0)).train
    resident = data.place_on_device(dataset, budget_mib=1.0)
    np.testing.assert_array_equal(resident.resident, dataset.pixels(np.arange(dataset.size)))


def test_dsprites_has_white_sprites_and_the_factors_of_the_embedded_ones(tmp_path):
    chosen = np.arange(0, sprites.NUM_SPRITES, 18_433)
    factors = np.asarray(sprites.factors_from_index(chosen))
    names = ("shape", "scale", "orientation", "x_position", "y_position")
    levels = {
        f"label_{name}": lambda _, index, place=place: int(factors[index, place]) for place, name in enumerate(names)
    }
    drawn = np.asarray(sprites.draw(factors, size=64)).astype(np.uint8)
    # As the official file has it, white is 1.
    assert set(np.unique(drawn)) == {0, 1}
    prepared.write("dsprites", tmp_path, {"train": 40}, image=lambda _, index: drawn[index], **levels)
    splits = data.load({"name": "dsprites", "data_dir": str(tmp_path), "held_out": 0.2}, (-1.0, 1.0))
    assert (splits.train.size, splits.validation.size, splits.test) == (32, 8, None)
    dataset = splits.validation
    indices = np.arange(dataset.size)
    np.testing.assert_array_equal(dataset.images(indices), 2.0 * sprites.draw(dataset.factors(indices), size=64) - 1.0)
    np.testing.assert_array_equal(dataset.labels(indices), dataset.factors(indices)[:, 0])


def test_celeba_has_its_own_validation_images_and_the_papers_crop(tmp_path):
    faces = {"train": 3, "validation": 2, "test": 4}
    values = np.random.default_rng(0).integers(0, 256, (2, 218, 178, 3)).astype(np.uint8)
    prepared.write("celeb_a", tmp_path, faces, image=lambda split, _: values[int(split == "validation")])
    section = {"name": "celeb_a", "data_dir": str(tmp_path), "image_size": 64, "crop": (40, 15, 148, 148)}
    splits = data.load(section, (0.0, 1.0))
    assert (splits.train.size, splits.validation.size, splits.test.size) == (3, 2, 4)
    expected = Image.fromarray(values[1][40:188, 15:163]).resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(splits.validation.images(np.array([0]))[0], np.asarray(expected) / 255.0, atol=1e-6)
    assert splits.train.labels is None
    with pytest.raises(ValueError, match="does not fit into an image of"):
        data.load({**section, "crop": (80, 15, 148, 148)}, (0.0, 1.0))


@pytest.mark.parametrize("name", ["cifar10", "svhn_cropped"])
def test_colour_images_of_32_pixels_are_read_as_they_are(name, tmp_path):
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    sizes = {"train": 6, "test": 3} | ({"extra": 2} if name == "svhn_cropped" else {})
    prepared.write(name, tmp_path, sizes, image=lambda *_: image, label=numbered)
    splits = data.load({"name": name, "data_dir": str(tmp_path), "image_size": 32, "held_out": 0.5}, (0.0, 1.0))
    assert (splits.train.size, splits.validation.size, splits.test.size) == (3, 3, 3)
    np.testing.assert_array_equal(splits.test.pixels(np.array([2]))[0], image)
    assert set(splits.test.labels(np.arange(3))) == {5, 6, 7}


def test_other_builders_give_their_labelled_factors_in_alphabetical_order(tmp_path):
    chosen = {"label_scale": lambda _, index: index, "label_floor_hue": lambda *_: 4}
    prepared.write("shapes3d", tmp_path, {"train": 4}, **chosen)
    dataset = data.load({"name": "shapes3d", "data_dir": str(tmp_path), "held_out": 0.25}, (0.0, 1.0)).train
    names = ["label_floor_hue", "label_object_hue", "label_orientation", "label_scale", "label_shape", "label_wall_hue"]
    found = dataset.factors(np.arange(3))
    assert found.shape == (3, len(names))
    assert set(found[:, 0]) == {4} and len(set(found[:, 3])) == 3 and not found[:, [1, 2, 4, 5]].any()


def test_nothing_here_needs_tensorflow(mnist):
    code = f"""
import sys
from seatbelt_jax import data
print(data.load({mnist!r}, (0.0, 1.0)).train.images([0, 1]).shape, "tensorflow" in sys.modules)
"""
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=launchers.ROOT, capture_output=True, text=True, timeout=120
    )
    assert found.stdout == "(2, 28, 28, 1) False\n", found.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fashion_mnits", "did you mean fashion_mnist"),
        ("sprite", "did you mean sprites"),
        ("mnist:9.9.9", "has no 'mnist:9.9.9': .* only: 3.0.1"),
        ("mnist/upside_down", "has no 'mnist/upside_down': BuilderConfig upside_down not found"),
        ("imdb_reviews", "no images of one or three channels in bytes; its features are"),
        ("nyu_depth_v2/x/y", "has no"),
    ],
)
def test_names_that_are_no_image_data_set_are_refused(name, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        tfds_source.load(name, data_dir=str(tmp_path), image_size=32, image_range=(0.0, 1.0))


def test_what_is_not_prepared_says_how(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"seatbelt prepare-data --dataset=cifar10 --data_dir={tmp_path}"):
        tfds_source.load("cifar10", data_dir=str(tmp_path), image_size=32, image_range=(0.0, 1.0))


def test_a_preparation_that_was_cut_short_is_not_read(tmp_path):
    folder = prepared.write("mnist", tmp_path, SIZES)
    folder.rename(folder.parent / f"incomplete.AB12CD_{folder.name}")
    with pytest.raises(FileNotFoundError, match="is not prepared"):
        tfds_source.load("mnist", data_dir=str(tmp_path), image_size=28, image_range=(0.0, 1.0))


def test_a_missing_or_damaged_file_is_told(tmp_path):
    folder = prepared.write("mnist", tmp_path, SIZES)
    (file,) = folder.glob("mnist-test*")
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(FileNotFoundError, match=f"{file.name} is missing; remove {folder}"):
        tfds_source.load("mnist", data_dir=str(tmp_path), image_size=28, image_range=(0.0, 1.0))
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match="the files of the data set 'mnist' are damaged"):
        tfds_source.load("mnist", data_dir=str(tmp_path), image_size=28, image_range=(0.0, 1.0))


def test_another_format_is_refused_with_what_to_do(tmp_path):
    folder = prepared.write("mnist", tmp_path, SIZES)
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match="as tfrecord, which cannot be read in random order; remove that folder"):
        tfds_source.load("mnist", data_dir=str(tmp_path), image_size=28, image_range=(0.0, 1.0))


def test_a_data_set_without_training_images_is_refused(tmp_path):
    prepared.write("mnist", tmp_path, {"test": 3})
    with pytest.raises(ValueError, match="has no training images, only test"):
        tfds_source.load("mnist", data_dir=str(tmp_path), image_size=28, image_range=(0.0, 1.0))
