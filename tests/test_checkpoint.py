import gc
import os
import resource
import shutil

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from seatbelt_jax.runs import checkpoint
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.runs.damage import DamagedCheckpointError
from seatbelt_jax.runs.layout import saved_steps


def state(value=0.0):
    variables = {"params": {"dense": {"kernel": jnp.full((2, 3), value)}}, "batch_stats": {"mean": jnp.arange(3.0)}}
    return variables, optax.adam(1e-3).init(variables["params"])


def test_both_items_come_back_as_they_were(tmp_path):
    variables, optimizer = state(0.1)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step is None
        checkpoints.save(7, variables=variables, training=optimizer)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step == 7
        empty, fresh = state()
        loaded = checkpoints.load(7, variables=empty, training=fresh)
        chex.assert_trees_all_equal(loaded, (variables, optimizer))
        chex.assert_trees_all_equal(checkpoints.load_variables(7, empty), variables)


def test_only_the_newest_are_kept(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3):
            variables, optimizer = state(float(step))
            checkpoints.save(step, variables=variables, training=optimizer)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["2", "3"]


def arrays(folder):
    """The files that the numbers are in."""
    return [file for file in folder.rglob("*") if file.is_file() and file.parent.name == "d"]


def damage(checkpoint, kind):
    """Breaks the variables of a checkpoint."""
    folder = checkpoint / "variables"
    if kind == "no variables":
        shutil.rmtree(folder)
    elif kind == "no metadata":
        (folder / "_METADATA").unlink()
    elif kind == "truncated arrays":
        for file in arrays(folder):
            file.write_bytes(file.read_bytes()[:8])
    else:
        file = max(arrays(folder), key=lambda file: file.stat().st_size)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)


# Without digests, arrays are not tried: orbax may still have them in memory from when it wrote them.
@pytest.mark.parametrize(
    ("kind", "digests"),
    [(kind, True) for kind in ("no variables", "no metadata", "truncated arrays", "one bit")]
    + [("no variables", False), ("no metadata", False)],
)
def test_a_damaged_checkpoint_is_said_to_be_damaged(kind, digests, tmp_path):
    variables, optimizer = state()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, variables=variables, training=optimizer)
        if not digests:
            (tmp_path / "1" / "digests.json").unlink()
        damage(tmp_path / "1", kind)
        with pytest.raises(DamagedCheckpointError, match=r"checkpoint of step 1 .* cannot be read .* it is damaged"):
            checkpoints.load_variables(1, variables)


@pytest.mark.parametrize("kind", ["truncated arrays", "one bit"])
def test_a_damaged_newest_checkpoint_is_set_aside_and_the_one_before_is_taken(kind, tmp_path):
    directory = tmp_path / "checkpoints"
    with Checkpoints(directory) as checkpoints:
        for step in (1, 2):
            variables, optimizer = state(float(step))
            checkpoints.save(step, variables=variables, training=optimizer)
    damage(directory / "2", kind)
    files = {file.name for file in (directory / "2").rglob("*")}
    empty, fresh = state()
    with Checkpoints(directory) as checkpoints:
        with pytest.warns(UserWarning, match=r"step 2 .* damaged.* it is now .*damaged/2$"):
            step, variables, _ = checkpoints.load_newest(variables=empty, training=fresh)
        assert step == checkpoints.latest_step == 1
        chex.assert_trees_all_equal(variables, state(1.0)[0])
        # The same step can be saved again, and be damaged again.
        variables, optimizer = state(2.0)
        checkpoints.save(2, variables=variables, training=optimizer)
        damage(directory / "2", kind)
        with pytest.warns(UserWarning, match=r"damaged/2.1$"):
            checkpoints.load_newest(variables=empty, training=fresh)
    assert {file.name for file in (tmp_path / "damaged" / "2").rglob("*")} == files
    damage(directory / "1", kind)
    with Checkpoints(directory) as checkpoints:
        with (
            pytest.warns(UserWarning, match="step 1"),
            pytest.raises(DamagedCheckpointError, match="none before it: when called again, it starts anew"),
        ):
            checkpoints.load_newest(variables=empty, training=fresh)
        assert checkpoints.load_newest(variables=empty, training=fresh) is None


def test_a_save_that_fails_leaves_the_checkpoint_before_it(tmp_path):
    empty, fresh = state()
    with Checkpoints(tmp_path, clean=True) as checkpoints:
        variables, optimizer = state(1.0)
        checkpoints.save(1, variables=variables, training=optimizer)
        noise = {"params": {"dense": {"kernel": jax.random.normal(jax.random.key(0), (100, 100))}}}
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Files larger than this cannot be written, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, unlimited[1]))
        try:
            with pytest.raises(OSError, match=r"step 2 could not be written .*; the checkpoint of step 1 is intact"):
                checkpoints.save(2, variables=noise, training=optimizer)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    with Checkpoints(tmp_path, clean=True) as checkpoints:
        assert [folder.name for folder in tmp_path.iterdir()] == ["1"]
        step, variables, _ = checkpoints.load_newest(variables=empty, training=fresh)
        assert step == 1
        chex.assert_trees_all_equal(variables, state(1.0)[0])


def test_another_architecture_is_refused_by_name_and_shapes(tmp_path):
    variables, optimizer = state()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, variables=variables, training=optimizer)
        variables["params"]["dense"]["kernel"] = jnp.zeros((2, 4))
        with pytest.raises(ValueError, match=r"params.dense.kernel is \(2, 3\) in the checkpoint and \(2, 4\)"):
            checkpoints.load_variables(1, variables)


# Without files, asyncio cannot begin, and says so when what it has not begun is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine:RuntimeWarning")
def test_what_is_whole_is_not_set_aside_where_the_machine_cannot_read_it(tmp_path, monkeypatch):
    directory = tmp_path / "checkpoints"
    variables, optimizer = state()
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(1, variables=variables, training=optimizer)

        def fail(*_):
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.ocp, "load_checkpointables", fail)
            with pytest.raises(OSError, match=r"step 1 .* could not be read \(RESOURCE_EXHAUSTED.* stays where it is"):
                checkpoints.load_newest(variables=variables, training=optimizer)
        (directory / "1" / "digests.json").unlink()
        unlimited = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (files - 1, unlimited[1]))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                checkpoints.load_newest(variables=variables, training=optimizer)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, unlimited)
        gc.collect()
        assert checkpoints.load_newest(variables=variables, training=optimizer)[0] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_a_checkpoint_that_is_not_there_is_not_a_damaged_one(tmp_path):
    variables, optimizer = state()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(2, variables=variables, training=optimizer)
        with pytest.raises(FileNotFoundError, match="has no checkpoint of step 1"):
            checkpoints.load(1, variables=variables, training=optimizer)


def damage_training(checkpoint_folder, kind):
    if kind == "left out":
        shutil.rmtree(checkpoint_folder / "training")
    elif kind == "one bit":
        file = max(arrays(checkpoint_folder / "training"), key=lambda file: file.stat().st_size)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        (checkpoint_folder / "digests.json").write_bytes({"emptied": b"", "no table": b"[]", "binary": b"\xff"}[kind])


# Orbax leaves reads of a damaged checkpoint behind, which Python 3.13 collects after their event loop has closed.
@pytest.mark.filterwarnings("ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*whether the checkpoint is as it was written is not known")
@pytest.mark.parametrize("kind", ["left out", "one bit", "emptied", "no table", "binary"])
def test_damage_beside_the_parameters_leaves_the_model(kind, tmp_path):
    directory = tmp_path / "checkpoints"
    variables, optimizer = state(0.1)
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(1, variables=variables, training=optimizer)
    damage_training(directory / "1", kind)
    empty, fresh = state()
    with Checkpoints(directory) as checkpoints:
        chex.assert_trees_all_equal(checkpoints.load_variables(1, empty), variables)
        if kind in ("left out", "one bit"):
            with pytest.raises(DamagedCheckpointError, match=r"parameters are whole: begin another.*--warm_start="):
                checkpoints.load_newest(variables=empty, training=fresh)
        else:
            assert checkpoints.load_newest(variables=empty, training=fresh)[0] == 1
    assert saved_steps(directory) == {1}


def test_digests_of_nothing_say_nothing(tmp_path):
    variables, optimizer = state(0.1)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, variables=variables, training=optimizer)
        (tmp_path / "1" / "digests.json").write_text("{}")
        chex.assert_trees_all_equal(checkpoints.load_variables(1, state()[0]), variables)


def test_what_others_put_beside_the_checkpoints_stands_in_the_way_of_nothing(tmp_path):
    directory = tmp_path / "checkpoints"
    variables, optimizer = state(0.1)
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(1, variables=variables, training=optimizer)
    (directory / "999").mkdir()
    (directory / "1000").write_text("x")
    (directory / "1001").symlink_to("nowhere")
    (directory / "007").mkdir()
    (directory / "1-notes").mkdir()
    (directory / "2.orbax-checkpoint-tmp-7").write_text("not a folder")
    assert saved_steps(directory) == {1}
    empty, fresh = state()
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.latest_step == 1
        chex.assert_trees_all_equal(checkpoints.load_variables(1, empty), variables)
    with (
        pytest.warns(UserWarning, match="is no checkpoint; it is now") as said,
        Checkpoints(directory, clean=True) as it,
    ):
        assert it.load_newest(variables=empty, training=fresh)[0] == 1
        it.save(2, variables=variables, training=optimizer)
    assert len(said) == 4
    # What has no number for a name stays where it is.
    (directory / "1-notes").rmdir()
    assert saved_steps(directory) == {1, 2} == set(map(int, (entry.name for entry in directory.iterdir())))
