import json

import numpy as np
import pytest

from seatbelt_jax import storage


def test_files_come_back_and_leave_nothing_temporary(tmp_path):
    storage.write_json(tmp_path / "a" / "x.json", {"k": [1, 2]})
    assert storage.read_json(tmp_path / "a" / "x.json") == {"k": [1, 2]}
    storage.write_npz(tmp_path / "a" / "x.npz", {"v": np.arange(3), "name": "text"})
    loaded = storage.read_npz(tmp_path / "a" / "x.npz")
    np.testing.assert_array_equal(loaded["v"], [0, 1, 2])
    assert str(loaded["name"]) == "text"
    storage.write_csv(tmp_path / "a" / "x.csv", [{"p": 1, "q": 2.5}, {"p": 3, "q": 4.0}])
    assert (tmp_path / "a" / "x.csv").read_text() == "p,q\n1,2.5\n3,4.0\n"
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["x.csv", "x.json", "x.npz"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    storage.write_json(tmp_path / "x.json", 1)
    with pytest.raises(TypeError):
        storage.write_bytes(tmp_path / "x.json", "text, not bytes")
    assert storage.read_json(tmp_path / "x.json") == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match=r"x\.json is not valid JSON"):
        storage.read_json(tmp_path / "x.json")
    storage.write_npz(tmp_path / "x.npz", {"v": np.arange(1000)})
    whole = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"x\.npz is not a readable npz"):
        storage.read_npz(tmp_path / "x.npz")


def test_an_archive_with_a_pickle_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", v=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(ValueError, match="not a readable npz"):
        storage.read_npz(tmp_path / "x.npz")


@pytest.fixture
def folder(tmp_path):
    """A folder of one group, and of what a process killed while it wrote another leaves."""
    folder = storage.Folder(tmp_path / "unfinished")
    folder.write("attacks 0", {"v": np.arange(3)})
    (folder.path / ".attacks_0.npz.k_3x9aq0").write_bytes(b"half")
    return folder


def test_a_folder_is_removed_with_what_a_killed_write_left_in_it(folder, monkeypatch):
    # Its name is made up above: here is that of a real one.
    with monkeypatch.context() as killed:
        killed.setattr(storage.pathlib.Path, "unlink", lambda *_, **__: None)
        killed.setattr(storage.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            folder.write("restart 1", {"v": np.arange(3)})
    assert len(list(folder.path.iterdir())) == 3 and folder.read("restart 1") is None
    folder.remove()
    assert not folder.path.exists()
    folder.remove()


def test_a_folder_with_other_files_keeps_them(folder):
    others = [".notes.npz.backup.txt", "groups.npz.txt", ".hidden.npz", "README"]
    for name in others:
        (folder.path / name).write_text("mine")
    (folder.path / "archive.npz").mkdir()
    folder.remove()
    assert sorted(file.name for file in folder.path.iterdir()) == sorted([*others, "archive.npz"])


def test_numbers_that_are_not_finite_become_null():
    plain = storage.plain({"a": np.array([1.0, np.nan]), "b": np.float32(np.inf), "c": (np.int64(3), "text", True)})
    assert plain == {"a": [1.0, None], "b": None, "c": [3, "text", True]}
    json.dumps(plain, allow_nan=False)
