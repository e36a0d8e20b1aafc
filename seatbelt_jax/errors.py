"""Errors as one line."""

# Errors of the user's making, or of the machine's: the message says all, a traceback would bury it.
EXPECTED = (ValueError, TypeError, OSError, ArithmeticError, ImportError)


def one_line(error: BaseException) -> str:
    """The message without line breaks, or the name of the error's type where it has none."""
    return " ".join(f"{error}".split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """At most 200 characters of the message's first line, or the name of the error's type where it has none."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
