import shutil

import chex
import jax.numpy as jnp
import optax
import pytest

from seatbelt_jax.checkpoint import Checkpoints


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


@pytest.mark.parametrize("damage", ["no variables", "no metadata", "truncated arrays"])
def test_a_damaged_checkpoint_is_said_to_be_damaged(damage, tmp_path):
    variables, optimizer = state()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, variables=variables, training=optimizer)
        folder = tmp_path / "1" / "variables"
        if damage == "no variables":
            shutil.rmtree(folder)
        elif damage == "no metadata":
            (folder / "_METADATA").unlink()
        else:
            for file in folder.rglob("*"):
                if file.is_file() and file.parent.name == "d":
                    file.write_bytes(file.read_bytes()[:8])
        with pytest.raises(ValueError, match=r"checkpoint of step 1 cannot be read .* it is damaged: remove"):
            checkpoints.load_variables(1, variables)


def test_another_architecture_is_refused_by_name_and_shapes(tmp_path):
    variables, optimizer = state()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, variables=variables, training=optimizer)
        variables["params"]["dense"]["kernel"] = jnp.zeros((2, 4))
        with pytest.raises(ValueError, match=r"params.dense.kernel is \(2, 3\) in the checkpoint and \(2, 4\)"):
            checkpoints.load_variables(1, variables)
