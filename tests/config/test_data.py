from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bowerbird.config import SplitConfig
from bowerbird.config.data import parse_group_by


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("patient", ("column", "patient")),
        ("column:patient", ("column", "patient")),
        ("column:folder", ("column", "folder")),
        ("column:path:x", ("column", "path:x")),
        ("folder", ("folder", "")),
        ("Folder", ("column", "Folder")),
        (r"path:(IMG_\d+)_", ("path", r"(IMG_\d+)_")),
        ("path:a:b", ("path", "a:b")),
        ("a:b", ("column", "a:b")),
    ],
)
def test_what_is_meant_by_a_grouping(text: str, meant: tuple[str, str]) -> None:
    assert parse_group_by(text) == meant
    assert SplitConfig(group_by=text).group_by == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "column:NAME, folder or path:REGEX"),
        ("column:", "column:NAME"),
        ("  ", "column:NAME"),
        ("path:", "a regular expression after path:"),
        ("path:(a", "no regular expression: missing"),
        ("path:*", "no regular expression: nothing to repeat"),
    ],
)
def test_groupings_that_mean_nothing(text: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SplitConfig(group_by=text)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fold": 2}, "fold 2 of how many"),
        ({"folds": 3, "fold": 4}, "no fold 4 of 3"),
        ({"folds": 3, "val": 0.2}, "leave val out"),
        ({"folds": 3, "val": 0}, "leave val out"),
        ({"folds": 1}, "greater than or equal to 2"),
        ({"folds": 2, "fold": 0}, "greater than or equal to 1"),
    ],
)
def test_folds_that_contradict(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SplitConfig(**settings)


def test_folds_with_a_test_split() -> None:
    assert SplitConfig(folds=3, fold=3, test=0.2).fold == 3
