"""Pictures of every kind, and damaged ones."""

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from configs import folder
from seatbelt_jax import data
from seatbelt_jax.data import picture_files
from seatbelt_jax.data.fitting import Fitting
from tests.local_files import BYTES, eight_pictures, everything, flat, load, noise, save, truncate


@pytest.fixture
def pictures(tmp_path):
    return eight_pictures(tmp_path / "pictures")


def test_mixed_sizes_are_resized_cropped_or_padded(tmp_path):
    save(tmp_path / "a.png", np.pad(flat(100, (4, 6)), 1))
    save(tmp_path / "b.png", flat(200, (30, 20)))
    assert everything(load(f"folder:{tmp_path}"))[0].shape == (2, 8, 8, 1)
    cropped = everything(load(f"folder:{tmp_path}", crop=(1, 1, 4, 6)))[0]
    np.testing.assert_array_equal(cropped[0], 100.0)
    with pytest.raises(ValueError, match=r"b\.png.*\(30, 20\).*cannot be padded to 8"):
        load(f"folder:{tmp_path}", fit="pad")
    with pytest.raises(ValueError, match=r"a\.png.*crop \(0, 0, 10, 6\) does not fit"):
        load(f"folder:{tmp_path}", crop=(0, 0, 10, 6))
    padded = everything(load(f"folder:{tmp_path}", fit="pad", image_size=32))[0]
    assert padded.shape == (2, 32, 32, 1) and padded[1].sum() == 200.0 * 30 * 20


def conversions():
    grey, colours = flat(100), np.full((8, 8, 3), (200, 50, 0), np.uint8)
    palette = Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE)
    grey_palette = Image.new("P", (8, 8), 3)
    grey_palette.putpalette([level for number in range(256) for level in [number * 5 % 256] * 3])
    transparent = np.concatenate([colours, flat(0)[..., None]], -1)
    half = np.concatenate([colours, flat(51)[..., None]], -1)
    return {
        "16-bit": (Image.fromarray(np.full((8, 8), 257 * 100, np.uint16)), 1, [100]),
        "16-bit to colours": (Image.fromarray(np.full((8, 8), 65535, np.uint16)), 3, [255] * 3),
        "one bit": (Image.fromarray(grey > 0), 1, [255]),
        "grey palette": (grey_palette, 1, [15]),
        "palette": (palette, 3, [200, 50, 0]),
        "colours to grey": (Image.fromarray(colours), 1, [89]),
        "grey to colours": (Image.fromarray(grey), 3, [100] * 3),
        "transparent": (Image.fromarray(transparent), 3, [255] * 3),
        "half transparent": (Image.fromarray(half), 3, [244, 214, 204]),
        "half transparent grey": (Image.fromarray(np.stack([grey, flat(51)], -1)), 1, [224]),
    }


@pytest.mark.parametrize("kind", conversions())
def test_every_kind_of_png_becomes_bytes(tmp_path, kind):
    picture, channels, expected = conversions()[kind]
    for name in "ab":
        picture.save(tmp_path / f"{name}.png")
    given = {"channels": channels} if " to " in kind else {}
    images = everything(load(f"folder:{tmp_path}", **given))[0]
    assert images.shape[-1] == channels
    np.testing.assert_array_equal(images, np.broadcast_to(np.array(expected, np.float32), images.shape))


def test_transparent_palettes_show_white(tmp_path):
    for name in "ab":
        Image.new("P", (8, 8), 0).save(tmp_path / f"{name}.png", transparency=0)
    images = everything(load(f"folder:{tmp_path}"))[0]
    np.testing.assert_array_equal(images, 255.0)


def test_grey_beside_colours_is_refused_unless_channels_say_which(tmp_path):
    save(tmp_path / "a.png", flat(100))
    save(tmp_path / "b.jpeg", np.full((8, 8, 3), 100))
    with pytest.raises(ValueError, match=r"a\.png is grey and .*b\.jpeg is coloured; say with data\.channels"):
        load(f"folder:{tmp_path}")
    for channels in (1, 3):
        images = everything(load(f"folder:{tmp_path}", channels=channels))[0]
        np.testing.assert_array_equal(images, np.full((2, 8, 8, channels), 100.0))


def test_a_file_that_is_no_picture_is_named_and_refused_or_skipped(pictures):
    (pictures / "3.png").write_text("GIF89a? No: text.")
    (pictures / "9.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"3\.png is no PNG, JPEG, .* file.*data\.on_corrupt=skip"):
        load(f"folder:{pictures}")
    with pytest.warns(UserWarning, match=r"left out 2 of 9 files: .*3\.png.*9\.jpg"):
        splits = load(f"folder:{pictures}", on_corrupt="skip")
    np.testing.assert_array_equal(everything(splits)[0][:, 0, 0, 0], [0, 10, 20, 40, 50, 60, 70])


def test_other_formats_are_refused_whatever_their_name(pictures):
    Image.fromarray(flat(1)).save(pictures / "3.png", format="ICO")
    with pytest.raises(ValueError, match=r"3\.png is no PNG, JPEG, WEBP, BMP, TIFF, GIF file"):
        load(f"folder:{pictures}")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_damage_behind_the_header_is_named_when_read_or_skipped_when_opened(tmp_path, suffix):
    for name in "abcd":
        save(tmp_path / f"{name}.{suffix}", noise(64, 64))
    truncate(tmp_path / f"c.{suffix}", 0.7)
    splits = load(f"folder:{tmp_path}")
    assert splits.train.size + splits.validation.size == 4
    with pytest.raises(ValueError, match=rf"c\.{suffix} is damaged"):
        everything(splits)
    with pytest.warns(UserWarning, match=rf"left out 1 of 4 files: .*c\.{suffix}"):
        assert len(everything(load(f"folder:{tmp_path}", on_corrupt="skip"))[0]) == 3


def test_a_png_without_an_exif_note_is_opened_by_its_header_alone(tmp_path, monkeypatch):
    def load(picture):
        raise AssertionError("the pixels are decoded")

    save(tmp_path / "a.png", noise(64, 64))
    monkeypatch.setattr(PngImageFile, "load", load)
    assert picture_files.survey([tmp_path / "a.png"], Fitting(image_size=32)).channels == 1


def test_skipping_keeps_labels_with_their_pictures(tmp_path):
    for label, name in enumerate(("ant", "bee", "cat")):
        for number in range(2):
            save(tmp_path / name / f"{number}.png", flat(10 * label + number))
    (tmp_path / "ant" / "1.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="left out 1 of 6"):
        images, labels, _ = everything(load(f"folder:{tmp_path}", on_corrupt="skip"))
    np.testing.assert_array_equal(images[:, 0, 0, 0] // 10, labels)
    np.testing.assert_array_equal(labels, [0, 1, 1, 2, 2])


def test_a_picture_that_cannot_be_reached_is_not_called_damaged(pictures):
    (pictures / "gone.png").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        picture_files.read(pictures / "gone.png", 1)


def test_decompression_bombs_are_refused(pictures, monkeypatch):
    save(pictures / "big.png", flat(0, (20, 20)))
    for limit in (300, 100):  # Pillow warns of the first and refuses the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=rf"big\.png has more than the {limit} pixels"):
            load(f"folder:{pictures}")


def test_batches_hold_the_pictures_of_their_numbers_on_host_and_device_and_pass_errors_on(pictures):
    dataset = load(f"folder:{pictures}").train
    numbers = [data.batch_indices(step, size=6, batch_size=2, seed=0) for step in range(5)]
    for placed in (dataset, data.place_on_device(dataset, 1.0)):
        batches = list(data.batches(placed, batch_size=2, seed=0, start=0, stop=5))
        for batch, number in zip(batches, numbers, strict=True):
            np.testing.assert_array_equal(placed.from_batch(batch, placed.resident), dataset.images(number))
    for file in pictures.iterdir():
        truncate(file, 0.7)
    with pytest.raises(ValueError, match=r"\d\.png is damaged"):
        next(data.batches(dataset, batch_size=2, seed=0, start=0, stop=5))


TURNED = np.repeat(np.repeat(np.array([[200, 100], [50, 0], [150, 250]], np.uint8), 16, 0), 16, 1)
# What a camera stores, by Exif's note on it, of the picture that is to be seen.
STORED = {
    1: TURNED,
    2: TURNED[:, ::-1],
    3: TURNED[::-1, ::-1],
    4: TURNED[::-1],
    5: TURNED.T,
    6: np.rot90(TURNED),
    7: np.rot90(TURNED, 2).T,
    8: np.rot90(TURNED, 3),
}


def save_with_orientation(path, pixels, orientation, **options):
    note = Image.Exif()
    note[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, exif=note, **options)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("png", {}),
        ("jpg", {"quality": 100}),
        ("webp", {"lossless": True}),
        ("tif", {}),
        ("tiff", {"compression": "tiff_lzw"}),
    ],
)
def test_pictures_are_turned_upright(tmp_path, suffix, options):
    """A part that is cut out is cut out of the upright picture, whose size is checked."""
    for orientation, stored in STORED.items():
        pictures = tmp_path / f"{orientation}"
        pictures.mkdir()
        for name in "ab":
            save_with_orientation(pictures / f"{name}.{suffix}", stored, orientation, **options)
        images = everything(load(f"folder:{pictures}", channels=1, crop=(36, 20, 8, 8)))[0]
        np.testing.assert_allclose(images, 250.0, atol=4.0)
        with pytest.raises(ValueError, match="does not fit"):
            load(f"folder:{pictures}", channels=1, crop=(0, 0, 32, 48))


def test_a_damaged_note_on_the_side_that_is_up_costs_no_picture(tmp_path):
    for name in "ab":
        Image.fromarray(flat(100)).save(tmp_path / f"{name}.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff junk")
    with pytest.warns(UserWarning, match="Corrupt EXIF data"):
        images = everything(load(f"folder:{tmp_path}"))[0]
    np.testing.assert_array_equal(images, 100.0)


def test_the_digest_tells_turned_pictures_and_stays_what_it_was_for_others(tmp_path):
    digests = []
    for orientation in (1, 6):
        for name in "ab":
            save_with_orientation(tmp_path / f"{name}.png", flat(7), orientation)
        digests.append(load(f"folder:{tmp_path}").train.digest)
    assert digests[0] != digests[1]
    paths = sorted(tmp_path.iterdir())
    plain = picture_files.dataset("", tmp_path, paths, Fitting(8), channels=1)
    upright = picture_files.dataset("", tmp_path, paths, Fitting(8), channels=1, orientations=np.array([1, 1]))
    assert plain.digest == upright.digest


@pytest.mark.parametrize("suffix", ["webp", "bmp", "tif", "tiff", "gif", "BMP"])
@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
def test_other_formats_are_read(tmp_path, suffix, mode):
    picture = Image.fromarray(np.full((8, 8, 3), (200, 50, 0) if mode != "L" else 100, np.uint8))
    for name in "ab":
        converted = picture.convert(mode, palette=Image.Palette.ADAPTIVE) if suffix != "webp" else picture
        converted.save(tmp_path / f"{name}.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    images = everything(load(f"folder:{tmp_path}"))[0]
    assert images.shape[-1] == (1 if mode == "L" and suffix != "webp" else 3)
    np.testing.assert_allclose(images, np.broadcast_to(np.asarray(picture)[..., : images.shape[-1]], images.shape))


def test_the_first_of_several_frames_is_read_and_said(tmp_path):
    frames = [Image.fromarray(flat(value)) for value in (40, 200)]
    for name in ("a.gif", "b.webp", "c.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    save(tmp_path / "d.png", flat(40))
    with pytest.warns(UserWarning, match=r"3 of 4 pictures have several frames, .*a\.gif for example; the first"):
        images = everything(load(f"folder:{tmp_path}", channels=1))[0]
    np.testing.assert_allclose(images, 40.0, atol=3.0)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_whose_white_is_not_known_are_refused(tmp_path, kind):
    for name in "ab":
        Image.fromarray(np.full((8, 8), 70_000, kind)).save(tmp_path / f"{name}.tif")
    with pytest.raises(ValueError, match=r"a\.tif holds floats or numbers of 32 bits"):
        load(f"folder:{tmp_path}")


def test_mixed_pictures_are_read_as_configs_folder_says(tmp_path):
    for number, mode in enumerate(("RGB", "L", "RGBA", "LA", "P", "1", "CMYK")):
        suffix = "jpg" if mode == "CMYK" else "png"
        Image.fromarray(noise(5 + number, 20 - number, 3)).convert(mode).save(tmp_path / f"{mode}.{suffix}")
    (tmp_path / "broken.png").write_bytes(b"")
    given = {"image_size": 8, "name": f"folder:{tmp_path}", "held_out": 0.25}
    with pytest.warns(UserWarning, match="left out 1 of 8 files"):
        splits = data.load(folder.get_config().data.to_dict() | given, BYTES)
    assert everything(splits)[0].shape == (7, 8, 8, 3)
