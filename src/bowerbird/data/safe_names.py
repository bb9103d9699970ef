"""Names for folders and files that every system takes, from names that it may not.

Decisions:
- What Windows, macOS or Linux refuse in a name (``/ \\ : * ? " < > |`` and control characters)
  becomes an underscore; so does a leading dot, since hidden files are passed over.
- Names that differ in case only are one on some disks: the later gets a number.
- A name has at most 120 bytes, so that children's names fit, too.
"""

from __future__ import annotations

import re
import unicodedata

from bowerbird.data.scan import is_hidden

__all__ = ["Names", "safe_name"]

_LONGEST = 120
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def safe_name(name: str) -> str:
    """A name that every system takes.

    >>> safe_name("cats/dogs: 50 %?"), safe_name(".hidden"), safe_name("NUL"), safe_name(" ")
    ('cats_dogs_ 50 %_', '_hidden', '_NUL', '_')
    """
    plain = re.sub(
        r'[/\\:*?"<>|\x00-\x1f\x7f\u2028\u2029]', "_", unicodedata.normalize("NFC", name)
    )
    plain = re.sub(r"^\.", "_", plain.strip()).rstrip(". ")
    if not plain or is_hidden(plain) or _RESERVED.fullmatch(plain):
        plain = f"_{plain}"
    return plain.encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore").rstrip(". ")


class Names:
    """Names given out in one folder, each once.

    >>> names = Names()
    >>> names.take("cat", ".jpg"), names.take("Cat", ".JPG"), names.take("cat", ".png")
    ('cat.jpg', 'Cat-2.JPG', 'cat.png')
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, stem: str, ending: str = "") -> str:
        """A safe name that nobody has yet."""
        stem, number = safe_name(stem), 1
        name = stem + ending
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}{ending}"
        self._taken.add(name.casefold())
        return name
