"""What a bake-off keeps in its folder, so that the same command goes on where it was stopped.

Features are in the cache anyway; ``state.json`` has the rounds that are over, with every
single answer, the time they took, and how fast the networks were. It is written in one piece
after each round.

Decisions:
- The state belongs to the same images, splits, networks and way of judging; of others it says
  nothing, and the bake-off begins anew. The budget may differ: more time goes on.
- A damaged state is as none: what it held is computed again from the cache.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bowerbird import storage
from bowerbird.comparison.entering import Contestant
from bowerbird.comparison.halving import Correct, Dropped, Round
from bowerbird.comparison.judging import Pool

__all__ = ["STATE", "Sitting", "key_of"]

STATE = "state.json"


@dataclass
class Sitting:
    """How far a bake-off has come.

    Attributes:
        key: of images, networks and way of judging.
        arms: the networks that there was time for.
        rounds: those that are over.
        seconds: that all took so far.
        budget: that was given.
        milliseconds: per image, by network.
        late: why there was no time for some, by network.
    """

    key: str
    arms: tuple[str, ...] = ()
    rounds: list[Round] = field(default_factory=list)
    seconds: float = 0.0
    budget: float = 0.0
    milliseconds: dict[str, float] = field(default_factory=dict)
    late: dict[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the last round had all images."""
        return bool(self.rounds) and self.rounds[-1].images >= self.rounds[-1].of

    def save(self, folder: Path | None) -> None:
        """Write it into the folder, if there is one."""
        if folder is not None:
            storage.write_json(storage.make_folder(folder) / STATE, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with every answer."""
        return {
            "key": self.key,
            "arms": list(self.arms),
            "seconds": self.seconds,
            "budget": self.budget,
            "milliseconds": self.milliseconds,
            "late": self.late,
            "rounds": [
                ended.to_dict() | {"correct": {a: _packed(c) for a, c in ended.correct.items()}}
                for ended in self.rounds
            ],
        }

    @classmethod
    def read(cls, folder: Path | None, key: str) -> Sitting | None:
        """What an earlier sitting has left; None where that is nothing, or of something else."""
        if folder is None:
            return None
        try:
            kept = json.loads((folder / STATE).read_text(encoding="utf-8"))
            if kept["key"] != key:
                return None
            return cls(
                key, tuple(kept["arms"]), [_round(values) for values in kept["rounds"]],
                float(kept["seconds"]), float(kept["budget"]),
                {str(name): float(value) for name, value in kept["milliseconds"].items()},
                {str(name): str(words) for name, words in kept["late"].items()},
            )  # fmt: skip
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None


def key_of(pool: Pool, contestants: Sequence[Contestant], seed: int) -> str:
    """What tells bake-offs apart: images with classes and splits, networks, way of judging."""
    facts = [
        [image.content_hash for image in pool.images], pool.targets.tolist(),
        pool.training.tolist(), pool.validation.tolist(), [list(unit) for unit in pool.together],
        pool.way, seed, sorted((c.name, c.key) for c in contestants),
    ]  # fmt: skip
    return storage.hash_bytes(json.dumps(facts).encode())


def _packed(correct: Correct) -> str:
    return f"{len(correct)}:{base64.b64encode(np.packbits(correct).tobytes()).decode('ascii')}"


def _unpacked(text: str) -> Correct:
    """The answers of a network.

    >>> _unpacked(_packed(np.array([True, False, True])))
    array([ True, False,  True])
    """
    count, _, data = text.partition(":")
    bits = np.unpackbits(np.frombuffer(base64.b64decode(data, validate=True), np.uint8))
    if len(bits) < int(count):
        raise ValueError("cut short")
    return bits[: int(count)].astype(bool)


def _round(values: Mapping[str, Any]) -> Round:
    correct = {str(arm): _unpacked(text) for arm, text in values["correct"].items()}
    if not correct or len({len(right) for right in correct.values()}) > 1:
        raise ValueError("not the same images")
    dropped = tuple(Dropped(**found) for found in values["dropped"])
    return Round(int(values["images"]), int(values["of"]), correct, dropped)
