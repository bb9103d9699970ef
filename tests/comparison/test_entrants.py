"""What a run brings: its best score by how far it got, its curve, its method and time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bowerbird.comparison.entrants import Entrant
from bowerbird.config import Recipe, TrainConfig
from bowerbird.data.splitting.splits import Split
from bowerbird.runs import Run

PROBE = [
    {"phase": "probe", "val_accuracy": 0.92, "val_loss": 0.5, "chosen": 0.0},
    {"phase": "probe", "val_accuracy": 0.90, "val_loss": 0.3, "chosen": 1.0},
]
EPOCHS = [
    {"phase": "finetune", "epoch": 1.0, "val_accuracy": 0.80, "val_loss": 0.6, "seconds": 2.0},
    {"phase": "finetune", "epoch": 2.0, "val_accuracy": 0.95, "val_loss": 0.4, "seconds": 2.5},
    {"phase": "finetune", "epoch": 3.0, "val_accuracy": 0.95, "val_loss": 0.3, "seconds": 2.0},
]


def _entrant(folder: Path, rows: list[dict[str, Any]], finished: bool, **facts: Any) -> Entrant:
    recipe = Recipe(train=TrainConfig(method=facts.pop("method", "auto")))
    if finished:
        (folder / "model").mkdir()
        (folder / "model" / "model.safetensors").write_bytes(b"")
    split = Split(("train", "val"), ("h1", "h2"))
    return Entrant("run", Run(folder, recipe, ("a", "b")), split, tuple(rows), facts, False)


def test_an_interrupted_run_is_its_best_so_far(tmp_path: Path) -> None:
    found = _entrant(tmp_path, PROBE + EPOCHS, False)
    assert found.status == "interrupted after epoch 3"
    assert found.validation == 0.95
    assert found.curve.best == 3
    assert found.curve.probe == (0.90, 0.3)
    assert found.curve.loss == (0.6, 0.4, 0.3)
    assert found.seconds_training == pytest.approx(6.5)


def test_one_interrupted_after_its_probe_is_the_probe_that_was_chosen(tmp_path: Path) -> None:
    found = _entrant(tmp_path, PROBE, False)
    assert (found.status, found.validation) == ("interrupted", 0.90)
    assert found.curve.best is None
    assert found.seconds_training is None


def test_a_finished_run_is_what_was_kept(tmp_path: Path) -> None:
    (tmp_path / "probe").mkdir()
    (tmp_path / "tuned").mkdir()
    kept = _entrant(tmp_path / "probe", PROBE + EPOCHS, True, chosen="probe", seconds_training=9)
    assert (kept.validation, kept.method, kept.seconds_training) == (0.90, "auto: probe", 9.0)
    marked = [*PROBE, EPOCHS[0] | {"chosen": 1.0}, *EPOCHS[1:]]
    tuned = _entrant(tmp_path / "tuned", marked, True, chosen="finetune")
    assert (tuned.validation, tuned.curve.best) == (0.80, 1)


def test_a_run_without_any_score_has_none(tmp_path: Path) -> None:
    found = _entrant(tmp_path, [{"phase": "finetune", "epoch": 1.0}], False, method="plain")
    assert found.best is None
    assert found.validation is None
    assert found.curve.epochs == ()
    assert found.method == "plain"
    assert found.pictures("val") == {"h2"}
    assert not found.has("test")
