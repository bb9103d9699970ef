from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bowerbird.config import TrainConfig
from bowerbird.features import FeatureCache
from bowerbird.models.cuts import INPUT
from bowerbird.models.networks import create_model
from bowerbird.training import cost
from bowerbird.training.batches import Part
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.tuning import Tuner


@pytest.fixture
def tuner(weights: Path) -> Tuner:
    network = create_model("test_resnet", num_classes=3, weights=str(weights), image_size=32)
    config = TrainConfig(batch_size=8)
    return Tuner(network, config, FeatureCache(), 1, StopSignal(), "cpu", "float32")


def test_an_epoch_is_as_many_steps_as_there_are_batches(
    tuner: Tuner, shapes: Path, part: Callable[..., Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "_step_time", lambda *_: 2.0)
    images = part(shapes).images
    assert len(images) == 60
    found = cost.measure(tuner, INPUT, images, TrainConfig(batch_size=8), cached=True)
    assert found.epoch == pytest.approx(2.0 * 60 / 8)


def test_the_faster_precision_is_taken(
    tuner: Tuner, shapes: Path, part: Callable[..., Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"float32": 3.0, "bfloat16": 1.0}
    monkeypatch.setattr(cost, "_step_time", lambda _, __, precision: seconds[precision])
    images = part(shapes).images
    found = cost.measure(tuner, INPUT, images, TrainConfig(batch_size=8), cached=True)
    assert found.precision == "bfloat16"
    asked = TrainConfig(batch_size=8, precision="float32")
    assert cost.measure(tuner, INPUT, images, asked, cached=True).precision == "float32"


def test_measuring_leaves_the_network_as_it_was(
    tuner: Tuner, shapes: Path, part: Callable[..., Part]
) -> None:
    before = {name: v.clone() for name, v in tuner.network.module.state_dict().items()}
    found = cost.measure(tuner, INPUT, part(shapes).images, TrainConfig(batch_size=8))
    assert found.epoch > 0
    for name, value in tuner.network.module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in tuner.network.module.parameters())
