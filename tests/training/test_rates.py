from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bowerbird.config import TrainConfig
from bowerbird.data.sources import read_images
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import ConfigError
from bowerbird.models.networks import Network, create_model
from bowerbird.plots import rate_curve
from bowerbird.training import rates
from bowerbird.training.rates import RateCurve, find_rate, suggested

Look = Callable[..., RateCurve]


@pytest.fixture
def network(weights: Path) -> Network:
    return create_model("test_resnet", num_classes=3, weights=str(weights), image_size=32)


@pytest.fixture
def look(network: Network, shapes: Path, parts: Split) -> Look:
    def found(**settings: Any) -> RateCurve:
        span = {name: settings.pop(name) for name in ("low", "high", "steps") if name in settings}
        config = TrainConfig(**{"batch_size": 8, "precision": "float32", "workers": 1} | settings)
        return find_rate(network, read_images(shapes), parts, config, **span)

    return found


@pytest.mark.parametrize("steepest", [1e-3, 1e-2, 1e-1])
def test_the_suggestion_is_where_the_loss_falls_fastest(steepest: float) -> None:
    """A logistic step on the logarithmic scale is steepest in its middle."""
    tried = np.geomspace(1e-5, 1, 101)
    losses = 2 - np.tanh(np.log(tried / steepest))
    assert suggested(tried, losses) == pytest.approx(steepest, rel=0.13)  # a step of the scale


def test_a_loss_that_only_rises_gives_no_suggestion() -> None:
    assert suggested(np.geomspace(1e-5, 1, 50), np.linspace(1, 9, 50)) is None


def test_the_mean_is_corrected_for_its_start() -> None:
    assert rates._smooth(np.array([3.0, 3.0, 3.0])) == pytest.approx([3, 3, 3])
    by_hand = (0.9 * 0.1 * 1 + 0.1 * 2) / (1 - 0.9**2)
    assert rates._smooth(np.array([1.0, 2.0]))[1] == pytest.approx(by_hand)


def test_rates_rise_and_it_ends_where_the_loss_explodes(look: Look) -> None:
    found = look(method="plain", low=1e-4, high=1e4, steps=40)
    assert found.rates[0] == 1e-4
    assert np.allclose(np.diff(np.log(found.rates)), np.log(1e8) / 39)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 40
    assert np.isfinite(found.losses).all()
    assert found.trained == "all layers"


def test_the_network_is_given_back_as_it_was(network: Network, look: Look) -> None:
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    look(low=1e-3, high=1.0, steps=12)
    for name, value in network.module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(part.training for part in network.module.modules())
    assert all(p.requires_grad and p.grad is None for p in network.module.parameters())


def test_the_same_seed_gives_the_same_curve(look: Look) -> None:
    one, other = (look(low=1e-4, high=1e-1, steps=12) for _ in range(2))
    assert np.array_equal(one.losses, other.losses)


@pytest.mark.parametrize(
    ("settings", "trained"),
    [
        ({"freeze_until": "layer4"}, "from layer4"),
        ({"freeze": "backbone"}, "head"),
        ({"method": "finetune"}, "from layer3"),
        ({"method": "gradual", "unfreeze": {0: "head", 2: "layer2"}}, "from layer2"),
        ({"method": "plain"}, "all layers"),
        ({"method": "finetune", "batch_norm": "trained"}, "all layers"),
    ],
    ids=str,
)
def test_it_trains_what_training_would(look: Look, settings: dict[str, Any], trained: str) -> None:
    assert look(low=1e-4, high=1e-3, steps=10, **settings).trained == trained


@pytest.mark.parametrize("span", [{"low": 0.0}, {"low": 1.0, "high": 0.1}, {"steps": 3}], ids=str)
def test_a_range_that_makes_no_sense(look: Look, span: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="0 < low < high and 10 steps or more"):
        look(**span)


def test_the_figure_marks_the_suggestion(look: Look) -> None:
    found = look(method="plain", low=1e-4, high=1e4, steps=40)
    assert found.suggestion is not None
    (axes,) = rate_curve(found).axes
    assert axes.get_xscale() == "log"
    words = [text.get_text() for text in axes.texts]
    assert any(f"{found.suggestion:.1e}" in text for text in words)
    assert math.isfinite(axes.get_ylim()[0])


def test_facts_for_json_and_for_people(look: Look) -> None:
    found = look(low=1e-4, high=1e-3, steps=10)
    assert len(found.to_dict()["losses"]) == 10
    assert "10 steps from layer3" in repr(found)
