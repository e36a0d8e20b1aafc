"""Ctrl-C and closed streams in every launcher. Processes end before they import what takes seconds."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.launchers import ROOT

LAUNCHERS = sorted(path.stem for path in (ROOT / "launch").glob("*.py"))
# Presses Ctrl-C as soon as a launcher imports anything but the standard library, absl and the package's own modules.
_PRESS = """
import os, runpy, signal, sys
# The standard library tries to import "org", which Jython has.
LIGHT = {*sys.stdlib_module_names, "org", "absl", "seatbelt_jax"}
class Press:
    def find_spec(self, name, *_):
        if name.partition(".")[0] not in LIGHT:
            print(name, os.environ.get("JAX_COMPILATION_CACHE_DIR"), flush=True)
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Press())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _run(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_ctrl_c_during_imports_is_one_line(launcher, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    found = _run("-c", _PRESS, f"launch/{launcher}.py", env={**environment, "XDG_CACHE_HOME": str(tmp_path)})
    assert (found.returncode, found.stderr) == (130, "\ninterrupted\n")
    name, cache = found.stdout.split()
    assert cache == str(tmp_path / "seatbelt_jax" / "xla"), f"{name} is imported before the cache is named"


def test_the_hold_on_ctrl_c_imports_nothing_that_takes_long():
    # Until it is there, Ctrl-C is a traceback. -S: what .pth files import comes before a launcher's first line.
    found = _run(
        "-SIc", "import sys; sys.path.insert(0, '.'); from seatbelt_jax import interrupts; print(*sys.modules)"
    )
    assert found.returncode == 0, found.stderr
    assert not {"contextlib", "typing", "threading", "re"} & set(found.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0, 4.0])
def test_ctrl_c_at_any_time_is_one_line(seconds, tmp_path):
    """All launchers at once. Late in a fast start, some have ended already: there is no run that they could read."""
    arguments = {
        "train": [f"--config={ROOT / 'configs' / 'sprites_vae.py'}", f"--workdir={tmp_path / 'run'}"],
        "sweep": [f"--workdir={tmp_path}", f"--sweep={ROOT / 'configs' / 'sweeps' / 'smoke.py'}"],
        "prepare_data": ["--dataset=none", f"--data_dir={tmp_path}"],
        "figures": [f"--sweep={tmp_path}"],
        "swiss_roll": [],
        "demo": [],
    }
    processes = {
        launcher: subprocess.Popen(
            [sys.executable, ROOT / "launch" / f"{launcher}.py", *arguments.get(launcher, [f"--run={tmp_path}"])],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for launcher in LAUNCHERS
    }
    time.sleep(seconds)
    interrupted = [launcher for launcher, process in processes.items() if process.poll() is None]
    for launcher in interrupted:
        processes[launcher].send_signal(signal.SIGINT)
    for launcher, process in processes.items():
        _, errors = process.communicate(timeout=60)
        if launcher in interrupted and _has_hardly_begun(process.returncode, errors):
            continue
        assert len(errors.strip().splitlines()) <= 1, (launcher, errors)
        if launcher in interrupted:
            assert process.returncode == 130 and errors.startswith("\ninterrupted"), (launcher, errors)
    assert {"train", "demo"} <= set(interrupted)


# What Python reads before the line that takes hold of Ctrl-C.
_FIRST_FILES = re.compile(r'File "(.*/launch/\w+\.py|.*/seatbelt_jax/(cli/)?__init__\.py|.*/cli/main\.py|<frozen .*>)"')


def _has_hardly_begun(status, errors):
    """Whether Ctrl-C came before that line: ten starts at once take their time."""
    read = [line for line in errors.splitlines() if line.strip().startswith("File ")]
    return (status, errors) == (-signal.SIGINT, "") or (read and all(map(_FIRST_FILES.search, read)))


def _start(body, redirect="", before="", setup=""):
    program = f"""
import sys, types
from seatbelt_jax.cli import main, start
{before}
def main():
    {body}
command = types.ModuleType("command")
command.define_flags, command.main = lambda: None, main
start.prepare_process()
start.start(command)
"""
    return subprocess.run(
        ["bash", "-c", f'{setup}"$0" -c "$1" {redirect}', sys.executable, program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


_SWALLOWED = """
import gc, signal, time
class Finaliser:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
def callback(*_):
    gc.callbacks.clear()
    signal.raise_signal(signal.SIGINT)
"""


@pytest.mark.parametrize(
    "press", ["Finaliser()", "gc.callbacks.append(callback); gc.collect()", "signal.raise_signal(signal.SIGINT)"]
)
def test_ctrl_c_where_python_drops_exceptions_is_not_lost(press):
    found = _start(f"{press}; time.sleep(20); print('to the end')", before=_SWALLOWED)
    assert (found.returncode, found.stdout) == (130, "")
    assert found.stderr.startswith("\ninterrupted; what is on disk is whole") and found.stderr.count("\n") == 2


def test_what_a_script_starts_in_the_background_goes_on_after_ctrl_c():
    before = "import signal"
    found = _start("signal.raise_signal(signal.SIGINT); print('to the end')", "", before, setup="trap '' INT; ")
    assert (found.returncode, found.stdout, found.stderr) == (0, "to the end\n", "")


def test_ctrl_c_that_a_library_catches_still_shows_in_the_exit_status():
    before = "import signal\ndef caught():\n    try: signal.raise_signal(signal.SIGINT)\n    except BaseException: pass"
    found = _start("caught()", before=before)
    assert found.returncode == 130 and found.stderr.startswith("\ninterrupted")


@pytest.mark.parametrize(
    ("thread", "lines"), [("thread = threading.Thread(target=drop); thread.start(); thread.join()", 0), ("drop()", 1)]
)
def test_what_threads_drop_is_no_traceback(thread, lines):
    before = "import sys, threading\nclass Dropped:\n    def __del__(self): sys.exit('why')\ndef drop(): Dropped()"
    found = _start(thread, before=before)
    assert found.returncode == 0 and found.stderr.count("SystemExit: why") == lines


@pytest.mark.parametrize(
    ("redirect", "status", "errors"),
    [
        ("| head -1", 0, ""),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        (">&- 2>&-", 0, ""),
        ("2>&1 | head -1", 0, ""),
        ("> /dev/full", 1, "error: [Errno 28] cannot write standard output or error: No space left on device\n"),
    ],
)
def test_output_that_nobody_reads_is_no_traceback(redirect, status, errors, tmp_path):
    done = tmp_path / "done"
    streams = "(sys.stdout, sys.stderr)" if "2>" in redirect else "(sys.stdout,)"
    body = "print('line')"
    if not errors:
        body = f"[print('line ' * 20, file=stream) for _ in range(9999) for stream in {streams}]"
    body += f"; sys.__stdout__.flush(); sys.__stderr__.flush(); open({str(done)!r}, 'w').write('whole')"
    found = _start(body, f"{redirect}; exit ${{PIPESTATUS[0]}}")
    assert (found.returncode, found.stderr) == (status, errors)
    # The work goes on, and no file takes the place of a closed stream.
    assert pathlib.Path(done).read_text() == "whole"


def test_help_shows_what_a_command_does_and_its_flags():
    found = _run("launch/attack.py", "--help")
    assert found.returncode == 0 and not found.stderr
    assert "Attacks a trained run" in found.stdout and "--penalties" in found.stdout and "--helpfull" in found.stdout


def test_the_console_script_lists_its_commands_and_names_the_nearest():
    script = ("-c", "import sys; from seatbelt_jax.cli.main import main; sys.argv[0] = 'seatbelt'; main()")
    shown = _run(*script)
    assert shown.returncode == 0
    assert {line.split()[0] for line in shown.stdout.splitlines() if line.startswith("  ")} == {
        launcher.replace("_", "-") for launcher in LAUNCHERS
    }
    wrong = _run(*script, "atack")
    assert (wrong.returncode, wrong.stderr) == (1, "error: there is no command 'atack'; did you mean attack?\n")
    helped = _run(*script, "prepare-data", "--help")
    assert helped.returncode == 0 and "--manual_dir" in helped.stdout
