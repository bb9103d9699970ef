from __future__ import annotations

import re

from bowerbird import errors


def test_the_tree_is_the_one_that_is_drawn() -> None:
    drawn = re.findall(r"^ *([│├└─ ]*)(\w+(?:Error|pted))", str(errors.__doc__), flags=re.M)
    parents: list[str] = []
    for branch, name in drawn:
        depth = branch.count("─") // 2 + branch.count("│")
        assert getattr(errors, name).__base__.__name__ == (
            parents[depth - 1] if depth else "Exception"
        )
        parents[depth:] = [name]
    assert {name for _, name in drawn} == set(errors.__all__)


def test_all_are_one_family() -> None:
    assert all(issubclass(getattr(errors, name), errors.BowerbirdError) for name in errors.__all__)
