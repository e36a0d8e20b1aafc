"""Runs a command: flags to a function, errors in one line, signals without a traceback, a compile cache."""

import logging as stdlib_logging
import os
import re
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

from absl import app, flags, logging

from seatbelt_jax import configurations, interrupts, plugins
from seatbelt_jax.cli import freed_memory, standard_streams
from seatbelt_jax.errors import EXPECTED

_TERMINATED = 143
_ADVICE = "; what is on disk is whole, and the same command goes on or starts anew"
# The flags that name a configuration, and where those are that come with the project.
_CONFIG_FOLDERS = {"--config": configurations.FOLDER, "--sweep": configurations.SWEEPS}
# Characters of an error that are shown.
_LONGEST_MESSAGE = 2_000
_HELP = ("help", "h", "helpfull", "helpshort", "helpxml", "?")


def prepare_process() -> None:
    """Sets up what must be there before JAX is imported."""
    freed_memory.keep()
    standard_streams.open_closed()
    configurations.make_importable()
    # What took longer than a second to compile is there for the next command. JAX reads this when it is imported.
    # Without a home folder, as some containers are, "~" stays what it is: then there is no cache.
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(cache):
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(cache, "seatbelt_jax", "xla"))


def start(command: ModuleType) -> None:
    """Parses the flags of a command's module, runs its `main` and exits: 0, 1 for an error, 130 for Ctrl-C."""
    standard_streams.outlive_readers()
    # Orbax logs every step of a save, TensorFlow Datasets what it could do with OpenCV.
    logging.set_verbosity(logging.ERROR)
    # asyncio prints a traceback for every read of a damaged checkpoint, beside the error that is raised.
    stdlib_logging.getLogger("asyncio").setLevel(stdlib_logging.CRITICAL)
    known = set(flags.FLAGS)
    define_flags(command)
    for name in set(flags.FLAGS) - known:
        # --help shows the flags and the docstring of the main module.
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
    sys.modules["__main__"].__doc__ = command.__doc__
    app.run(lambda _: _run(command.main), flags_parser=parse)


def define_flags(command: ModuleType) -> None:
    """Defines the flags of a command's module; their choices include what plug-ins add."""
    try:
        plugins.load()
    except ValueError as error:
        fail(str(error))
    command.define_flags()


def _run(main: Callable[[], None]) -> None:
    interrupts.raise_exception()
    signal.signal(signal.SIGTERM, lambda *_: interrupts.stop("terminated", _TERMINATED, _ADVICE))
    try:
        main()
        sys.stdout.flush()
        if interrupts.is_stopping():
            # A library swallowed the exception. Who pressed Ctrl-C must hear that it came.
            raise KeyboardInterrupt
    except EXPECTED as error:
        reason = f"{error}" or type(error).__name__
        if not interrupts.is_stopping():
            fail(reason)
        # What is broken off in the middle fails in ways of its own: a checkpoint half read looks damaged. But a last
        # save may have failed too.
        advice = f"{_ADVICE}; it broke off with: {' '.join(reason.split())}"
        interrupts.stop("interrupted", interrupts.INTERRUPTED, advice)
    except KeyboardInterrupt:
        interrupts.stop("interrupted", interrupts.INTERRUPTED, _ADVICE)
    # While the interpreter is taken down, an exception would be lost.
    interrupts.end_at_once()


def parse(arguments: list[str]) -> list[str]:
    """Flags, with what goes wrong in a configuration put into one readable line."""
    try:
        arguments = _with_paths(arguments)
    except OSError as error:
        fail(_reason(error))
    try:
        rest = flags.FLAGS(arguments)
    except SystemExit as ended:
        # absl exits with 1 after the help that was asked for.
        asked = any(argument.startswith("-") and argument.lstrip("-") in _HELP for argument in arguments[1:])
        sys.exit(0 if asked else ended.code)
    except Exception as error:  # a configuration file is a program: it can raise anything
        fail(_reason(error))
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}; options are written --name=value, see --help")
    return rest


def _with_paths(arguments: list[str]) -> list[str]:
    """The arguments, with the path of each configuration in place of its name."""
    found = list(arguments)
    for place, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag not in _CONFIG_FOLDERS or not _is_configuration(flag):
            continue
        if equals:
            found[place] = f"{flag}={configurations.find(value, _CONFIG_FOLDERS[flag])}"
        elif place + 1 < len(arguments):
            found[place + 1] = configurations.find(arguments[place + 1], _CONFIG_FOLDERS[flag])
    return found


def _is_configuration(flag: str) -> bool:
    """Whether the flag is a configuration's here: for some commands --sweep is the folder that a sweep left."""
    name = flag.removeprefix("--")
    return name not in flags.FLAGS or "string" not in flags.FLAGS[name].flag_type()


def _reason(error: Exception) -> str:
    """The cause alone: ml_collections hands on a whole traceback as a message."""
    if isinstance(error, SyntaxError | OSError):
        return str(error)
    message = str(error.args[0]) if error.args else type(error).__name__
    if missing := re.search(r"Flag (--\w+) must have a value other than None", message):
        return f"{missing[1]}=... must be given, see --help"
    if near := re.search(r'Did you mean "(\w+)" instead of "(\w+)"', message):
        return f"unknown configuration field {near[2]}; did you mean {near[1]}?"
    if field := re.fullmatch(r"[\"']*(\w+)[\"']*", message):
        return f"unknown configuration field {field[1]}"
    return re.split(r"\b\w+Error: ", message)[-1]


def fail(message: str) -> NoReturn:
    words = " ".join(message.split())
    if len(words) > _LONGEST_MESSAGE:
        # A name of thousands of characters would hide what is wrong with it, at either end of the message.
        words = f"{words[: _LONGEST_MESSAGE // 2]} ... {words[-_LONGEST_MESSAGE // 2 :]}"
    print(f"error: {words}", file=sys.stderr)
    sys.exit(1)
