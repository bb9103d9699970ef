"""What is kept between two sittings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bowerbird.comparison.halving import Dropped, Round
from bowerbird.comparison.sittings import STATE, Sitting

UNEQUAL = {"a": "8:/w==", "b": "7:/w=="}


def sitting() -> Sitting:
    random = np.random.default_rng(0)
    correct = {name: random.random(37) < 0.8 for name in ("a", "b", "c")}
    gone = Dropped("b", "a", 0.1, 0.08, 3.5)
    return Sitting(
        "key", ("a", "b", "c"), [Round(37, 80, correct, (gone,))], 12.5, 60.0, {"a": 1.25},
        {"d": "no time"},
    )  # fmt: skip


def test_what_was_written_comes_back_with_every_answer(tmp_path: Path) -> None:
    kept = sitting()
    kept.save(tmp_path)
    found = Sitting.read(tmp_path, "key")
    assert found is not None
    assert found.to_dict() == kept.to_dict()
    assert found.rounds[0].kept == ("a", "c")
    for name, right in kept.rounds[0].correct.items():
        assert found.rounds[0].correct[name].tolist() == right.tolist()
    assert not found.finished


def test_without_a_folder_nothing_is_kept() -> None:
    sitting().save(None)
    assert Sitting.read(None, "key") is None


def test_another_key_or_no_file_is_as_none(tmp_path: Path) -> None:
    assert Sitting.read(tmp_path, "key") is None
    sitting().save(tmp_path)
    assert Sitting.read(tmp_path, "another") is None


@pytest.mark.parametrize("keep", [0, 1, 40, 400, -3])
def test_a_file_that_was_cut_short_is_as_none(tmp_path: Path, keep: int) -> None:
    sitting().save(tmp_path)
    file = tmp_path / STATE
    file.write_bytes(file.read_bytes()[:keep])
    assert Sitting.read(tmp_path, "key") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rounds", [{"images": 1}]),
        ("rounds", [{"images": 9, "of": 9, "correct": {}, "dropped": []}]),
        ("rounds", [{"images": 9, "of": 9, "correct": {"a": "9:AA"}, "dropped": []}]),
        ("rounds", [{"images": 9, "of": 9, "correct": {"a": "1:!!"}, "dropped": []}]),
        ("rounds", [{"images": 9, "of": 9, "correct": UNEQUAL, "dropped": []}]),
        ("seconds", "long"),
        ("milliseconds", ["a"]),
        ("arms", None),
    ],
)  # fmt: skip
def test_damaged_values_are_as_none(tmp_path: Path, name: str, value: object) -> None:
    sitting().save(tmp_path)
    kept = json.loads((tmp_path / STATE).read_text())
    (tmp_path / STATE).write_text(json.dumps(kept | {name: value}))
    assert Sitting.read(tmp_path, "key") is None
