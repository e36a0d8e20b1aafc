"""Commands, run in this process or quickly in others."""

import contextlib
import importlib
import io
import json
import pathlib
import resource
import select
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from types import ModuleType

from absl import flags

from seatbelt_jax.cli import start
from seatbelt_jax.errors import EXPECTED

ROOT = pathlib.Path(__file__).parents[1]


def command(name: str) -> ModuleType:
    """The module of a command; `name` as of launch/NAME.py."""
    return importlib.import_module(f"seatbelt_jax.cli.{name}")


@contextlib.contextmanager
def given(name: str, *arguments: str) -> Iterator[ModuleType]:
    """The module of a command, with its flags as the command line gives them; afterwards they are gone."""
    module, line, known = command(name), [f"launch/{name}.py", *arguments], set(flags.FLAGS)
    before, sys.argv = sys.argv, line  # where ml_collections looks for changes of a configuration
    try:
        with contextlib.chdir(ROOT), warnings.catch_warnings():
            # ml_collections loads configurations in a way that Python is giving up.
            warnings.filterwarnings("ignore", "the load_module", DeprecationWarning)
            start.define_flags(module)
            start.parse(line)
            yield module
    finally:
        sys.argv = before
        for flag in set(flags.FLAGS) - known:
            delattr(flags.FLAGS, flag)
        flags.FLAGS.unparse_flags()


def refusal(name: str, *arguments: str) -> str:
    """The line with which `seatbelt NAME ARGUMENTS` ends, run in this process; it must be one line."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), given(name, *arguments) as module:
            try:
                module.main()
            except EXPECTED as error:
                start.fail(str(error))
    except SystemExit as ended:
        lines = [line for line in errors.getvalue().splitlines() if line.startswith("error: ")]
        assert ended.code == 1 and len(lines) == 1 and "Traceback" not in errors.getvalue(), errors.getvalue()
        return lines[0]
    raise AssertionError(f"{name} {' '.join(arguments)} was not refused")


class Forks:
    """Runs launchers as `subprocess.run` does, without the seconds that each would import for."""

    def __init__(self) -> None:
        command = [sys.executable, "tests/launch_server.py"]
        self._server = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *_: object) -> None:
        # Without more lines to read it ends.
        self._server.communicate(timeout=60)

    @contextlib.contextmanager
    def full_disk(self, size: int) -> Iterator[None]:
        """Inside, no launcher can write a file of more than so many bytes."""
        unlimited = resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, unlimited)

    def run(
        self, arguments: list[str], timeout: float = 300.0, strike: tuple[int, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs `python ARGUMENTS`, of which the first is the launcher, in the project's folder.

        Args:
          strike: (signal, pattern of paths): sends that signal as soon as there is such a path.
        """
        with tempfile.TemporaryDirectory() as folder:
            files = [pathlib.Path(folder, name) for name in ("stdout", "stderr")]
            print(json.dumps([*map(str, files), strike, *arguments]), file=self._server.stdin)
            if not select.select([self._server.stdout], [], [], timeout)[0]:
                self._server.kill()
                raise subprocess.TimeoutExpired(arguments, timeout)
            status = int(self._server.stdout.readline())
            return subprocess.CompletedProcess(arguments, status, *(file.read_text() for file in files))
