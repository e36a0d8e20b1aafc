"""Errors as one line."""

# Errors of the user's making, or of the machine's: the message says all, a traceback would bury it.
EXPECTED = (ValueError, TypeError, OSError, ArithmeticError, ImportError)


def one_line(error: BaseException) -> str:
    """The message without line breaks, or the name of the error's type where it has none."""
    return " ".join(f"{error}".split()) or type(error).__name__
