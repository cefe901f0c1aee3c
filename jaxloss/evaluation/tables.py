"""Numbers and tables as plain text."""

import math
from collections.abc import Sequence


def decimals_for(width: float) -> int | None:
    """Decimals at which the half of an interval this wide has two digits; None if that is silly."""
    if not math.isfinite(width) or width <= 0:
        return None
    decimals = 1 - math.floor(math.log10(width / 2))
    return max(decimals, 0) if decimals <= 8 else None


def number_text(value: float, width: float, sign: str = "") -> str:
    """``value`` to as many digits as an interval of this width warrants."""
    decimals, sign = decimals_for(width), sign if value else ""
    if decimals is None or not math.isfinite(value):
        return f"{value:{sign}.4g}"
    return f"{value:{sign}.{decimals}f}"


def interval_text(low: float, high: float, sign: str = "") -> str:
    """``[low, high]``, likewise; a dash if nothing is known of it."""
    if math.isnan(low) or math.isnan(high):
        return "-"
    return f"[{number_text(low, high - low, sign)}, {number_text(high, high - low, sign)}]"


def count_text(count: int) -> str:
    """``count`` in groups of three digits."""
    return f"{count:,}".replace(",", " ")


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Rows of cells as lines, the columns in ``left`` flush left and all others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join(map(line, rows))
