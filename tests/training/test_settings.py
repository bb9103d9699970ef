from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bowerbird.config import TrainConfig
from bowerbird.errors import ConfigError, ModelError
from bowerbird.models.networks import Network, create_model
from bowerbird.training.settings import check_settings, starts_from_probe


def network(weights: Path | str, **options: Any) -> Network:
    return create_model(
        "test_resnet", num_classes=3, weights=str(weights), image_size=32, **options
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"freeze_until": "layer2"},
        {"freeze": "0.5"},
        {"method": "gradual", "unfreeze": {0: "head", 4: "layer4"}},
        {"method": "gradual", "unfreeze": {4: "layer4"}, "epochs": 5},
        {"method": "plain", "head_start": "probe"},
        {"optimizer": "lamb"},
    ],
    ids=str,
)
def test_what_can_be_done(settings: dict[str, Any], weights: Path) -> None:
    made = network(weights)
    before = {name: value.clone() for name, value in made.module.state_dict().items()}
    check_settings(made, TrainConfig(**settings))
    for name, value in made.module.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(part.training for part in made.module.modules())
    assert all(p.requires_grad for p in made.module.parameters())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"freeze_until": "layer9"}, r"'layer9'.*Did you mean layer\d"),
        ({"freeze": "nowhere.*"}, r"nowhere"),
        ({"freeze": "*"}, "nothing to train"),
        ({"method": "gradual", "unfreeze": {3: "layer4"}, "epochs": 3}, "after the last epoch"),
        ({"method": "gradual", "unfreeze": {0: "head", 3: "layr4"}}, "unfreeze: .*layer4"),
        ({"method": "gradual", "unfreeze": {0: "layer3", 3: "layer4"}}, "releases nothing"),
        ({"optimizer": "adamv"}, "no optimizer called 'adamv'"),
        ({"method": "probe", "head_start": "random"}, "needs a linear head, and no random start"),
    ],
    ids=str,
)
def test_what_cannot(settings: dict[str, Any], words: str, weights: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        check_settings(network(weights), TrainConfig(**settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"freeze_until": "layer2"},
        {"freeze": "0.5"},
        {"method": "gradual", "unfreeze": {0: "head", 1: "layer4"}},
    ],
    ids=str,
)
def test_frozen_layers_of_a_random_network(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"would stay random.*give weights"):
        check_settings(network("none"), TrainConfig(**settings))


def test_a_probe_of_a_head_that_is_not_linear(weights: Path) -> None:
    for head in ("16", "cosine"):
        made = network(weights, head=head)
        with pytest.raises(ConfigError, match="probe learns a linear classifier"):
            check_settings(made, TrainConfig(head_start="probe"))
        with pytest.raises(ConfigError, match="--method finetune"):
            check_settings(made, TrainConfig(method="probe"))
        check_settings(made, TrainConfig(method="finetune"))


@pytest.mark.parametrize("layer", ["Softmax(1)", "Sigmoid()", "Softmax(0)"])
def test_scores_that_are_shares_already(layer: str, weights: Path) -> None:
    made = network(weights, surgery=(f"append fc {layer}",))
    with pytest.raises(ModelError, match=r"softmax|sigmoid"):
        check_settings(made, TrainConfig())
    check_settings(made, TrainConfig(allow_double_softmax=True))


@pytest.mark.parametrize(
    ("settings", "options", "probed"),
    [
        ({}, {}, True),
        ({"method": "finetune"}, {}, True),
        ({"method": "gradual"}, {}, True),
        ({"method": "plain"}, {}, False),
        ({"method": "plain", "head_start": "probe"}, {}, True),
        ({"method": "finetune", "head_start": "random"}, {}, False),
        ({"method": "finetune"}, {"head": "16"}, False),
        ({"method": "finetune"}, {"head": "cosine"}, False),
        ({"method": "finetune"}, {"head_dropout": 0.5}, True),
    ],
    ids=str,
)
def test_who_starts_from_a_probe(
    settings: dict[str, Any], options: dict[str, Any], probed: bool, weights: Path
) -> None:
    assert starts_from_probe(network(weights, **options), TrainConfig(**settings)) == probed
