"""Files of a run that a stranger or a fault wrote: each is refused in one line that names it."""

import dataclasses
import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest
from jaxtyping import Bool, Float, Int

from seatbelt_jax import storage, untrusted
from seatbelt_jax.results.record import check_fields

READERS = {
    "x.json": storage.read_json,
    "x.jsonl": storage.read_json_lines,
    "x.csv": storage.read_csv,
    "x.npz": storage.read_npz,
}


def assert_refused(reader, path):
    with pytest.raises((ValueError, OSError)) as refused:
        reader(path)
    message = str(refused.value)
    assert path.name in message and "\n" not in message and len(message) < 500
    message.encode()


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "socket", "link to itself"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, name, kind):
    path = tmp_path / name
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        os.mknod(path, 0o140600)
    else:
        path.symlink_to(path)
    assert_refused(READERS[name], path)


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_too_large_is_not_read(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**40)
    assert_refused(READERS[name], tmp_path / name)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="has no file whose size is not told")
def test_a_file_that_does_not_tell_its_size_is_read_to_the_limit():
    with pytest.raises(ValueError, match=r"/proc/self/maps is larger than .* MiB"):
        untrusted.read_bytes("/proc/self/maps", largest=100)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"a": "\xe9"}',
        b"[" * 100_000,
        b"[" * 40 + b"]" * 40,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"a": ' + b"9" * 400 + b"}",
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"9" * 400 + b".5}",
        b'{"a": 1e999}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"a": "\\ud800"}',
        b'{"\\u001b[2J": 1}',
        b"\xff\xfe{\x00}\x00",
        b"\0\0\0\0",
    ],
    ids=range(17),
)
def test_json_that_no_run_holds_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    assert_refused(storage.read_json, tmp_path / "x.json")
    if content:
        (tmp_path / "x.jsonl").write_bytes(content + b"\n{}\n")
        assert_refused(storage.read_json_lines, tmp_path / "x.jsonl")


def test_a_last_line_cut_short_is_left_out_also_within_a_letter(tmp_path):
    (tmp_path / "x.jsonl").write_bytes('{"a": 1}\n{"b": "é'.encode()[:-1])
    assert storage.read_json_lines(tmp_path / "x.jsonl") == [{"a": 1}]
    assert storage.read_json_lines(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1\n",
        b"a,b\n1,2,3\n",
        b"a,a\n1,2\n",
        b"a,\n1,2\n",
        b"a\n\xe9\n",
        b"a\n" + b"9" * 400 + b"\n",
        b"a\n " + b"9" * 400 + b"\n",
        b"a\n1e999\n",
        b"a\n-1e999\n",
        b"a\n" + b"x" * 200_000 + b"\n",
        b'a\n"1\n',
        b"a\n\0\n",
    ],
    ids=range(12),
)
def test_tables_that_no_run_holds_are_refused(tmp_path, content):
    (tmp_path / "x.csv").write_bytes(content)
    assert_refused(storage.read_csv, tmp_path / "x.csv")


def test_tables_may_say_that_a_number_is_infinite_or_none(tmp_path):
    (tmp_path / "x.csv").write_text('a,b\ninf,nan\n-inf,"two\nlines"\n')
    assert storage.read_csv(tmp_path / "x.csv") == [{"a": "inf", "b": "nan"}, {"a": "-inf", "b": "two\nlines"}]


def member(shape="(2,)", descr="'<f4'", data=b"\0" * 8, version=b"\x01\x00"):
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize(
    "content",
    [
        member(shape="(10**12,)"),
        member(shape="(1000000000000,)"),
        member(shape="(-2,)"),
        member(shape="(True, 2)", data=b""),
        member(shape="(" + "9" * 400 + ",)"),
        member(shape="(0, " + "9" * 400 + ")", data=b""),
        member(shape="(4611686018427387904, 8)", data=b""),
        member(shape="(1000000000,)", descr="'<U0'", data=b""),
        member(descr="'|O'"),
        member(descr="[('a', '<f4')]"),
        member(descr="'<M8[s]'", data=b"\0" * 16),
        member(descr="'nonsense'"),
        member(version=b"\x09\x00"),
        member(data=b"\0" * 4),
        member(data=b"\0" * 12),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        b"not numpy",
        b"",
    ],
    ids=range(18),
)
def test_arrays_whose_declarations_are_untrue_are_refused_before_memory_is_taken(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("v.npy", content)
    assert_refused(storage.read_npz, tmp_path / "x.npz")


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "_ALWAYS_READ", 2**16)
    np.savez_compressed(tmp_path / "x.npz", v=np.zeros(2**20))
    with pytest.raises(ValueError, match=r"x\.npz .*would take 8 MiB, of a file of 0.0 MiB"):
        storage.read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize("kind", ["twice", "many", "lzma", "encrypted", "bit", "checksum"])
def test_archives_that_numpy_does_not_write_are_refused(tmp_path, kind):
    path = tmp_path / "x.npz"
    compression = {"lzma": zipfile.ZIP_LZMA, "checksum": zipfile.ZIP_DEFLATED}.get(kind, zipfile.ZIP_STORED)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for number in range(1001 if kind == "many" else 1):
            archive.writestr(f"v{number}.npy", member())
        if kind == "twice":
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr("v0.npy", member())
    content = bytearray(buffer.getvalue())
    if kind == "encrypted":
        content[content.index(b"PK\x01\x02") + 8] |= 1
        content[6] |= 1
    if kind == "bit":
        content[content.index(b"\0\0\0\0\0\0\0\0PK")] ^= 1
    if kind == "checksum":
        content[content.index(b"PK\x01\x02") + 16] ^= 1
    path.write_bytes(content)
    assert_refused(storage.read_npz, path)
    if kind in ("lzma", "encrypted"):
        # The members are refused by their headers, before Python's reader sees them.
        with pytest.raises(ValueError, match="is encrypted, or compressed in another way than NumPy does"):
            storage.read_npz(path)


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "empty": np.zeros((0, 3), np.float32),
        "text": np.asarray("β"),
        "texts": np.asarray(["a", "bc"]),
        "flag": np.asarray(True),
        "big": np.arange(3, dtype=">i4"),
    }
    storage.write_npz(tmp_path / "x.npz", arrays)
    found = storage.read_npz(tmp_path / "x.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
    found["f"][0, 0] = 7.0


@pytest.mark.parametrize(
    "value",
    [[], "text", {"steps": "4", "sizes": [1]}, {"steps": True, "sizes": [1]}, {"steps": 4, "sizes": 3},
     {"steps": 4, "sizes": [1, "2"]}, {"steps": 4}],
)  # fmt: skip
def test_a_schema_names_what_does_not_hold(value):
    with pytest.raises(ValueError, match=r"^x\.json"):
        untrusted.check(value, {"steps": int, "sizes": [int], "name?": str}, "x.json")


def test_a_schema_lets_other_names_pass():
    value = json.loads('{"steps": 4, "sizes": [], "more": {"a": 1}}')
    untrusted.check(value, {"steps": int, "sizes": [int], "name?": str}, "x.json")


def test_unfinished_work_of_the_wrong_kind_is_made_again(tmp_path):
    folder = storage.Folder(tmp_path / ".attack")
    folder.path.write_text("a file")
    assert folder.read("a") is None
    folder.write("a", {"v": np.arange(2)})
    np.testing.assert_array_equal(folder.read("a")["v"], [0, 1])
    (folder.path / "a.npz").unlink()
    (folder.path / "a.npz").mkdir()
    with pytest.warns(UserWarning, match=r"a\.npz is not a regular file.* done again"):
        assert folder.read("a") is None
    folder.write("a", {"v": np.arange(2)})
    (folder.path / "a.npz").write_bytes(b"half")
    with pytest.warns(UserWarning, match="done again"):
        assert folder.read("a") is None
    folder.remove()
    folder.path.write_text("a file")
    folder.remove()
    assert not folder.path.exists()


def test_a_folder_that_takes_no_file_is_noticed(tmp_path, monkeypatch):
    storage.check_writable(tmp_path / "new" / "folder")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"nothing can be written in .*file \(Not a directory\)"):
        storage.check_writable(tmp_path / "file")

    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(storage.tempfile, "NamedTemporaryFile", read_only)
    with pytest.raises(OSError, match=r"nothing can be written in .*\(Read-only file system\)"):
        storage.check_writable(tmp_path / "new")


@dataclasses.dataclass
class Record:
    name: str
    count: int
    flag: bool
    share: float
    values: Float[np.ndarray, "n k"]
    images: Float[np.ndarray, "n *image"]
    hits: Int[np.ndarray, "n"]
    found: Bool[np.ndarray, "n"]


def record_arrays():
    return {
        "name": np.asarray("a"),
        "count": np.asarray(3),
        "flag": np.asarray(True),
        "share": np.asarray(0.5),
        "values": np.zeros((2, 3), np.float32),
        "images": np.zeros((2, 4, 4, 1)),
        "hits": np.zeros(2, np.int64),
        "found": np.zeros(2, bool),
    }


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("name", np.asarray(1)),
        ("name", np.asarray(["a"])),
        ("count", np.asarray(0.5)),
        ("count", np.zeros(2, int)),
        ("flag", np.asarray("True")),
        ("share", np.asarray("0.5")),
        ("values", np.zeros(2)),
        ("values", np.zeros((2, 3, 4))),
        ("values", np.asarray([["a"]])),
        ("images", np.zeros((3, 4, 4, 1))),
        ("images", np.zeros(())),
        ("hits", np.zeros(3, int)),
        ("found", np.asarray(["a", "b"])),
    ],
)
def test_arrays_of_another_shape_or_type_than_a_record_has_are_refused_by_name(name, array):
    check_fields(Record, record_arrays())
    with pytest.raises(ValueError, match=f"^({name}|hits) "):
        check_fields(Record, {**record_arrays(), name: array})
