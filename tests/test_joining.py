"""Processes that join others: one alone, and places that cannot be."""

import pytest

from seatbelt_jax import training
from seatbelt_jax.training import distributed


def test_one_process_answers_for_itself():
    assert distributed.any_process(True) and not distributed.any_process(False)
    vote = distributed.Vote()
    assert [vote(flag) for flag in (False, True, False)] == [False, True, False]
    assert distributed.shard() == (0, 1) and distributed.is_first()
    distributed.check_same({"configuration": "a"})
    distributed.wait_for_all("here")


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (("node0:1", None, 1), "belong together: give all three"),
        ((None, 2, 1), "belong together: give all three"),
        (("node0", 2, 1), "must be HOST:PORT"),
        (("node0:99999", 2, 1), "must be HOST:PORT"),
        (("node0:1", 2, 2), "got process 2 of 2"),
        (("node0:1", 2, -1), "got process -1 of 2"),
    ],
)
def test_an_impossible_place_is_refused(which, message):
    with pytest.raises(ValueError, match=message), training.joined(*which):
        pass
