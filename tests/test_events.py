"""TensorBoard events, read from their files as TensorBoard does."""

import io
import resource
import struct

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog

from seatbelt_jax import training
from seatbelt_jax.training.writers import MetricWriter, copy_metrics


def events(path):
    """What TensorBoard shows: each file's records in order; a START hides what came before from its step on."""
    shown = []
    for file in sorted((path / "events").glob("*tfevents*")):
        content = file.read_bytes()
        while content:
            # Length, its checksum, the event, its checksum.
            (length,) = struct.unpack("Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            if event.session_log.status == SessionLog.START:
                shown = [earlier for earlier in shown if earlier.step < event.step]
            shown += [event] if event.HasField("summary") else []
    return shown


def scalars(path):
    return [(e.step, v.tag, v.simple_value) for e in events(path) for v in e.summary.value if not v.HasField("image")]


def test_each_row_is_an_event_also_where_the_training_went_on(tmp_path):
    with MetricWriter(tmp_path, start=0) as writer:
        for step in (2, 4, 6):
            writer.write(step, "train", {"elbo": -step, "kl_1": 0.5})
    with MetricWriter(tmp_path, start=4) as writer:
        writer.write(6, "train", {"elbo": -6.0, "kl_1": 0.25})
    expected = [
        (row["step"], f"train/{name}", row[name])
        for row in training.read_metrics(tmp_path)
        for name in ("elbo", "kl_1")
    ]
    assert len(expected) == 6 and scalars(tmp_path) == expected


def test_a_fork_has_the_events_of_the_rows_that_it_took_along(tmp_path):
    with MetricWriter(tmp_path / "other", start=0) as writer:
        writer.write(2, "train", {"elbo": -2.0})
        writer.write(4, "validation", {"elbo": -4.0})
    copy_metrics(tmp_path / "other", tmp_path / "fork")
    with MetricWriter(tmp_path / "fork", start=4) as writer:
        writer.write(6, "train", {"elbo": -6.0})
    expected = [(2, "train/elbo", -2.0), (4, "validation/elbo", -4.0), (6, "train/elbo", -6.0)]
    assert scalars(tmp_path / "fork") == expected


def test_events_are_on_disk_before_a_checkpoint(tmp_path):
    with MetricWriter(tmp_path, start=0) as writer:
        writer.write(2, "train", {"elbo": 1.0})
        writer.flush()
        assert scalars(tmp_path) == [(2, "train/elbo", 1.0)]


def test_pictures_stand_in_their_rows(tmp_path):
    traversals = np.zeros((2, 11, 4, 4, 1))
    traversals[1, 9] = 1.0
    shown = np.full((10, 4, 4, 3), -1.0)
    shown[9] = 1.0
    with MetricWriter(tmp_path, start=0) as writer:
        writer.write_pictures(2, {"traversals": traversals}, (0.0, 1.0))
        writer.write_pictures(2, {"samples": shown}, (-1.0, 1.0))
    found = {value.tag: value.image for event in events(tmp_path) for value in event.summary.value}
    sheets = {tag: np.asarray(Image.open(io.BytesIO(each.encoded_image_string))) for tag, each in found.items()}
    assert sheets["traversals"].shape == (8, 44, 3)
    assert np.all(sheets["traversals"][4:, 36:40] == 255) and sheets["traversals"].sum() == 48 * 255
    assert sheets["samples"].shape == (8, 32, 3)
    assert np.all(sheets["samples"][4:, 4:8] == 255) and sheets["samples"].sum() == 48 * 255


def test_an_evaluation_is_its_pictures_and_then_its_row(tmp_path):
    images = np.zeros((2, 4, 4, 1))
    found = training.Evaluation({"elbo": -3.0}, images, images, images, traversals=np.zeros((2, 11, 4, 4, 1)))
    with MetricWriter(tmp_path, start=0) as writer:
        writer.write_evaluation(2, found, (0.0, 1.0))
        assert writer.has(2, "validation")
    tags = [value.tag for event in events(tmp_path) for value in event.summary.value]
    assert sorted(tags[:-1]) == ["images", "reconstructions", "samples", "traversals"]
    assert tags[-1] == "validation/elbo"
    assert training.read_metrics(tmp_path) == [{"step": 2, "split": "validation", "elbo": -3.0}]


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OSError, match=f"{tmp_path}/events"), MetricWriter(tmp_path, start=0) as writer:
        # Files larger than this cannot be written, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, unlimited[1]))
        try:
            for step in range(1000):
                writer.write_pictures(step, {"noise": np.random.default_rng(step).random((8, 32, 32, 3))}, (0.0, 1.0))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    with pytest.raises(OSError, match=r"metrics\.jsonl"), MetricWriter(tmp_path, start=0) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, unlimited[1]))
        try:
            for step in range(1000):
                writer.write(step, "train", {"elbo": 0.0})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
