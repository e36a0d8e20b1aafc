"""Stored images on the device or on the host: the same batches, and the same training to the bit."""

import re
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import sprites_vae
from seatbelt_jax import data, models, training
from seatbelt_jax.data import resident
from seatbelt_jax.data.dataset import subset

SIZE = 50
PIXELS = np.random.default_rng(0).integers(0, 256, (SIZE, 8, 8, 1)).astype(np.uint8)


def stored(image_range=(-1.0, 1.0)):
    return data.Dataset.from_pixels("stored", SIZE, (8, 8, 1), lambda indices: PIXELS[indices], image_range)


def test_images_are_scaled_to_the_range_and_black_and_white_are_its_ends():
    for low, high in ((-1.0, 1.0), (0.0, 1.0)):
        everything = stored((low, high)).images(np.arange(SIZE))
        assert everything.dtype == np.float32 and isinstance(everything, np.ndarray)
        np.testing.assert_allclose(everything, low + (high - low) * PIXELS / 255.0, atol=1e-6)
        ends = data.Dataset.from_pixels(
            "ends", 2, (1, 1, 1), lambda i: np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)[i], (low, high)
        )
        np.testing.assert_array_equal(ends.images(np.arange(2)).ravel(), [low, high])


def test_what_fits_the_budget_is_placed_on_the_device_and_nothing_else():
    dataset = stored()
    mebibytes = PIXELS.nbytes / 2**20
    placed = data.place_on_device(dataset, mebibytes)
    assert isinstance(placed.resident, jax.Array) and placed.resident.dtype == jnp.uint8
    np.testing.assert_array_equal(placed.resident, PIXELS)
    assert data.place_on_device(dataset, 0.99 * mebibytes) is dataset
    assert data.place_on_device(dataset, 0) is dataset
    sprites = data.load({"name": "sprites", "image_size": 8}, (0.0, 1.0)).train
    assert data.place_on_device(sprites, 10_000) is sprites


def test_a_part_of_what_is_on_the_device_has_its_own_images():
    part = subset(data.place_on_device(stored(), 1), np.array([4, 2]))
    assert part.resident is None
    np.testing.assert_array_equal(part.pixels(np.arange(2)), PIXELS[[4, 2]])


def test_both_paths_give_the_same_batches_in_the_same_order():
    host, placed = stored(), data.place_on_device(stored(), 1)
    settings = {"batch_size": 8, "seed": 3, "start": 2, "stop": 9}
    on_host, on_device = (list(data.batches(dataset, **settings)) for dataset in (host, placed))
    assert on_host[0].dtype == np.uint8 and on_host[0].shape == (8, 8, 8, 1) and on_device[0].shape == (8,)
    convert = jax.jit(lambda batch, resident: host.from_batch(batch, resident))
    for pixels, indices in zip(on_host, on_device, strict=True):
        images = convert(pixels, None)
        np.testing.assert_array_equal(images, convert(indices, placed.resident))
        np.testing.assert_array_equal(images, host.images(indices))


def test_the_images_are_an_argument_of_the_step_and_not_a_part_of_its_program():
    placed = data.place_on_device(stored(), 1)
    shape = f"tensor<{SIZE}x8x8x1xui8>"
    text = jax.jit(placed.from_batch).lower(jnp.arange(4), placed.resident).as_text()
    assert re.search(rf"@main\(.*{shape}", text) and not re.search(rf"constant dense.*{shape}", text)
    closed_over = jax.jit(lambda batch: placed.from_batch(batch, placed.resident)).lower(jnp.arange(4)).as_text()
    assert re.search(rf"constant dense.*{shape}", closed_over)


@pytest.mark.parametrize("resident_mib", [-1, 0.5])
def test_a_budget_that_is_none_is_refused(resident_mib):
    config = sprites_vae.get_config("smoke").to_dict()
    config["train"]["resident_mib"] = resident_mib
    with pytest.raises(ValueError, match=rf"train\.resident_mib must be a whole number.*, got {resident_mib}"):
        training.parse_settings(config)


@pytest.mark.slow
def test_training_is_the_same_to_the_bit(tmp_path):
    config = sprites_vae.get_config("smoke").to_dict()
    splits = data.Splits(train=stored(), validation=stored())
    model = models.build(config["model"] | {"network": "mlp", "widths": (8,)}, (8, 8, 1))
    ends = []
    for name, budget in (("device", 64), ("host", 0)):
        config["train"] |= {"resident_mib": budget, "steps": 3, "batch_size": 8, "evaluation_images": 8}
        state = training.train(model, splits, training.parse_settings(config), tmp_path / name)
        ends.append(jax.tree.leaves(jax.device_get(state.variables)))
    for a, b in zip(*ends, strict=True):
        np.testing.assert_array_equal(a, b)


def test_slow_pictures_are_read_by_several_threads_each_to_its_place(monkeypatch):
    together = threading.Barrier(2)

    def pixels(indices):
        if indices[0] in (5, 10):
            together.wait(timeout=20)  # breaks where one thread reads them in turn
        return PIXELS[indices]

    monkeypatch.setattr(resident, "_CHUNK", 5)
    monkeypatch.setattr(resident, "READ_THREADS", 2)
    dataset = data.Dataset.from_pixels("slow", SIZE, (8, 8, 1), pixels, (-1.0, 1.0))
    monkeypatch.setattr(resident, "_WORTH_A_THREAD", 0.0)
    np.testing.assert_array_equal(data.place_on_device(dataset, 1).resident, PIXELS)


def test_an_image_that_cannot_be_read_ends_the_reading(monkeypatch):
    begun = []

    def pixels(indices):
        begun.append(int(indices[0]))
        if indices[0] == 10:
            raise OSError("damaged")
        return PIXELS[indices]

    monkeypatch.setattr(resident, "_CHUNK", 5)
    dataset = data.Dataset.from_pixels("broken", SIZE, (8, 8, 1), pixels, (-1.0, 1.0))
    with pytest.raises(OSError, match="damaged"):
        data.place_on_device(dataset, 1)
    assert {0, 5, 10} <= set(begun)
