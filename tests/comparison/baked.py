"""Bake-offs made by hand, for tests: networks with a price, and who is wrong where."""

from __future__ import annotations

from typing import Any

import numpy as np

from bowerbird.comparison.bakeoff import Arm, Bakeoff
from bowerbird.comparison.halving import Correct, Dropped, Round


def arm(name: str, milliseconds: float, **more: Any) -> Arm:
    """A network of that name and price."""
    facts: dict[str, Any] = {"licence": "MIT", "megabytes": 2 * milliseconds} | more
    return Arm(
        name, name, "auto", "a package", facts["licence"], (32, 32), 96, 1_000_000,
        facts["megabytes"], 5_000_000, milliseconds, "float32",
    )  # fmt: skip


def right(wrong: int, of: int = 1000, first: int = 0) -> Correct:
    """Right everywhere but on `wrong` images from `first` on."""
    found = np.ones(of, bool)
    found[first : first + wrong] = False
    return found


def bakeoff(arms: list[Arm], *rounds: Round, **more: Any) -> Bakeoff:
    """A bake-off of these networks, the cheapest first, with these rounds."""
    facts: dict[str, Any] = {"way": "left-out"} | more
    return Bakeoff("images", ("a", "b"), arms=tuple(arms), rounds=tuple(rounds), **facts)


def several(networks: int, rounds: int = 3) -> Bakeoff:
    """A bake-off of many networks, of which every third is dropped after the first round."""
    arms = [arm(f"network_{n}.in1k", 2.0 * 1.3**n) for n in range(networks)]
    gone = tuple(Dropped(a.name, arms[0].name, 0.2, 0.15, 5.0) for a in arms[2::3])
    held, left = [], list(arms)
    for number in range(rounds):
        images = 1000 // 2 ** (rounds - 1 - number)
        wrong = {
            a.name: right(int(images * (0.1 + 0.01 * n) / (number + 1)), images)
            for n, a in enumerate(arms) if a in left
        }  # fmt: skip
        first = gone if number == 0 and rounds > 1 else ()
        held.append(Round(images, 1000, wrong, first))
        left = [a for a in left if a.name not in {d.arm for d in first}]
    return bakeoff(
        arms, *held, skipped={"absent": "No weights."}, notes=("A note.",), budget=600.0,
        seconds=125.0, commands={"train": "bowerbird train x", "again": "bowerbird bakeoff x"},
    )  # fmt: skip
