"""Which images attack which: by chance, by name, by label, by one factor; and the labels and factors they need."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import data
from seatbelt_jax.attacks.pairs import all_label_pairs, index_pairs, label_pairs, random_pairs
from seatbelt_jax.data import dataset, sprites, tfds_source
from tests import annotations

LABELS = np.array([0] * 6 + [1] * 3 + [2] * 2 + [3])
SPRITES = {"name": "sprites", "image_size": 32}


def test_pairs_are_distinct_and_repeatable():
    pairs = random_pairs(10, 20, seed=3)
    assert sorted(pairs.ravel().tolist()) == list(range(20))
    np.testing.assert_array_equal(pairs, random_pairs(10, 20, seed=3))
    with pytest.raises(ValueError, match="give 1 to 10"):
        random_pairs(11, 20, seed=0)


def test_pairs_by_name():
    np.testing.assert_array_equal(index_pairs("3-7, 8-9,3-0", 10), [[3, 7], [8, 9], [3, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3-10", "the pair 3-10 names no image; there are images 0 to 9"),
        ("1-2,4-4", "4-4 is one image twice"),
        ("", "written SOURCE-TARGET .* got ''"),
        ("1-2,", "got ''"),
        ("1-2;3-4", "got '1-2;3-4'"),
        ("1--2", "got '1--2'"),
        ("1-2-3", "got '1-2-3'"),
        ("a-b", "got 'a-b'"),
    ],
)
def test_pairs_that_do_not_read_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        index_pairs(text, 10)


# 12 images, 6 of one label: 6 pairs at most, and each must then hold one of these.
@pytest.mark.parametrize("number", [1, 3, 6])
@pytest.mark.parametrize("seed", range(20))
def test_pairs_of_labels_are_distinct_images_of_different_labels(number, seed):
    pairs = label_pairs(LABELS, number, seed=seed)
    assert pairs.shape == (number, 2)
    assert len(set(pairs.ravel().tolist())) == 2 * number
    assert np.all(LABELS[pairs[:, 0]] != LABELS[pairs[:, 1]])
    np.testing.assert_array_equal(pairs, label_pairs(LABELS, number, seed=seed))


def test_as_many_pairs_of_labels_as_brute_force_finds():
    def most(labels):
        """The largest matching of images of different labels, by trying every partner of the first image."""
        if not labels:
            return 0
        first, *rest = labels
        partners = [k for k, label in enumerate(rest) if label != first]
        return max([most(rest)] + [1 + most(rest[:k] + rest[k + 1 :]) for k in partners])

    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = rng.choice([0, 0, 0, 0, 1, 2], size=7)
        number = most(labels.tolist())
        if number:
            assert len(label_pairs(labels, number, seed=0)) == number
        with pytest.raises(ValueError, match=f"give 1 to {number}" if number else "there are none"):
            label_pairs(labels, number + 1, seed=0)


def test_pairs_of_labels_are_drawn_evenly():
    # Two images of each of three labels: each of the 6 ordered pairs of labels is as likely, and so is each image.
    labels = np.repeat([0, 1, 2], 2)
    drawn = np.array([label_pairs(labels, 1, seed=seed)[0] for seed in range(1200)])
    of_labels = collections.Counter(map(tuple, labels[drawn].tolist()))
    assert len(of_labels) == 6 and min(of_labels.values()) > 150 and max(of_labels.values()) < 250
    # The same where conflicts had to be repaired.
    all_used = np.array([label_pairs(labels, 3, seed=seed) for seed in range(400)]).reshape(-1, 2)
    of_labels = collections.Counter(map(tuple, labels[all_used].tolist()))
    assert len(of_labels) == 6 and min(of_labels.values()) > 150 and max(of_labels.values()) < 250


@pytest.mark.parametrize(
    ("chosen", "most"),
    [
        ({"source_label": 0}, 6),
        ({"target_label": 0}, 6),
        ({"source_label": 1}, 3),
        ({"source_label": 1, "target_label": 2}, 2),
        ({"target_label": 3}, 1),
    ],
)
def test_pairs_of_given_labels(chosen, most):
    pairs = label_pairs(LABELS, most, seed=1, **chosen)
    assert len(set(pairs.ravel().tolist())) == 2 * most
    source, target = LABELS[pairs].T
    assert np.all(source != target)
    assert np.all(source == chosen.get("source_label", source))
    assert np.all(target == chosen.get("target_label", target))
    others = {tuple(label_pairs(LABELS, 1, seed=seed, **chosen)[0].tolist()) for seed in range(20)}
    assert len(others) > 1
    with pytest.raises(ValueError, match=f"give 1 to {most}"):
        label_pairs(LABELS, most + 1, seed=1, **chosen)


@pytest.mark.parametrize(
    ("labels", "arguments", "message"),
    [
        (LABELS, {"source_label": 4}, "source_label 4 is not among the labels 0, 1, 2, 3"),
        (LABELS, {"target_label": -1}, "target_label -1 is not among"),
        (LABELS, {"source_label": 2, "target_label": 2}, "are both 2"),
        (LABELS, {"number": 0}, "give 1 to 6"),
        (np.ones(4, int), {}, "there are none"),
        (LABELS.astype(float), {}, "whole numbers .* got float64"),
        (LABELS[:, None], {}, r"shape \(12, 1\)"),
        (np.array([], int), {}, r"shape \(0,\)"),
    ],
)
@annotations.unchecked()
def test_bad_input_to_label_pairs_is_refused(labels, arguments, message):
    with pytest.raises(ValueError, match=message):
        label_pairs(labels, **({"number": 1, "seed": 0} | arguments))


def test_every_ordered_pair_of_digits_is_attacked_alike():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 5))
    pairs = all_label_pairs(labels, 3, seed=0)
    assert pairs.shape == (270, 2)
    of_labels = collections.Counter(map(tuple, labels[pairs].tolist()))
    assert of_labels == {(a, b): 3 for a in range(10) for b in range(10) if a != b}
    # Each source meets nine targets, one of every other label.
    for source, number in collections.Counter(pairs[:, 0].tolist()).items():
        assert number == 9 and set(labels[pairs[pairs[:, 0] == source, 1]]) == set(range(10)) - {labels[source]}
    np.testing.assert_array_equal(pairs, all_label_pairs(labels, 3, seed=0))
    assert not np.array_equal(pairs, all_label_pairs(labels, 3, seed=1))
    # All images of a label may be drawn as targets.
    assert len(set(pairs[:, 1].tolist())) > 45


@pytest.mark.parametrize(
    ("labels", "per_pair", "message"),
    [
        (LABELS, 2, "give 1 to 1, as many as have label 3"),
        (LABELS, 0, "give 1 to 1"),
        (np.full(5, 7), 1, "at least two labels; all images have label 7"),
    ],
)
def test_bad_input_to_all_label_pairs_is_refused(labels, per_pair, message):
    with pytest.raises(ValueError, match=message):
        all_label_pairs(labels, per_pair, seed=0)


@pytest.mark.parametrize("factor", sprites.FACTOR_NAMES)
def test_sprites_of_a_pair_differ_in_one_factor_and_in_their_pictures(factor):
    pool = np.arange(0, sprites.NUM_SPRITES, 997)
    sources, targets = sprites.one_factor_pairs(factor, 40, seed=0, sources=pool)
    assert np.all(np.isin(sources, pool)) and len(set(sources.tolist())) == 40
    differs = np.asarray(sprites.factors_from_index(sources)) != np.asarray(sprites.factors_from_index(targets))
    np.testing.assert_array_equal(differs, np.tile([name == factor for name in sprites.FACTOR_NAMES], (40, 1)))
    images = np.asarray(sprites.draw_index(np.stack([sources, targets])))
    assert np.all(np.any(images[0] != images[1], axis=(1, 2, 3)))
    again = sprites.one_factor_pairs(factor, 40, seed=0, sources=pool)
    np.testing.assert_array_equal([sources, targets], again)


def test_the_first_and_the_last_orientation_are_never_a_pair():
    first = np.asarray(sprites.index_from_factors(np.array([[2, 5, 0, x, 7] for x in range(32)])))
    drawn = []
    for seed in range(8):
        _, targets = sprites.one_factor_pairs("orientation", 32, seed=seed, sources=first)
        drawn += np.asarray(sprites.factors_from_index(targets))[:, 2].tolist()
    # Each of the 38 others is drawn about 6.7 times in 256.
    assert set(drawn) == set(range(1, 39))


def test_sprites_that_look_alike_at_every_other_level_are_passed_over():
    # In 8 pixels the smallest square is one pixel at many an orientation, the largest heart never.
    squares = np.array([[0, 0, k, 16, 16] for k in range(40)])
    pictures = np.asarray(sprites.draw(squares, size=8)).reshape(40, -1)
    assert len(np.unique(pictures, axis=0)) < 40
    sources, targets = sprites.one_factor_pairs(
        "orientation", 20, seed=0, sources=np.asarray(sprites.index_from_factors(squares)), size=8
    )
    images = np.asarray(sprites.draw_index(np.stack([sources, targets]), size=8))
    assert np.all(np.any(images[0] != images[1], axis=(1, 2, 3)))


def test_too_few_sprites_that_look_different_are_reported(monkeypatch):
    monkeypatch.setattr(sprites, "draw", lambda factors, *, size: jnp.zeros((len(factors), size, size, 1)))
    with pytest.raises(ValueError, match="only 0 of these 5 sprites look different at another level of x"):
        sprites.one_factor_pairs("x", 3, seed=0, sources=np.arange(5))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"factor": "colour"}, ValueError, "shape, scale, orientation, x, y; got 'colour'"),
        ({"number": 0}, ValueError, "give 1 to 4"),
        ({"number": 5}, ValueError, "give 1 to 4"),
        ({"size": 100}, ValueError, "8 to 64"),
        ({"sources": np.array([-1, 2])}, ValueError, "must lie from 0"),
        ({"sources": np.array([0.5, 2.0])}, TypeError, "integers"),
    ],
)
def test_bad_input_to_one_factor_pairs_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        sprites.one_factor_pairs(**({"factor": "x", "number": 1, "seed": 0, "sources": np.arange(4)} | arguments))


def test_one_factor_pairs_of_a_configuration_are_images_of_its_validation_part():
    sources, targets, source_indices, target_indices = data.one_factor_pairs(SPRITES, (-1.0, 1.0), "orientation", 6, 0)
    assert sources.shape == targets.shape == (6, 32, 32, 1) and set(np.unique(sources)) == {-1.0, 1.0}
    validation = data.load(SPRITES, (-1.0, 1.0)).validation
    assert validation.factors is not None
    held_out = np.asarray(sprites.index_from_factors(validation.factors(np.arange(validation.size))))
    for images, indices in ((sources, source_indices), (targets, target_indices)):
        np.testing.assert_array_equal(images, 2.0 * np.asarray(sprites.draw_index(indices, size=32)) - 1.0)
    assert np.all(np.isin(source_indices, held_out)) and not np.all(np.isin(target_indices, held_out))


def test_other_data_sets_have_no_factors_to_pair_by():
    with pytest.raises(ValueError, match="only the data set sprites has factors, got 'mock'"):
        data.one_factor_pairs({"name": "mock"}, (0.0, 1.0), "x", 1, 0)
    with pytest.raises(ValueError, match="factor must be one of shape"):
        data.one_factor_pairs(SPRITES, (0.0, 1.0), "X", 1, 0)
    splits = data.load({"name": "mock", "image_size": 8}, (0.0, 1.0))
    assert splits.train.labels is None and splits.train.factors is None


def test_labels_and_factors_of_sprites_belong_to_their_images():
    validation = data.load(SPRITES, (0.0, 1.0)).validation
    assert validation.labels is not None and validation.factors is not None
    index = np.array([5, 0, 7000])
    labels, factors = jax.jit(validation.labels)(index), validation.factors(index)
    np.testing.assert_array_equal(sprites.draw(factors, size=32), validation.images(index))
    np.testing.assert_array_equal(labels, factors[:, 0])
    assert set(np.unique(validation.labels(np.arange(100)))) == {0, 1, 2}


class LabelledSource:
    """Random access to examples, as a data source of TensorFlow Datasets gives it."""

    def __init__(self, label, images=True):
        self.label, self.images = label, images

    def __len__(self):
        return 5

    def __getitem__(self, index):
        image = np.full((4, 4, 1), 10 * index, np.uint8) if self.images else b"undecoded"
        return {"image": image} | ({} if self.label is None else {"label": self.label(index)})

    def __getitems__(self, indices):
        return [self[index] for index in indices]


def test_labels_of_a_data_source_are_its_label_feature():
    source = LabelledSource(lambda index: np.int64(index % 3))
    options = {"image_size": 4, "crop": None, "image_range": (0.0, 1.0)}
    everything = tfds_source.image_dataset("digits", source, **options)
    np.testing.assert_array_equal(everything.labels(np.array([4, 0, 2])), [1, 0, 2])
    part = dataset.subset(everything, np.array([4, 3]))
    np.testing.assert_array_equal(part.labels(np.array([1, 0])), [0, 1])
    assert part.factors is None
    # Where there is a source that leaves images undecoded, labels are read from it, and images are not.
    cheap = LabelledSource(lambda index: np.int64(7), images=False)
    both = tfds_source.image_dataset("digits", source, label_source=cheap, **options)
    np.testing.assert_array_equal(both.labels(np.array([4])), [7])
    np.testing.assert_allclose(both.images(np.array([3]))[0, 0, 0, 0], 30 / 255)


@pytest.mark.parametrize("label", [None, lambda index: np.zeros(3, np.int64), lambda index: 0.5, lambda index: b"cat"])
def test_only_a_whole_number_is_a_label(label):
    options = {"image_size": 4, "crop": None, "image_range": (0.0, 1.0)}
    assert tfds_source.image_dataset("faces", LabelledSource(label), **options).labels is None
