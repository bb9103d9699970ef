"""Text in aligned columns."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["aligned"]


def aligned(lines: Sequence[Sequence[str]], words: int) -> list[str]:
    """Lines whose columns are as wide as their widest cell.

    Args:
        lines: cells; as many in every line.
        words: columns from the left that are aligned to the left, the others to the right.

    >>> aligned([("name", "count"), ("a", "1,000")], words=1)
    ['name  count', 'a     1,000']
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(_padded(line, widths, words)).rstrip() for line in lines]


def _padded(line: Sequence[str], widths: Sequence[int], words: int) -> list[str]:
    pairs = list(zip(line, widths, strict=True))
    left = [cell.ljust(width) for cell, width in pairs[:words]]
    return left + [cell.rjust(width) for cell, width in pairs[words:]]
