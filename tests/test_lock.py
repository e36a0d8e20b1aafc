import errno
import os

import pytest

from seatbelt_jax.runs import lock


@pytest.mark.parametrize("kind", ["nothing", "file", "folder", "fifo", "link", "dangling link"])
def test_whatever_stands_under_the_name_of_the_lock_it_keeps_a_second_training_out(tmp_path, kind):
    path, mine = tmp_path / "run" / lock.NAME, tmp_path / "mine"
    path.parent.mkdir()
    mine.write_text("mine")
    if kind == "file":
        path.write_text("left by a training")
    elif kind == "folder":
        (path / "full").mkdir(parents=True)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(mine)
    elif kind == "dangling link":
        path.symlink_to("nowhere/at/all")
    for _ in range(2):
        with lock.locked(path.parent), pytest.raises(BlockingIOError, match="another training is at work"):
            lock.check_free(path.parent)
    lock.check_free(path.parent)
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "no locks"), NotImplementedError("no flock here")])
def test_where_a_folder_has_no_locks_a_training_goes_on_without(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(lock.filelock.FileLock, "acquire", fail)
    with lock.locked(tmp_path):
        pass
    error = OSError(errno.EACCES, "not yours")
    with pytest.raises(OSError, match="not yours"), lock.locked(tmp_path):
        pass


def test_a_group_that_shares_a_folder_trains_in_it_by_turns(tmp_path):
    with lock.locked(tmp_path):
        pass
    assert (tmp_path / lock.NAME).stat().st_mode & 0o777 == 0o664
