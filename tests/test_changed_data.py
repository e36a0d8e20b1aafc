"""Data that change between training and what goes on from it: noticed, and by what."""

import shutil

import numpy as np
import pytest

from seatbelt_jax import data
from seatbelt_jax.data.digest import digest_of, sample
from tests import prepared
from tests.local_files import eight_pictures, load, noise, save


def test_digests_are_those_of_other_machines_and_differ_with_the_data():
    array = np.arange(12, dtype=np.int32).reshape(3, 4)
    # As computed once; a machine or version that finds another one would refuse the runs of all others.
    assert digest_of("a", 1, array, None) == "8e310646941a8a7f2bd7b8cf87883f39"
    same = (array.astype(">i4"), np.asfortranarray(array))
    assert {digest_of(one) for one in same} == {digest_of(array)}
    others = (array + 1, array.T, array.reshape(4, 3), array.astype(np.int64), array.astype(np.uint32), array[:2])
    assert len({digest_of(one) for one in (array, *others)}) == 7
    assert digest_of("ab", "c") != digest_of("a", "bc")


def test_samples_reach_from_the_first_to_the_last():
    np.testing.assert_array_equal(sample(5, 9), np.arange(5))
    np.testing.assert_array_equal(sample(9, 3), [0, 4, 8])
    assert sample(1, 1).tolist() == [0] and sample(0, 4).tolist() == []
    large = np.zeros(100_000, np.uint8)
    changed = large.copy()
    changed[-1] = 1
    assert digest_of(large) != digest_of(changed)


@pytest.fixture
def pictures(tmp_path):
    return eight_pictures(tmp_path / "pictures")


def test_pictures_are_known_by_names_and_sizes_wherever_they_lie(pictures, tmp_path):
    before = load(f"folder:{pictures}").record
    assert before["train"]["size"] == 6 and before.keys() == {"train", "validation"}
    shutil.copytree(pictures, tmp_path / "elsewhere")
    assert load(f"folder:{tmp_path}/elsewhere").record == before
    assert load(f"folder:{pictures}", image_size=4).record == before
    (pictures / "7.png").rename(pictures / "8.png")
    assert load(f"folder:{pictures}").record != before
    (pictures / "8.png").rename(pictures / "7.png")
    save(pictures / "0.png", noise(8, 8))
    after = load(f"folder:{pictures}").record
    assert after["train"]["size"] == 6 and after["train"]["digest"] != before["train"]["digest"]


def test_arrays_are_known_by_their_values_and_labels(tmp_path):
    images, labels = noise(6, 8, 8), np.arange(6)
    records = []
    for changed in ({}, {"labels": labels[::-1]}, {"images": images[::-1]}, {}):
        np.savez(tmp_path / "a.npz", **({"images": images, "labels": labels} | changed))
        records.append(load(f"npz:{tmp_path}/a.npz").record)
    assert records[0] == records[3] and records[0] != records[1] != records[2] != records[0]


def test_prepared_data_are_known_by_some_of_their_examples(tmp_path):
    images = noise(2, 40, 28, 28, 1)
    records = []
    for name, chosen in (("a", images[0]), ("b", images[0]), ("c", images[1])):
        prepared.write("mnist", tmp_path / name, {"train": 40}, image=lambda _, i, c=chosen: c[i], label=lambda *_: 0)
        section = {"name": "mnist", "data_dir": str(tmp_path / name), "image_size": 28}
        records.append(data.load(section, (0.0, 1.0)).record)
    assert records[0] == records[1] != records[2]


def test_parts_of_one_data_set_differ_and_computed_images_have_digests_too():
    for name in ("sprites", "mock", "swiss_roll"):
        splits = data.load({"name": name, "image_size": 16}, (0.0, 1.0))
        digests = [part["digest"] for part in splits.record.values()]
        assert None not in digests and len(set(digests)) == 2
        assert splits.record == data.load({"name": name, "image_size": 32}, (-1.0, 1.0)).record
