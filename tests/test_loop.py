"""The loop around a trainer that only counts: signals, resuming, and the rows of metrics."""

import json
import signal
import time

import chex
import pytest

from seatbelt_jax import training
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.runs.lock import check_free, locked
from seatbelt_jax.training.loop import carry_out
from seatbelt_jax.training.settings import TrainConfig
from tests.counting_trainer import CountingTrainer

SCHEDULE = {"steps": 8, "batch_size": 16, "log_every": 2, "evaluate_every": 4, "checkpoint_every": 3}


def counting(longest=1, seconds=0.0, **changes):
    return CountingTrainer(TrainConfig(**(SCHEDULE | changes)), longest=longest, seconds=seconds)


def train(directory, on_evaluation=None, **changes):
    return carry_out(counting(**changes), directory, on_evaluation=on_evaluation)


def latest_step(path):
    with Checkpoints(path / "checkpoints") as checkpoints:
        return checkpoints.latest_step


def rows(path):
    """All that does not depend on the clock."""
    return [
        {key: value for key, value in row.items() if key != "images_per_second"} for row in training.read_metrics(path)
    ]


def strike(step, found):
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("longest", [1, 3])
@pytest.mark.parametrize("at", [4, 8])
def test_an_interrupted_run_takes_each_step_once_and_ends_as_one_that_was_not(tmp_path, longest, at):
    schedule = {"steps": 12, "checkpoint_every": 8}
    whole = train(tmp_path / "whole", longest=longest, **schedule)
    broken, again = counting(longest, **schedule), counting(longest, **schedule)
    with pytest.raises(KeyboardInterrupt):
        carry_out(
            broken, tmp_path / "run", on_evaluation=lambda step, found: strike(step, found) if step == at else None
        )
    # The evaluation and the chunk after it are whole, and saved though no checkpoint was due.
    saved = latest_step(tmp_path / "run")
    assert saved == min(end for end in range(at + 1, 13) if longest == 1 or end % 3 == 0 or end % 2 == 0)
    resumed = carry_out(again, tmp_path / "run")
    assert broken.taken == list(range(saved)) and again.taken == list(range(saved, 12))
    chex.assert_trees_all_equal(resumed, whole)
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    assert [row["step"] for row in rows(tmp_path / "run") if row["split"] == "validation"] == [4, 8, 12]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_delivered_after_the_checkpoint(number, tmp_path):
    heard = []
    before = signal.signal(number, lambda *_: heard.append(latest_step(tmp_path)))
    try:
        state = train(tmp_path, lambda step, found: signal.raise_signal(number))
    finally:
        assert signal.signal(number, before) is not before
    assert heard == [5] and int(state.step) == 5


def test_a_signal_is_delivered_also_where_an_error_ends_training(tmp_path, capsys):
    def fail(*_):
        signal.raise_signal(signal.SIGINT)
        raise OSError("no space is left")

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, fail)
    assert "error: no space is left" in capsys.readouterr().err


def test_a_second_interrupt_does_not_wait(tmp_path):
    def strike_twice(step, found):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, strike_twice)
    assert latest_step(tmp_path) == 3


def break_off(step, found):
    raise KeyboardInterrupt


def test_an_interrupted_last_evaluation_is_made_up_for(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, break_off, evaluate_every=8)
    assert all(row["split"] == "train" for row in training.read_metrics(tmp_path))
    seen = []
    train(tmp_path, lambda step, found: seen.append(step), evaluate_every=8)
    assert seen == [8]
    assert training.read_metrics(tmp_path)[-1]["split"] == "validation"


def test_a_broken_line_amid_the_metrics_is_named_and_nothing_is_rewritten(tmp_path):
    train(tmp_path, steps=6)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    broken = "\n".join([lines[0], lines[1][:10], *lines[2:]])
    (tmp_path / "metrics.jsonl").write_text(broken)
    with pytest.raises(ValueError, match=r"line 2 of .*metrics\.jsonl is not JSON"):
        train(tmp_path, steps=6)
    assert (tmp_path / "metrics.jsonl").read_text() == broken


def test_rows_after_the_checkpoint_are_written_once(tmp_path):
    train(tmp_path, steps=6)
    rows = training.read_metrics(tmp_path)
    stray = {"step": 7, "split": "train", "elbo": 0.0}
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(stray) + '\n{"step": 8, "spl')  # and a line that a crash cut short
    train(tmp_path, steps=6)
    assert training.read_metrics(tmp_path) == rows


def test_the_logged_rate_is_that_of_the_clock(tmp_path):
    called = []
    steps = {"steps": 60, "log_every": 10, "evaluate_every": 30, "checkpoint_every": 60}
    train(tmp_path, lambda *_: called.append(time.perf_counter()), seconds=0.01, **steps)
    written = [row for row in training.read_metrics(tmp_path) if row["split"] == "train" and row["step"] > 30]
    accounted = sum(10 * 16 / row["images_per_second"] for row in written)
    # Between the two evaluations lie 30 steps, a checkpoint, and the rest of one evaluation.
    elapsed = called[1] - called[0]
    assert 30 * 0.01 <= accounted < elapsed


def test_two_trainings_do_not_share_a_directory(tmp_path):
    check_free(tmp_path)
    with locked(tmp_path):
        with pytest.raises(BlockingIOError, match="another training is at work in"):
            check_free(tmp_path)
        with pytest.raises(BlockingIOError, match="another training is at work in"):
            train(tmp_path)
    check_free(tmp_path)
    in_a_file = tmp_path / "training.lock" / "run"
    with pytest.raises(OSError, match=r"the run directory .* cannot be made"), locked(in_a_file):
        pass
    assert not (tmp_path / "checkpoints").exists()
