import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import data
from seatbelt_jax.data import held_out, sprites, tfds_source, transforms

MOCK = {"name": "mock", "image_size": 16, "channels": 3, "num_images": 50}


def test_mock_images_are_in_range_distinct_and_the_same_every_time():
    splits = data.load(MOCK, (-1.0, 1.0))
    images = splits.train.images(jnp.arange(splits.train.size))
    assert images.shape == (45, 16, 16, 3)
    assert images.min() >= -1.0 and images.max() <= 1.0
    assert len(np.unique(np.asarray(images).reshape(45, -1), axis=0)) == 45
    again = data.load(MOCK, (-1.0, 1.0)).train.images(jnp.arange(45))
    np.testing.assert_array_equal(images, again)


def test_mock_images_are_grey_unless_channels_say_otherwise():
    assert data.load({"name": "mock", "image_size": 16}, (-1.0, 1.0)).train.image_shape == (16, 16, 1)


@pytest.mark.parametrize("size", [2, 3, 10, 1000])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.999])
def test_held_out_images_and_the_rest_are_all_and_neither_is_none(size, share):
    train, held = held_out.training_and_held_out(size, share)
    assert len(held) == min(max(round(share * size), 1), size - 1)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(size))
    again = held_out.training_and_held_out(size, share)[1]
    np.testing.assert_array_equal(held, again)


def test_sprites_splits_are_disjoint_and_whole():
    splits = data.load({"name": "sprites", "image_size": 32}, (-1.0, 1.0))
    assert splits.train.size + splits.validation.size == 737_280
    assert splits.validation.size == 7_373
    batch = jax.jit(splits.train.images)(jnp.arange(8))
    assert batch.shape == (8, 32, 32, 1)
    assert set(np.unique(batch)) == {-1.0, 1.0}
    as_probabilities = data.load({"name": "sprites", "image_size": 32}, (0.0, 1.0)).validation
    assert set(np.unique(as_probabilities.images(jnp.arange(4)))) == {0.0, 1.0}


def test_the_splits_of_the_sprites_share_no_index(monkeypatch):
    # Drawn as their own index, the images of both splits are all indices once.
    monkeypatch.setattr(sprites, "draw", lambda factors, *, size: sprites.index_from_factors(factors))
    splits = data.load({"name": "sprites", "image_size": 32}, (0.0, 1.0))
    indices = [np.asarray(split.images(np.arange(split.size))) for split in (splits.train, splits.validation)]
    np.testing.assert_array_equal(np.sort(np.concatenate(indices)), np.arange(sprites.NUM_SPRITES))


def test_an_epoch_holds_every_image_at_most_once_and_epochs_differ():
    size, batch_size, seed = 23, 5, 7
    steps_per_epoch = size // batch_size
    first, second = (
        np.concatenate(
            [
                data.batch_indices(epoch * steps_per_epoch + step, size=size, batch_size=batch_size, seed=seed)
                for step in range(steps_per_epoch)
            ]
        )
        for epoch in (0, 1)
    )
    assert len(set(first.tolist())) == len(first) == 20
    assert set(first.tolist()) <= set(range(size))
    assert first.tolist() != second.tolist()
    other_seed = data.batch_indices(0, size=size, batch_size=batch_size, seed=seed + 1)
    assert other_seed.tolist() != first[:5].tolist()


@pytest.mark.parametrize("traceable", [True, False])
def test_batches_from_a_later_step_are_those_of_an_uninterrupted_run(traceable):
    images = np.arange(12.0, dtype=np.float32).reshape(12, 1, 1, 1)
    dataset = data.Dataset("counted", 12, (1, 1, 1), lambda index: images[np.asarray(index)], traceable)
    whole = list(data.batches(dataset, batch_size=4, seed=0, start=0, stop=7))
    resumed = list(data.batches(dataset, batch_size=4, seed=0, start=3, stop=7))
    assert len(whole) == 7
    for a, b in zip(whole[3:], resumed, strict=True):
        np.testing.assert_array_equal(a, b)
    expected_shape = (4,) if traceable else (4, 1, 1, 1)
    assert whole[0].shape == expected_shape


@pytest.mark.parametrize("traceable", [True, False])
def test_the_parts_of_processes_one_after_the_other_are_the_batch(traceable):
    images = np.arange(12.0, dtype=np.float32).reshape(12, 1, 1, 1)
    dataset = data.Dataset("counted", 12, (1, 1, 1), lambda index: images[np.asarray(index)], traceable)
    settings = {"batch_size": 6, "seed": 0, "start": 0, "stop": 3}
    whole = data.batches(dataset, **settings)
    parts = [data.batches(dataset, **settings, shard=(number, 3)) for number in range(3)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert all(len(share) == 2 for share in shares)
        np.testing.assert_array_equal(np.concatenate(shares), batch)
    for shard in ((0, 4), (3, 3), (-1, 3)):
        with pytest.raises(ValueError, match="no part"):
            data.batches(dataset, **settings, shard=shard)


class FakeSource:
    """Random access to examples, as a data source of TensorFlow Datasets gives it."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"image": self.images[index], "label": 0}

    def __getitems__(self, indices):
        return [self[index] for index in indices]


def test_images_of_a_data_source_are_cropped_resized_and_scaled():
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, size=(5, 218, 178, 3)).astype(np.uint8)
    raw[2, 40:188, 15:163] = 255  # all white inside the crop
    dataset = tfds_source.image_dataset(
        "faces", FakeSource(raw), image_size=64, crop=(40, 15, 148, 148), image_range=(-1.0, 1.0)
    )
    assert (dataset.size, dataset.image_shape, dataset.traceable) == (5, (64, 64, 3), False)
    images = dataset.images(np.array([2, 0]))
    assert images.shape == (2, 64, 64, 3) and images.dtype == np.float32
    np.testing.assert_array_equal(images[0], 1.0)
    # Antialiased: the mean grey value survives, single pixels do not.
    inside = raw[0, 40:188, 15:163] / 127.5 - 1.0
    np.testing.assert_allclose(images[1].mean(), inside.mean(), atol=0.01)
    assert images[1].std() < 0.7 * inside.std()


def test_grey_images_keep_their_channel():
    raw = np.full((3, 28, 28, 1), 51, np.uint8)
    dataset = tfds_source.image_dataset("digits", FakeSource(raw), image_size=32, crop=None, image_range=(0.0, 1.0))
    np.testing.assert_allclose(dataset.images(np.array([0])), np.full((1, 32, 32, 1), 0.2), rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"name": "sprite"}, ValueError, "did you mean sprites"),
        ({"name": "celeb_a", "data_dir": "/nonexistent"}, FileNotFoundError, "seatbelt prepare-data --dataset=celeb_a"),
        ({"name": "sprites", "image_size": 100}, ValueError, "100"),
        ({"name": "sprites", "size": 3}, ValueError, "unknown data fields size"),
        ({"name": "mock", "num_images": 3}, ValueError, "at least 10"),
    ],
)
def test_bad_data_sections_are_refused(config, error, message):
    with pytest.raises(error, match=message):
        data.load(config, (-1.0, 1.0))


def test_a_crop_outside_the_image_is_refused():
    with pytest.raises(ValueError, match="does not fit into an image of"):
        transforms.prepare(np.zeros((10, 10, 3), np.uint8), 8, (5, 0, 8, 8))


@pytest.mark.parametrize("batch_size", [0, 46])
def test_a_batch_larger_than_the_data_is_refused(batch_size):
    with pytest.raises(ValueError, match="between 1 and 45"):
        data.check_batch_size(batch_size, data.load(MOCK, (-1.0, 1.0)).train)
