"""Images in NumPy's archives and MATLAB's files."""

import warnings

import numpy as np
import pytest
import scipy.io

from tests.local_files import everything, load, noise, truncate


@pytest.mark.parametrize("key", ["images", "imgs", "x", "data", "arr_0"])
def test_an_archive_gives_the_images_under_any_known_name(tmp_path, key):
    images = noise(5, 8, 8, 3)
    np.savez_compressed(tmp_path / "a.npz", **{key: images, "y": np.arange(5)[:, None]})
    splits = load(f"npz:{tmp_path}/a.npz")
    assert (splits.train.size, splits.validation.size) == (4, 1) and splits.train.image_shape == (8, 8, 3)
    found, labels, factors = everything(splits)
    np.testing.assert_array_equal(found, images[labels])
    assert sorted(labels) == list(range(5)) and factors is None


def test_floats_and_booleans_become_the_nearest_bytes(tmp_path):
    values = np.random.default_rng(0).uniform(size=(6, 8, 8)).astype(np.float64)
    np.savez(tmp_path / "a.npz", images=values, labels=np.arange(6))
    images, labels, _ = everything(load(f"npz:{tmp_path}/a.npz"))
    np.testing.assert_allclose(images[..., 0], 255.0 * values[labels], atol=0.5001)
    np.savez(tmp_path / "b.npz", images=values > 0.5, labels=np.arange(6))
    images, labels, _ = everything(load(f"npz:{tmp_path}/b.npz"))
    np.testing.assert_array_equal(images[..., 0], 255.0 * (values[labels] > 0.5))


def test_images_of_an_archive_are_cropped_and_resized(tmp_path):
    images = np.zeros((4, 20, 20), np.uint8)
    images[:, 5:15, 5:15] = 60 * np.arange(1, 5)[:, None, None]
    np.savez(tmp_path / "a.npz", images=images)
    found = everything(load(f"npz:{tmp_path}/a.npz", crop=(5, 5, 10, 10)))[0]
    np.testing.assert_array_equal(found, np.broadcast_to(images[:, 10, 10].reshape(4, 1, 1, 1), found.shape))
    with pytest.raises(ValueError, match=r"a\.npz: crop .* does not fit"):
        load(f"npz:{tmp_path}/a.npz", crop=(5, 5, 16, 10))


def test_splits_of_keras_and_others(tmp_path):
    images = noise(9, 8, 8)
    for form in ("x_{}", "{}_images"):
        labels = form.replace("x", "y").replace("images", "labels")
        arrays = {form.format("train"): images[:6], form.format("test"): images[6:]}
        arrays |= {labels.format("train"): np.arange(6), labels.format("test"): np.arange(6, 9)}
        np.savez(tmp_path / "a.npz", **arrays)
        splits = load(f"npz:{tmp_path}/a.npz")
        assert [part.size for part in (splits.train, splits.validation, splits.test)] == [4, 2, 3]
        for part in (splits.train, splits.validation, splits.test):
            found = part.labels(np.arange(part.size))
            np.testing.assert_array_equal(part.images(np.arange(part.size))[..., 0], images[found])
    np.savez(tmp_path / "a.npz", x_train=images[:5], x_val=images[5:7], x_test=images[7:])
    splits = load(f"npz:{tmp_path}/a.npz")
    np.testing.assert_array_equal(splits.validation.images(np.arange(2))[..., 0], images[5:7])
    np.testing.assert_array_equal(splits.test.images(np.arange(2))[..., 0], images[7:])


class Trap:
    """Unpickling it is noticed."""

    def __reduce__(self):
        return (warnings.warn, ("unpickled",))


def test_factors_are_kept_and_none_of_them_is_taken_for_the_label(tmp_path):
    images, factors = noise(5, 8, 8), np.stack([np.arange(5), np.arange(5)[::-1]], -1)
    np.savez(tmp_path / "a.npz", images=images, factors=factors)
    found, labels, levels = everything(load(f"npz:{tmp_path}/a.npz"))
    assert labels is None
    np.testing.assert_array_equal(found[..., 0], images[levels[:, 0]])
    np.savez(tmp_path / "a.npz", images=images, factors=factors, labels=np.arange(5) % 2)
    _, labels, levels = everything(load(f"npz:{tmp_path}/a.npz"))
    np.testing.assert_array_equal(labels, levels[:, 0] % 2)


def test_official_dsprites_are_black_and_white_with_factors_and_their_metadata_is_not_touched(tmp_path):
    from seatbelt_jax.data import sprites

    factors = np.stack(np.unravel_index(np.arange(0, sprites.NUM_SPRITES, 90_001), sprites.FACTOR_SIZES), -1)
    images = np.asarray(sprites.draw(factors, size=16))[..., 0].astype(np.uint8)
    metadata = np.empty((), object)
    metadata[()] = Trap()
    np.savez_compressed(
        tmp_path / "dsprites.npz",
        metadata=metadata,
        imgs=images,
        latents_classes=np.concatenate([np.zeros((len(factors), 1), np.int64), factors], -1),
        latents_values=np.zeros((len(factors), 6)),
    )
    splits = load(f"npz:{tmp_path}/dsprites.npz", image_size=16)
    found, labels, levels = everything(splits)
    assert set(np.unique(found)) == {0.0, 255.0}
    np.testing.assert_array_equal(found, 255.0 * np.asarray(sprites.draw(levels, size=16)))
    np.testing.assert_array_equal(labels, levels[:, 0])
    np.testing.assert_array_equal(np.unique(sprites.index_from_factors(levels)), np.arange(0, 737_280, 90_001))


def test_leading_axes_of_3d_faces_are_factors(tmp_path):
    sizes = (3, 4, 2, 2)
    images = np.arange(48, dtype=np.uint8).reshape(*sizes, 1, 1) + np.zeros((8, 8), np.uint8)
    np.savez(tmp_path / "faces.npz", images=images)
    found, labels, factors = everything(load(f"npz:{tmp_path}/faces.npz"))
    assert found.shape == (48, 8, 8, 1)
    np.testing.assert_array_equal(found[:, 0, 0, 0], images[tuple(factors.T)][:, 0, 0])
    np.testing.assert_array_equal(labels, factors[:, 0])
    np.savez(tmp_path / "coloured.npz", images=np.stack([images] * 3, -1))
    assert load(f"npz:{tmp_path}/coloured.npz").train.image_shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"pictures": noise(4, 8, 8)}, ValueError, "holds the arrays pictures; images must be named images, imgs"),
        ({}, ValueError, "holds no arrays"),
        ({"images": np.zeros((4, 8, 8), np.int64)}, TypeError, "'images' holds numbers of type int64"),
        ({"images": np.zeros((4, 8, 8), complex)}, TypeError, "complex128"),
        ({"images": np.full((4, 8, 8), 1.5)}, ValueError, r"values from 1\.5 to 1\.5; .* \[0, 1\]"),
        ({"images": np.full((4, 8, 8), -0.1)}, ValueError, r"values from -0\.1"),
        ({"images": np.full((4, 8, 8), np.nan)}, ValueError, "values from nan"),
        ({"images": noise(8, 8)}, ValueError, r"shape \(8, 8\)"),
        ({"images": noise(4, 8, 8, 2)}, ValueError, "1 or 3 channels"),
        ({"images": noise(0, 8, 8)}, ValueError, "holds no images"),
        ({"images": noise(4, 8, 8), "labels": np.arange(3)}, ValueError, "'labels' has 3 rows for 4 images"),
        ({"images": noise(4, 8, 8), "labels": np.eye(4, dtype=int)}, ValueError, "one-hot"),
        ({"images": noise(4, 8, 8), "y": np.arange(4.0)}, TypeError, "'y' holds float64"),
        ({"images": noise(4, 8, 8), "y": np.arange(4) - 1}, ValueError, "count from 0"),
        ({"images": noise(4, 8, 8), "factors": np.arange(4)}, ValueError, "'factors' has shape"),
        ({"images": np.array([Trap()] * 4)}, ValueError, "'images' holds Python objects"),
        ({"x_train": noise(4, 8, 8), "x_test": noise(4, 8, 8, 3)}, ValueError, "1 and 3 channels"),
        ({"x_test": noise(4, 8, 8)}, ValueError, "holds the arrays x_test; images must"),
    ],
)
def test_archives_that_are_not_what_they_should_be_are_refused(tmp_path, arrays, error, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(error, match=message):
        load(f"npz:{tmp_path}/a.npz")


def test_files_that_are_no_archives_or_damaged_are_refused(tmp_path):
    file = tmp_path / "a.npz"
    with pytest.raises(FileNotFoundError, match=r"no npz archive at .*a\.npz"):
        load(f"npz:{file}")
    file.write_text("text")
    with pytest.raises(ValueError, match="is no npz archive"):
        load(f"npz:{file}")
    np.savez_compressed(file, images=noise(20, 8, 8))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"'images' of .*a\.npz is damaged"):
        load(f"npz:{file}")


def svhn(path, size, first=0):
    images = noise(first + size, 32, 32, 3)[first:]
    digits = np.arange(first, first + size) % 10
    scipy.io.savemat(path, {"X": np.moveaxis(images, 0, -1), "y": np.where(digits == 0, 10, digits)[:, None]})
    return images, digits


def test_svhn_files_give_digits_from_zero(tmp_path):
    images, digits = svhn(tmp_path / "train_32x32.mat", 12)
    found, labels, _ = everything(load(f"mat:{tmp_path}/train_32x32.mat", image_size=32))
    order = np.argsort(images.mean(axis=(1, 2, 3)), kind="stable")
    np.testing.assert_array_equal(found, images[order])
    np.testing.assert_array_equal(labels, digits[order])
    with pytest.raises(FileNotFoundError, match="holds no test_32x32"):
        load(f"mat:{tmp_path}")
    test_images, test_digits = svhn(tmp_path / "test_32x32.mat", 3, first=5)
    splits = load(f"mat:{tmp_path}", image_size=32)
    assert [part.size for part in (splits.train, splits.validation, splits.test)] == [9, 3, 3]
    found = splits.test.labels(np.arange(3))
    assert set(found) == set(test_digits)
    np.testing.assert_array_equal(splits.test.images(np.arange(3)), test_images[found - 5])


def test_other_matlab_files_go_by_the_names_of_their_arrays(tmp_path):
    images = np.arange(16, dtype=np.uint8).reshape(2, 2, 2, 2, 1, 1) + np.zeros((8, 8), np.uint8)
    scipy.io.savemat(tmp_path / "faces.mat", {"images": images})
    found, _, factors = everything(load(f"mat:{tmp_path}/faces.mat"))
    np.testing.assert_array_equal(found[:, 0, 0, 0], images[tuple(factors.T)][:, 0, 0])


def test_labels_and_factors_that_matlab_stores_as_double_are_whole_numbers(tmp_path):
    images, labels = noise(4, 8, 8), np.array([[3.0], [0.0], [1.0], [2.0]])
    scipy.io.savemat(tmp_path / "a.mat", {"images": images, "labels": labels, "factors": np.c_[labels, labels]})
    found, classes, factors = everything(load(f"mat:{tmp_path}/a.mat"))
    np.testing.assert_array_equal(found[..., 0], images[[list(labels.ravel()).index(label) for label in classes]])
    assert classes.dtype == np.int32 and factors.tolist() == [[label, label] for label in classes]
    # Whole numbers in images stay floats, which must lie in [0, 1].
    scipy.io.savemat(tmp_path / "a.mat", {"images": np.round(images / 255.0), "labels": labels})
    assert set(np.unique(everything(load(f"mat:{tmp_path}/a.mat"))[0])) == {0.0, 255.0}
    for bad in (0.5, np.nan, np.inf):
        scipy.io.savemat(tmp_path / "a.mat", {"images": images, "labels": np.array([[0.0], [1.0], [2.0], [bad]])})
        with pytest.raises(TypeError, match="'labels' holds float64"):
            load(f"mat:{tmp_path}/a.mat")


def test_matlab_files_that_cannot_be_read_are_refused(tmp_path):
    file = tmp_path / "a.mat"
    file.write_text("text")
    with pytest.raises(ValueError, match=r"a\.mat is no MATLAB file"):
        load(f"mat:{file}")
    svhn(file, 4)
    truncate(file, 0.5)
    with pytest.raises(ValueError, match=r"a\.mat holds no y, .* cut off"):
        load(f"mat:{file}")
    scipy.io.savemat(file, {"images": noise(4, 8, 8)})
    truncate(file, 0.8)
    with pytest.raises(ValueError, match=r"a\.mat is no MATLAB file, or a damaged one"):
        load(f"mat:{file}")
    file.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512))
    with pytest.raises(ValueError, match=r"version 7\.3, an HDF5 file"):
        load(f"mat:{file}")
    scipy.io.savemat(file, {"images": np.array([{"a": 1}] * 3), "other": np.eye(3)})
    with pytest.raises(ValueError, match="holds the arrays other; images must be named"):
        load(f"mat:{file}")
    scipy.io.savemat(file, {"X": np.eye(3), "y": np.eye(3)})
    with pytest.raises(ValueError, match=r"X has shape \(3, 3\)"):
        load(f"mat:{file}")
    for part in ("train_32x32.mat", "test_32x32.mat"):
        scipy.io.savemat(tmp_path / part, {"X": np.eye(3)})
    with pytest.raises(ValueError, match=r"train_32x32\.mat holds no y"):
        load(f"mat:{tmp_path}")


def test_a_dark_split_has_the_scale_of_the_others(tmp_path):
    images = {"x_train": noise(6, 8, 8), "x_test": np.ones((2, 8, 8), np.uint8)}
    np.savez(tmp_path / "a.npz", **images)
    scipy.io.savemat(tmp_path / "a.mat", images)
    for kind in ("npz", "mat"):
        np.testing.assert_array_equal(load(f"{kind}:{tmp_path}/a.{kind}").test.images(np.arange(2)), 1.0)
    np.savez(tmp_path / "a.npz", x_train=images["x_train"] % 2, x_test=images["x_test"])
    np.testing.assert_array_equal(load(f"npz:{tmp_path}/a.npz").test.images(np.arange(2)), 255.0)


def test_a_truncated_archive_is_damaged(tmp_path):
    np.savez(tmp_path / "a.npz", images=noise(20, 8, 8))
    truncate(tmp_path / "a.npz", 0.6)
    with pytest.raises(ValueError, match=r"a\.npz is damaged \(its end is missing\); copy the file anew"):
        load(f"npz:{tmp_path}/a.npz")
