"""The model card: the report's facts in a page of Markdown, to lie beside the weights.

The front matter is that of model hubs, so that a folder can be uploaded as it is.
"""

from __future__ import annotations

import re
from pathlib import Path

from bowerbird.report.content import ReportData, told
from bowerbird.report.page import templates
from bowerbird.storage import write_bytes

__all__ = ["write_model_card"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~&-])")


def write_model_card(data: ReportData, path: Path) -> Path:
    """Write the model card of a run, in Markdown.

    Args:
        data: what to report.
        path: of the file; an older one is replaced.

    Raises:
        DataError: there is no evaluation.
        RunError: the file can't be written.
    """
    environment = templates().overlay()
    environment.filters = {**environment.filters, "plain": plain, "fence": fence}
    text = environment.get_template("card.md.jinja").render(**told(data))
    write_bytes(path, text.encode("utf-8", "replace"))
    return path


def plain(text: str) -> str:
    r"""Text that Markdown shows as it is, in one line.

    >>> plain("a|b <i>")
    'a\\|b \\<i\\>'
    """
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def fence(code: str) -> str:
    """Code between fences that the code itself doesn't contain."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}\n{code.rstrip()}\n{marks}"
