"""Standard output and error that nobody may read: a closed one, or a pipe into `head` that has ended."""

import io
import os
import sys


class _Output(io.FileIO):
    """A descriptor to write to. Once its reader has gone, or the disk is full, the null device stands in for it."""

    def write(self, data, /):  # type: ignore[no-untyped-def]
        try:
            return super().write(data)
        except OSError as error:
            with open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), self.fileno())
            if isinstance(error, BrokenPipeError):
                # The reader has read enough. The work goes on, and what it writes to files is whole.
                return len(data)
            raise OSError(error.errno, f"cannot write standard output or error: {error.strerror}") from error


def open_closed() -> None:
    """Opens the null device in place of each standard stream that is closed, as after the shell's `>&-`.

    The next file that is opened would take its number, and whatever writes there would write into that file.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def outlive_readers() -> None:
    """Lets the process go on where the reader of its standard output or error ends before it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        stream.flush()
        writer = io.BufferedWriter(_Output(stream.fileno(), "w", closefd=False))
        is_prompt = name == "stderr" or stream.line_buffering
        setattr(sys, name, io.TextIOWrapper(writer, stream.encoding, stream.errors, line_buffering=is_prompt))
