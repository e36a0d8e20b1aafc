"""Numbers as a reader wants them, and pieces of HTML that are escaped once and for all."""

import dataclasses
import html
import math
from collections.abc import Callable, Iterable, Sequence

_SUPERSCRIPTS = str.maketrans("0123456789-.", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻·")
_THIN_SPACE = "\u2009"
MINUS, ABSENT, _TIMES = "\u2212", "\u2013", "\u00d7"
_LARGEST_PLAIN, _SMALLEST_PLAIN = 1e6, 1e-3


def number(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits, whole ones in full; an en dash for None and NaN."""
    if value is None or math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value == 0:
        return "0"
    sign = MINUS if value < 0 else ""
    rounded = float(f"{abs(value):.{digits - 1}e}")
    exponent = math.floor(math.log10(rounded))
    if _SMALLEST_PLAIN <= rounded < _LARGEST_PLAIN:
        if exponent >= digits - 1:
            return sign + f"{abs(value):,.0f}".replace(",", _THIN_SPACE)
        return f"{sign}{rounded:.{digits - 1 - exponent}f}"
    mantissa = f"{rounded / 10.0**exponent:.{digits - 1}f}".rstrip("0").rstrip(".")
    factor = "" if mantissa == "1" else f"{mantissa} {_TIMES} "
    return f"{sign}{factor}10{superscript(exponent)}"


def tick(value: float) -> str:
    """A round number as briefly as it goes."""
    return f"{value:,.10g}".replace(",", _THIN_SPACE).replace("-", MINUS)


def power(base: int, value: float) -> str:
    """A positive value as a power: 2⁻²⁰; one decimal where the exponent is not whole."""
    if value <= 0:
        return number(value)
    exponent = round(math.log(value, base), 1)
    return f"{base}{superscript(int(exponent) if exponent.is_integer() else exponent)}"


def percent(share: float | None) -> str:
    """A share as a percentage, without claiming 0 or 100 for what is not."""
    if share is None or math.isnan(share):
        return ABSENT
    if 0.0 < share < 0.01:
        return "< 1 %"
    if 0.99 < share < 1.0:
        return "> 99 %"
    return f"{100.0 * share:.0f} %"


def superscript(exponent: float) -> str:
    return f"{exponent}".translate(_SUPERSCRIPTS)


def escape(text: object) -> str:
    """Text, from a file or anywhere, as HTML that shows it as it is."""
    return html.escape(f"{text}", quote=True)


@dataclasses.dataclass(frozen=True)
class Cell:
    """HTML, and the number by which a table is sorted that shows it."""

    content: str
    value: float | None


Row = Sequence[str | Cell]


def shown(value: float | None, show: Callable[[float | None], str] = number, more: str = "") -> Cell:
    """A number as `show` has it, and HTML after it."""
    return Cell(show(value) + more, value)


def table(header: Sequence[str], rows: Iterable[Row], *, kind: str = "numbers") -> str:
    """A table in a frame that scrolls sideways on a narrow screen; cells are HTML already.

    The first cell of each row heads it; a row of one cell heads those that follow. `kind` are the style sheet's
    classes: "numbers" are right-aligned, "cells" of a sweep scroll in a frame of limited height, and the page's script
    sorts a table that is "sortable" by what is clicked.
    """
    rows = list(rows)
    first = next((row for row in rows if len(row) > 1), [])
    # Words stand at the left, below a head that does.
    words = [isinstance(cell, str) for cell in first] or [False] * len(header)
    head = "".join(f'<th scope="col"{_word(is_word)}>{cell}</th>' for cell, is_word in zip(header, words, strict=True))
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(map(_cell, row[1:]))}</tr>'
        if len(row) > 1
        else f'<tr class="group"><th scope="rowgroup" colspan="{len(header)}">{row[0]}</th></tr>'
        for row in rows
    )
    content = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    frame = "scroll tall" if "cells" in kind.split() else "scroll"
    return f'<div class="{frame}" tabindex="0"><table class="{kind}">{content}</table></div>'


def name(words: str) -> str:
    """A name from a file that may break where it has an underscore."""
    return escape(words).replace("_", "_<wbr>")


def _word(is_word: bool) -> str:
    return ' class="word"' if is_word else ""


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return f"<td{_word(True)}>{cell}</td>"
    known = cell.value is not None and not math.isnan(cell.value)
    return f'<td data-value="{cell.value if known else ""}">{cell.content}</td>'


def figure(content: str, caption: str, *, kind: str = "chart") -> str:
    """A figure with its caption, both HTML already."""
    return f'<figure class="{kind}">{content}<figcaption>{caption}</figcaption></figure>'


def hint(text: str, commands: Iterable[str]) -> str:
    """A sentence and the commands that it speaks of."""
    lines = "<br>".join(f"<code>{escape(command)}</code>" for command in commands)
    return f'<p class="hint">{escape(text)}<br>{lines}</p>'
