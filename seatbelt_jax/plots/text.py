"""Numbers as a reader wants them."""

import math

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


def tick(value: float | None) -> str:
    """A round number as briefly as it goes; an en dash for None."""
    if value is None:
        return ABSENT
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
