"""The reader of MATLAB files against SciPy's, and with damage of every byte."""

import os
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from seatbelt_jax.data import mat_file
from seatbelt_jax.data.mat_file import MatFile
from tests.local_files import load, noise


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_are_those_that_scipy_reads(tmp_path, compressed):
    file = tmp_path / "a.mat"
    arrays = {f"a_{np.dtype(kind)}": np.arange(24).reshape(2, 3, 4).astype(kind) for kind in "bBhHiIlLfd"}
    arrays |= {
        "x": np.array([[5]], np.uint8),
        "flag": np.eye(3) > 0,
        "a" * 31: noise(2, 40, 50),
        "none": np.zeros((0, 3)),
    }
    others = {"cell": np.array([1, "b"], object), "text": "text", "struct": {"a": 1}, "complex": np.eye(2) * 1j}
    scipy.io.savemat(file, arrays | others, do_compression=compressed)
    found = MatFile(file)
    assert found.names == tuple(arrays)
    for name, expected in arrays.items():
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("compressed", [False, True])
def test_no_wrong_byte_does_more_than_a_message_of_one_line_with_the_file(tmp_path, compressed):
    """SciPy's reader ends the interpreter at some of these."""
    file = tmp_path / "a.mat"
    arrays = {"images": noise(3, 4, 4), "labels": np.arange(3.0)[:, None]}
    scipy.io.savemat(file, arrays, do_compression=compressed)
    whole = file.read_bytes()
    refused = 0
    for place in range(100, len(whole)):
        for value in (0xFF, whole[place] ^ 0x01):
            file.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                load(f"mat:{file}", image_size=4)
            except (ValueError, TypeError) as error:
                refused += 1
                assert "a.mat" in str(error) and "\n" not in str(error), (place, value)
    assert refused > 100
    (first,) = struct.unpack("<I", whole[132:136])
    for length in {*range(0, len(whole), 7)} - {136 + first}:  # there the file ends between two arrays
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.mat"):
            load(f"mat:{file}", image_size=4)


def test_a_claim_of_a_huge_array_is_refused_before_memory_is_taken(tmp_path):
    file = tmp_path / "a.mat"
    scipy.io.savemat(file, {"images": noise(3, 4, 4)})
    content = file.read_bytes()
    shape = struct.pack("<3i", 3, 4, 4)
    file.write_bytes(content.replace(shape, struct.pack("<3i", 2**31 - 1, 2**31 - 1, 2**31 - 1)))
    with pytest.raises(ValueError, match=r"a\.mat .* has not as many numbers as its shape"):
        load(f"mat:{file}", image_size=4)


def test_declarations_that_contradict_each_other_are_refused(tmp_path):
    file = tmp_path / "a.mat"
    scipy.io.savemat(file, {"images": noise(3, 4, 4)})
    content = file.read_bytes()
    # Two negative sides have the product of the positive ones.
    shape = content.replace(struct.pack("<3i", 3, 4, 4), struct.pack("<3i", -3, -4, 4))
    # The array ends, and the file with it, 8 bytes before the numbers do.
    size = content.replace(struct.pack("<2I", 14, 112), struct.pack("<2I", 14, 104))[:-8]
    for changed, message in ((shape, "an impossible shape"), (size, "has not as many numbers")):
        file.write_bytes(changed)
        with pytest.raises(ValueError, match=rf"a\.mat is no MATLAB file, or a damaged one \(.*{message}"):
            MatFile(file)["images"]


def test_a_stream_that_does_not_end_with_its_array_is_refused(tmp_path):
    file = tmp_path / "a.mat"
    scipy.io.savemat(file, {"images": noise(3, 4, 4)}, do_compression=True)
    content = file.read_bytes()
    longer = zlib.compress(zlib.decompress(content[136:]) + b"more")
    without_checksum = content[136:-4]
    for stream in (longer, without_checksum):
        file.write_bytes(content[:132] + struct.pack("<I", len(stream)) + stream)
        with pytest.raises(ValueError, match=r"a\.mat is no MATLAB file, or a damaged one \(.*'images' is cut off"):
            MatFile(file)["images"]


def test_memory_is_asked_for_before_an_array_is_decompressed(tmp_path, monkeypatch):
    def full(size, what):
        raise MemoryError(f"{size} bytes for {what}")

    scipy.io.savemat(tmp_path / "a.mat", {"images": np.zeros((9, 40, 40), np.uint8)}, do_compression=True)
    monkeypatch.setattr(mat_file, "check_memory", full)
    with pytest.raises(MemoryError, match=r"^144\d\d bytes for the array 'images' of .*a\.mat"):
        MatFile(tmp_path / "a.mat")["images"]


def test_an_array_compressed_beyond_belief_is_refused_at_opening(tmp_path, monkeypatch):
    scipy.io.savemat(tmp_path / "a.mat", {"images": np.zeros((9, 40, 40), np.uint8)}, do_compression=True)
    monkeypatch.setattr(mat_file, "_LARGEST_RATIO", 2)
    with pytest.raises(ValueError, match=r"a\.mat .*impossible size"):
        MatFile(tmp_path / "a.mat")


def test_a_pipe_in_place_of_a_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "images.mat")
    with pytest.raises(ValueError, match=r"images\.mat is not a regular file"):
        MatFile(tmp_path / "images.mat")
