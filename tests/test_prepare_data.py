"""launch/prepare_data.py; what needs TensorFlow or the original files is skipped where they are not."""

import gzip
import importlib
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib import util

import numpy as np
import pytest

from seatbelt_jax import data, runs, training
from seatbelt_jax.data import preparing
from seatbelt_jax.jobs import prepare_data, train
from tests import launchers, prepared

SHARED = pathlib.Path(__file__).parents[1] / ".." / "shared" / "data"
SCRIPT = "launch/prepare_data.py"
with_tensorflow = pytest.mark.skipif(
    not all(util.find_spec(module) for module in ("tensorflow", "importlib_resources")),
    reason="preparing needs TensorFlow: pip install -e '.[prepare]'",
)
with_originals = pytest.mark.skipif(
    not (SHARED / "mnist").is_dir() or not (SHARED / "fashion_mnist").is_dir(),
    reason="the original files of MNIST and Fashion-MNIST are not beside this checkout",
)


def prepare(*arguments, before=()):
    command = [sys.executable, *before, SCRIPT, *arguments]
    return subprocess.run(command, cwd=launchers.ROOT, capture_output=True, text=True, timeout=600)


def test_a_mistake_is_one_line(tmp_path):
    line = launchers.refusal("prepare_data", "--dataset=mnits", f"--data_dir={tmp_path}")
    assert re.fullmatch(r"error: unknown data set 'mnits': .* did you mean mnist.*", line)
    assert list(tmp_path.iterdir()) == []


def test_what_is_prepared_stays_as_it_is(tmp_path, capsys):
    folder = prepared.write("mnist", tmp_path, {"train": 5, "test": 2})
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    prepare_data.prepare("mnist", str(tmp_path), None)
    told = capsys.readouterr().out
    assert f"mnist is prepared already, nothing was done: 5 train, 2 test images in {folder}" in told
    assert f"--config.data.name=mnist --config.data.data_dir={tmp_path}" in told
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_embedded_data_need_no_preparation(capsys):
    prepare_data.prepare("sprites", None, None)
    assert capsys.readouterr().out == "sprites needs no preparation\n"


def test_without_tensorflow_it_is_said_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setattr(preparing.util, "find_spec", lambda module: None)
    message = r"to prepare cifar10, tensorflow and importlib_resources must be .* pip install -e '\.\[prepare\]'"
    with pytest.raises(ImportError, match=message):
        preparing.prepare_data_set("cifar10", data_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_leftovers_are_told(tmp_path):
    folder = prepared.write("mnist", tmp_path, {"train": 5, "test": 2})
    (folder.parent / "incomplete.AB12CD_3.0.1").mkdir()
    (tmp_path / "extracting_xyz").mkdir()
    done = preparing.prepare_data_set("mnist", data_dir=str(tmp_path))
    assert done.existed and done.sizes == {"train": 5, "test": 2}
    assert [path.name for path in done.leftovers] == ["incomplete.AB12CD_3.0.1", "extracting_xyz"]


def test_a_folder_without_a_data_set_is_told(tmp_path):
    folder = prepared.write("mnist", tmp_path, {"train": 5, "test": 2})
    (folder / "dataset_info.json").unlink()
    with pytest.raises(OSError, match=r"holds no prepared data set, as there is no dataset_info\.json; remove"):
        preparing.prepare_data_set("mnist", data_dir=str(tmp_path))


class _Info:
    """What TensorFlow Datasets knows about one file."""

    filename = "original.gz"
    checksum = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"  # of b"foo\n"


def test_original_files_are_compared_with_their_checksums(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has none of the original files of mnist: original\.gz"):
        preparing._check_originals("mnist", tmp_path, {"url": _Info})
    file = tmp_path / "original.gz"
    file.write_bytes(b"foo\n")
    preparing._check_originals("mnist", tmp_path, {"url": _Info})
    file.write_bytes(b"fool\n")
    with pytest.raises(
        ValueError, match=f"{file} is not the original file of mnist: its SHA-256 is .*, expected is b5bb"
    ):
        preparing._check_originals("mnist", tmp_path, {"url": _Info})
    with pytest.raises(FileNotFoundError, match="there is none at"):
        preparing._check_originals("mnist", tmp_path / "nowhere", {"url": _Info})


def original(name, part, header):
    with gzip.open(SHARED / name / f"{part}-ubyte.gz") as file:
        return np.frombuffer(file.read()[header:], np.uint8)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """MNIST and Fashion-MNIST, prepared in one folder."""
    folder = tmp_path_factory.mktemp("prepared")
    for name in ("mnist", "fashion_mnist"):
        found = prepare(f"--dataset={name}", f"--data_dir={folder}", f"--manual_dir={SHARED / name}")
        assert found.returncode == 0, found.stderr
        assert f"{name} is prepared now: 60,000 train, 10,000 test images" in found.stdout
    assert list(folder.glob("extracting_*")) == []
    return folder


@pytest.mark.slow
@with_tensorflow
@with_originals
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_original_images_are_what_is_read(both, name):
    """Their files have the same names, so that what is extracted of one could be taken for the other's."""
    section = {"name": name, "data_dir": str(both), "image_size": 28}
    splits = data.load(section, (0.0, 1.0))
    assert (splits.train.size, splits.validation.size, splits.test.size) == (57_000, 3_000, 10_000)
    images = original(name, "t10k-images-idx3", 16).reshape(-1, 28 * 28)
    labels = original(name, "t10k-labels-idx1", 8)
    indices = np.arange(10_000)
    # They are shuffled in preparing; sorted by their pixels and labels they are in the same order.
    read = np.column_stack([splits.test.pixels(indices).reshape(-1, 28 * 28), splits.test.labels(indices)])
    given = np.column_stack([images, labels])
    np.testing.assert_array_equal(*(rows[np.lexsort(rows.T)] for rows in (read, given)))


@pytest.mark.slow
@with_tensorflow
@with_originals
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_a_model_trains_on_them(both, name, tmp_path):
    config = importlib.import_module(f"configs.{name}").get_config("small")
    config.data.data_dir = str(both)
    config.train.update(steps=60, batch_size=64, log_every=30, evaluate_every=60, checkpoint_every=60)
    train.train(config.to_dict(), tmp_path / "run")
    rows = [row for row in training.read_metrics(tmp_path / "run") if row["split"] == "train"]
    assert rows[1]["elbo"] > rows[0]["elbo"]
    assert runs.open(tmp_path / "run").load_vae().image_shape == (32, 32, 1)


@pytest.mark.slow
@with_tensorflow
@with_originals
def test_another_checksum_is_one_line(tmp_path):
    folder = tmp_path / "originals"
    shutil.copytree(SHARED / "mnist", folder)
    file = folder / "t10k-labels-idx1-ubyte.gz"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    found = prepare("--dataset=mnist", f"--data_dir={tmp_path / 'prepared'}", f"--manual_dir={folder}")
    assert found.returncode == 1 and found.stdout == ""
    assert found.stderr.startswith(f"error: {file} is not the original file of mnist: its SHA-256 is ")
    assert "expected is f7ae60f9" in found.stderr and found.stderr.count("\n") == 1
    assert not (tmp_path / "prepared" / "mnist").exists()


# Files can be no larger than this: writing fails in the middle, as on a full disk.
_SMALL_DISK = """
import resource, runpy, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
@with_tensorflow
@with_originals
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    found = prepare(
        "--dataset=mnist", f"--data_dir={tmp_path}", f"--manual_dir={SHARED / 'mnist'}", before=("-c", _SMALL_DISK)
    )
    assert found.returncode == 1
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("error: mnist is not prepared, and nothing of it is left in ") and "File too large" in last
    assert list((tmp_path / "mnist").iterdir()) == [] and list(tmp_path.glob("extracting_*")) == []


@pytest.mark.slow
@with_tensorflow
@with_originals
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_what_is_stopped_while_writing_is_never_read(sent, status, tmp_path):
    command = [
        sys.executable, SCRIPT, "--dataset=mnist", f"--data_dir={tmp_path}", f"--manual_dir={SHARED / 'mnist'}"
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=launchers.ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob("mnist/incomplete.*/*")):
            assert started.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        started.send_signal(sent)
        _, stderr = started.communicate(timeout=60)
    assert started.returncode == status
    with pytest.raises(FileNotFoundError, match="is not prepared"):
        data.load({"name": "mnist", "data_dir": str(tmp_path), "image_size": 28}, (0.0, 1.0))
    if sent == signal.SIGINT:
        assert b"interrupted" in stderr and b"Traceback" not in stderr
        assert list((tmp_path / "mnist").iterdir()) == []
        return
    done = preparing.prepare_data_set("mnist", data_dir=str(tmp_path), manual_dir=str(SHARED / "mnist"))
    assert done.sizes == {"train": 60_000, "test": 10_000} and len(done.leftovers) == 2
