"""Folders of pictures, with and without classes and splits; 3D Chairs."""

import os
import pathlib
import sys

import numpy as np
import pytest

from seatbelt_jax import data
from tests.local_files import eight_pictures, everything, flat, load, save


@pytest.fixture
def pictures(tmp_path):
    return eight_pictures(tmp_path / "pictures")


def test_a_folder_gives_its_pictures_once_each_and_the_same_split_every_time(pictures):
    splits = load(f"folder:{pictures}")
    assert (splits.train.size, splits.validation.size, splits.test) == (6, 2, None)
    assert splits.train.image_shape == (8, 8, 1) and splits.train.labels is None and not splits.train.traceable
    images, _, _ = everything(splits)
    np.testing.assert_array_equal(images[:, 0, 0, 0], 10.0 * np.arange(8))
    again = load(f"folder:{pictures}").validation
    np.testing.assert_array_equal(again.images(np.arange(2)), splits.validation.images(np.arange(2)))


def test_pixels_are_bytes_that_become_the_range_asked_for(pictures):
    save(pictures / "0.png", flat(255))
    splits = data.load({"name": f"folder:{pictures}", "image_size": 8, "held_out": 0.25, "crop": ()}, (-1.0, 1.0))
    pixels = splits.train.pixels(np.arange(6))
    assert pixels.dtype == np.uint8 and pixels.shape == (6, 8, 8, 1)
    np.testing.assert_allclose(splits.train.images(np.arange(6)), pixels / 127.5 - 1.0, atol=1e-6)


def test_subfolders_are_classes_in_the_order_of_their_names(tmp_path):
    for number, (name, value) in enumerate([("cat", 10), ("cat", 20), ("ant", 30), ("bee", 40)]):
        save(tmp_path / name / f"{9 - number}.JPG", flat(value))
    (tmp_path / "abacus").mkdir()  # without pictures, no class
    images, labels, _ = everything(load(f"folder:{tmp_path}"))
    np.testing.assert_array_equal(images[:, 0, 0, 0], [10.0, 20.0, 30.0, 40.0])
    np.testing.assert_array_equal(labels, [2, 2, 0, 1])


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_split_folders_are_the_splits_and_share_their_classes(tmp_path, name):
    for part, value in (("train", 10), (name, 20), ("test", 30)):
        save(tmp_path / part / "bee" / "0.png", flat(value))
        save(tmp_path / part / "cat" / "0.png", flat(value + 1))
    save(tmp_path / "train" / "ant" / "0.png", flat(9))
    save(tmp_path / "spare" / "0.png", flat(99))
    splits = load(f"folder:{tmp_path}")
    for part, values, labels in (
        (splits.train, [9, 10, 11], [0, 1, 2]),
        (splits.validation, [20, 21], [1, 2]),
        (splits.test, [30, 31], [1, 2]),
    ):
        found = part.images(np.arange(part.size))[:, 0, 0, 0]
        assert dict(zip(found, part.labels(np.arange(part.size)), strict=True)) == dict(
            zip(values, labels, strict=True)
        )


def test_the_first_images_of_a_part_with_classes_are_of_several(tmp_path):
    for part in ("train", "val", "test"):
        for place, name in enumerate(("ant", "bee")):
            for number in range(20):
                save(tmp_path / part / name / f"{number:02}.png", flat(100 * place + number))
    splits = load(f"folder:{tmp_path}")
    for part in (splits.validation, splits.test):
        values, labels = part.images(np.arange(40))[:, 0, 0, 0], part.labels(np.arange(40))
        np.testing.assert_array_equal(labels, values // 100)
        assert len(set(values)) == 40 and 2 <= labels[:10].sum() <= 8
    np.testing.assert_array_equal(
        load(f"folder:{tmp_path}").test.labels(np.arange(40)), splits.test.labels(np.arange(40))
    )


def test_pictures_deeper_than_classes_are_left_out_with_their_number(pictures):
    save(pictures / "2026" / "may" / "0.png", flat(200))
    save(pictures / "2026" / "june" / "trip" / "1.png", flat(200))
    (pictures / "2026" / "june" / "notes.txt").write_text("not a picture")
    with pytest.warns(UserWarning, match=r"2 lie deeper .* as .*2026/june/trip/1\.png; move them"):
        assert everything(load(f"folder:{pictures}"))[0].max() == 70.0
    with pytest.raises(ValueError, match=r"2026 holds no pictures: 1 lie deeper"):
        (pictures / "2026" / "may" / "0.png").unlink()
        load(f"folder:{pictures}/2026")


def test_without_a_validation_folder_some_of_train_is_held_out(tmp_path):
    for number in range(4):
        save(tmp_path / "train" / f"{number}.png", flat(number))
    save(tmp_path / "test" / "0.png", flat(50))
    splits = load(f"folder:{tmp_path}")
    assert (splits.train.size, splits.validation.size, splits.test.size) == (3, 1, 1)
    assert everything(splits)[0].max() == 3.0


def test_other_files_hidden_ones_and_links_that_lead_out_are_not_read(pictures, tmp_path):
    save(tmp_path / "outside" / "secret.png", flat(200))
    (pictures / "notes.txt").write_text("not a picture")
    save(pictures / ".hidden.png", flat(200))
    save(pictures / ".thumbnails" / "0.png", flat(200))
    (pictures / "leaves.png").symlink_to(tmp_path / "outside" / "secret.png")
    (pictures / "folder").symlink_to(tmp_path / "outside")
    (pictures / "broken.png").symlink_to(pictures / "gone.png")
    (pictures / "stays.png").symlink_to(pictures / "7.png")
    os.mkfifo(pictures / "pipe.png")
    with (
        pytest.warns(UserWarning, match=r"left out 3 links \(broken\.png, folder, leaves\.png\) that lead out"),
        pytest.warns(UserWarning, match=r"left out pictures: 1 \(pipe\.png\) are no regular file"),
    ):
        splits = load(f"folder:{pictures}")
    images, labels, _ = everything(splits)
    np.testing.assert_array_equal(images[:, 0, 0, 0], [*(10.0 * np.arange(8)), 70.0])
    assert labels is None


def test_paths_start_at_the_working_directory_or_at_home(pictures, monkeypatch):
    monkeypatch.chdir(pictures.parent)
    assert load("folder:pictures").train.size == 6
    monkeypatch.setenv("HOME", str(pictures.parent))
    monkeypatch.chdir("/")
    assert load("folder:~/pictures").train.size == 6


def test_folders_that_cannot_be_read_are_refused(pictures, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder at nowhere/at/all; relative paths start at"):
        load("folder:nowhere/at/all")
    with pytest.raises(ValueError, match="is a file"):
        load(f"folder:{pictures}/0.png")
    with pytest.raises(ValueError, match="lacks the path"):
        load("folder:")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no pictures: no file that ends in \.png, \.jpg, \.jpeg"):
        load(f"folder:{tmp_path}/empty")
    save(tmp_path / "one" / "0.png", flat(0))
    with pytest.raises(ValueError, match=r"at least 2 images.*got 1"):
        load(f"folder:{tmp_path}/one")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "0.png").write_text("text")
    with pytest.warns(UserWarning, match="left out 1"), pytest.raises(ValueError, match="none of 1 files"):
        load(f"folder:{tmp_path}/text", on_corrupt="skip")


def test_ambiguous_folders_are_refused(pictures):
    save(pictures / "class" / "0.png", flat(0))
    with pytest.raises(ValueError, match=r"in itself \(0\.png\) and in subfolders \(class\)"):
        load(f"folder:{pictures}")
    for part in ("train", "val", "valid"):
        save(pictures / part / "0.png", flat(0))
    with pytest.raises(ValueError, match="valid and val"):
        load(f"folder:{pictures}")


def test_parts_of_one_folder_must_be_of_one_kind_but_may_be_without_classes(tmp_path):
    save(tmp_path / "train" / "ant" / "0.png", flat(1))
    save(tmp_path / "val" / "0.png", flat(2))
    splits = load(f"folder:{tmp_path}")
    assert splits.train.labels(np.array([0])) == 0 and splits.validation.labels is None
    save(tmp_path / "val" / "0.png", np.full((8, 8, 3), 2))
    with pytest.raises(ValueError, match=r"/train have 1 channels and those of .*/val 3; say with data\.channels"):
        load(f"folder:{tmp_path}")
    assert load(f"folder:{tmp_path}", channels=3).train.image_shape == (8, 8, 3)


def test_classes_that_train_has_not_are_refused(tmp_path):
    save(tmp_path / "train" / "ant" / "0.png", flat(0))
    save(tmp_path / "val" / "bee" / "0.png", flat(0))
    with pytest.raises(ValueError, match="classes that train has not: bee"):
        load(f"folder:{tmp_path}")


def test_a_folder_smaller_than_a_batch_is_refused(pictures):
    told = "batch size 7 does not fit the 6 images .*between 1 and 6, such as --config.train.batch_size=2"
    with pytest.raises(ValueError, match=told):
        data.check_batch_size(7, load(f"folder:{pictures}").train)


def test_the_batch_size_that_is_chosen_fits(pictures):
    assert [data.fitting_batch_size(size) for size in (2, 6, 31, 475, 1023, 1024, 10**6)] == [2, 2, 2, 32, 64, 128, 128]
    for devices in (1, 2, 3, 8):
        for size in (24, 100, 5_000):
            chosen = data.fitting_batch_size(size, devices)
            assert chosen % devices == 0 and devices <= chosen <= min(size, 128)


def chair_folder(root):
    """Two chairs from two sides at two elevations; the grey value counts them."""
    value = 0
    for chair in ("b17", "a4"):
        for elevation in (20, 30):
            for azimuth in (11, 348):
                picture = np.full((60, 60, 3), 255, np.uint8)
                picture[10:50, 10:50] = 10 * value
                save(root / chair / "renders" / f"image_{value:03}_p0{elevation}_t{azimuth:03}_r096.png", picture)
                value += 1
    return root


def test_chairs_are_grey_cropped_and_carry_the_factors_of_their_names(tmp_path):
    root = chair_folder(tmp_path / "rendered_chairs")
    save(root / "a4" / "renders" / "cover.png", flat(0))
    save(root / "a4" / "image_000_p020_t011_r096.png", flat(0))
    (link := root / "a4" / "renders" / "image_900_p020_t011_r096.png").symlink_to(tmp_path)
    for path in (root, tmp_path):
        with pytest.warns(UserWarning, match=r"left out 1 link \(a4/renders/image_900"):
            splits = load(f"chairs:{path}", crop=(10, 10, 40, 40))
        images, labels, factors = everything(splits)
        np.testing.assert_array_equal(images, np.broadcast_to(10.0 * np.arange(8).reshape(8, 1, 1, 1), (8, 8, 8, 1)))
        np.testing.assert_array_equal(factors[:, 0], [1, 1, 1, 1, 0, 0, 0, 0])
        np.testing.assert_array_equal(factors[:, 1], [0, 1] * 4)
        np.testing.assert_array_equal(factors[:, 2], [0, 0, 1, 1] * 2)
        np.testing.assert_array_equal(labels, factors[:, 0])
    link.unlink()
    assert everything(load(f"chairs:{root}"))[0].max() > 250.0  # the white border, without the crop
    assert load(f"chairs:{root}", channels=3).train.image_shape == (8, 8, 3)


def test_a_folder_without_chairs_is_refused(pictures):
    with pytest.raises(ValueError, match="holds no rendered chairs; there must be rendered_chairs/ID/renders"):
        load(f"chairs:{pictures}")


@pytest.mark.parametrize("other", ["eval", "Test", "dev"])
def test_parts_of_other_names_are_not_taken_for_classes(tmp_path, other):
    for part in ("train", other):
        save(tmp_path / part / "0.png", flat(10))
        save(tmp_path / part / "1.png", flat(20))
    with pytest.raises(ValueError, match="would be a part, not a class"):
        load(f"folder:{tmp_path}")


def test_what_looks_like_a_picture_and_is_not_read_is_counted(pictures):
    (pictures / "a.heic").write_bytes(b"")
    (pictures / "b.PSD").write_bytes(b"")
    save(pictures / "c.png", flat(1))
    (pictures / "c.png").rename(pictures / "c")
    (pictures / "notes.txt").write_text("GIF, PNG")
    with pytest.warns(
        UserWarning, match=r"left out pictures: 3 \(a\.heic, b\.PSD, c\) are no .* named .*\.png, .*rename"
    ):
        assert len(everything(load(f"folder:{pictures}"))[0]) == 8
    for file in pictures.glob("*.png"):
        file.unlink()
    with pytest.raises(ValueError, match=r"holds no pictures: 3 \(a\.heic"):
        load(f"folder:{pictures}")


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_names_that_are_not_utf_8_are_names_like_others(tmp_path):
    folder = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    for name in (b"a\xff.png", b"b\xe9.png", b"\xe9.heic"):
        save(folder / os.fsdecode(name), flat(10)) if name.endswith(b"png") else (folder / os.fsdecode(name)).touch()
    with pytest.warns(UserWarning, match=r"caf\\xe9: left out pictures: 1 \(\\xe9\.heic\)"):
        splits = load(f"folder:{folder}")
    assert splits.train.name == f"folder:{tmp_path}/caf\\xe9" and splits.train.digest
    (folder / os.fsdecode(b"a\xff.png")).write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"a\\xff\.png is no PNG") as caught:
        load(f"folder:{folder}")
    assert f"{caught.value}".encode()
