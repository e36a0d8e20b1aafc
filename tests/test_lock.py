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
