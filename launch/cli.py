"""What every launcher shares: flags to a function, errors in one line, signals without a traceback, a compile cache."""

import difflib
import logging as stdlib_logging
import os
import pathlib
import re
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import freed_memory
from absl import app, flags, logging

# Configurations share what they have in common as configs._base.
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

# Errors of the user's making, or of the machine's: the message says all, a traceback would bury it.
EXPECTED = (ValueError, TypeError, OSError, ArithmeticError, ImportError)
_INTERRUPTED, _TERMINATED = 130, 143
_ADVICE = "; what is on disk is whole, and the same command goes on or starts anew"
# The flags that name a configuration, and where those are that come with the project.
_CONFIG_FOLDERS = {"--config": pathlib.Path("configs"), "--sweep": pathlib.Path("configs", "sweeps")}
# After Ctrl-C, the standard error that was.
_stopping: list[int] = []


freed_memory.keep()

# What took longer than a second to compile is there for the next command. JAX reads this when it is imported.
# Without a home folder, as some containers are, "~" stays what it is: then there is no cache.
_cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
if os.path.isabs(_cache):
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(_cache, "seatbelt_jax", "xla"))


def start(main: Callable[[], None]) -> None:
    """Parses the flags, runs `main` and exits: 0, 1 for an error, 130 for Ctrl-C."""
    # Orbax logs every step of a save, TensorFlow Datasets what it could do with OpenCV.
    logging.set_verbosity(logging.ERROR)
    # Of a damaged checkpoint asyncio prints the tracebacks of every read, beside the error that is raised.
    stdlib_logging.getLogger("asyncio").setLevel(stdlib_logging.CRITICAL)
    app.run(lambda _: _run(main), flags_parser=_parse)


def is_stopping() -> bool:
    """Whether Ctrl-C came: what fails from then on may have been broken off."""
    return bool(_stopping)


def _run(main: Callable[[], None]) -> None:
    _heed_interrupts(_raise_interrupt)
    signal.signal(signal.SIGALRM, _raise_interrupt)
    signal.signal(signal.SIGTERM, lambda *_: _stopped("terminated", _TERMINATED, _ADVICE))
    try:
        main()
    except EXPECTED as error:
        reason = f"{error}" or type(error).__name__
        if not _stopping:
            _fail(reason)
        # What is broken off in the middle fails in ways of its own: a checkpoint half read looks damaged. But a last
        # save may have failed too.
        _interrupted(f"{_ADVICE}; it broke off with: {' '.join(reason.split())}")
    except KeyboardInterrupt:
        _interrupted(_ADVICE)


def _parse(arguments: list[str]) -> list[str]:
    """Flags, with what goes wrong in a configuration put into one readable line."""
    _check_config_file(arguments)
    try:
        rest = flags.FLAGS(arguments)
    except Exception as error:  # a configuration file is a program: it can raise anything
        _fail(_reason(error))
    if len(rest) > 1:
        _fail(f"unexpected argument {rest[1]!r}; options are written --name=value, see --help")
    return rest


def _check_config_file(arguments: list[str]) -> None:
    """For a configuration that is not there, says which are."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        flag, equals, value = argument.partition("=")
        if flag not in _CONFIG_FOLDERS or not _is_configuration(flag):
            continue
        value = value if equals else following
        path = pathlib.Path(value.split(":")[0])
        if not path.is_file() or path.stem.startswith("_"):
            # Files that begin with an underscore are parts of configurations.
            known = sorted(map(str, [*path.parent.glob("[!_]*.py"), *_CONFIG_FOLDERS[flag].glob("[!_]*.py")]))
            stems = {pathlib.Path(name).stem: name for name in known}
            near = [stems[stem] for stem in difflib.get_close_matches(path.stem, stems, n=1)]
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(dict.fromkeys(known)) or 'none'}"
            _fail(f"there is no configuration {value or 'of that name'}; {hint}")


def _is_configuration(flag: str) -> bool:
    """Whether the flag is a configuration's here: of some launchers --sweep is the folder that a sweep left."""
    name = flag.removeprefix("--")
    return name not in flags.FLAGS or "string" not in flags.FLAGS[name].flag_type()


def _reason(error: Exception) -> str:
    """The cause alone: ml_collections hands on a whole traceback as a message."""
    if isinstance(error, SyntaxError):
        return str(error)
    message = str(error.args[0]) if error.args else type(error).__name__
    if missing := re.search(r"Flag (--\w+) must have a value other than None", message):
        return f"{missing[1]}=... must be given, see --help"
    if near := re.search(r'Did you mean "(\w+)" instead of "(\w+)"', message):
        return f"unknown configuration field {near[2]}; did you mean {near[1]}?"
    if field := re.fullmatch(r"[\"']*(\w+)[\"']*", message):
        return f"unknown configuration field {field[1]}"
    return re.split(r"\b\w+Error: ", message)[-1]


def _raise_interrupt(_: int, frame: FrameType | None) -> None:
    """Ctrl-C as an exception, which a callback of the garbage collector would swallow: then a moment later."""
    while frame is not None:
        if "gc_callback" in frame.f_code.co_name:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            return
        frame = frame.f_back
    if not _stopping:
        # Threads that still read or write print tracebacks while they are torn down: from now on nobody hears them.
        _stopping.append(os.dup(sys.stderr.fileno()))
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    raise KeyboardInterrupt


def _heed_interrupts(handler: Callable[[int, FrameType | None], None]) -> None:
    # What a shell script starts in the background ignores Ctrl-C, which is meant for others.
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def _interrupted(advice: str = "") -> NoReturn:
    _stopped("interrupted", _INTERRUPTED, advice)


def _stopped(how: str, status: int, advice: str) -> NoReturn:
    sys.stderr.flush()
    os.write(_stopping[0] if _stopping else sys.stderr.fileno(), f"\n{how}{advice}\n".encode())
    sys.stdout.flush()
    # Not sys.exit: a thread that still compiles crashes the interpreter while it is taken down.
    os._exit(status)


# Launchers import this file before the packages that take seconds, and Ctrl-C in these seconds ends at once: as an
# exception it would be a traceback, or be lost in a callback of the garbage collector.
_heed_interrupts(lambda *_: _interrupted())


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(1)
