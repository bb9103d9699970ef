"""The clock: a real process per network, and what happens when one fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.comparison import clock
from bowerbird.config import NetworkConfig, Preprocess, Recipe
from bowerbird.data.dataset import Dataset, Sample
from bowerbird.data.splitting.splits import Split
from bowerbird.models.networks import create_model, save_network
from bowerbird.runs import create_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    samples = tuple(Sample(f"{name}/1.png", i, "train") for i, name in enumerate("ab"))
    dataset = Dataset(tmp_path / "data", samples, ("a", "b"))
    network = NetworkConfig(model="test_resnet", weights="none", image_size=32, offline=True)
    recipe = Recipe(data=str(tmp_path), network=network)
    made = create_run(recipe, dataset, Split(("train",) * 2, (None,) * 2), tmp_path / "run")
    made.note_environment({"forward_precision": "float32"})
    found = create_model("test_resnet", num_classes=2, weights="none", image_size=32)
    assert isinstance(found.preprocess, Preprocess)
    save_network(found, made.path / "model", ("a", "b"))
    return made.path


def test_a_network_is_timed_in_its_own_process_and_a_failing_one_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "_ROUNDS", 3)
    found, notes = clock.measure({"good": run, "bad": run.parent / "nothing"})
    speed = found["good"]
    assert 0 < speed.low <= speed.milliseconds <= speed.high
    assert (speed.precision, speed.batch, speed.threads, speed.device) == ("float32", 8, 1, "cpu")
    assert speed.memory_mb is None or speed.before_mb is None or (
        speed.memory_mb >= speed.before_mb > 10
    )  # fmt: skip
    assert list(found) == ["good"]
    assert len(notes) == 1
    assert "speed of bad" in notes[0]
    assert "There is no run" in notes[0]
