from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bowerbird.config import TrainConfig
from bowerbird.features import FeatureCache
from bowerbird.models.cuts import INPUT
from bowerbird.models.networks import create_model
from bowerbird.training import tuning
from bowerbird.training.batches import Part
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.phases import PhasePlan, Step
from bowerbird.training.plan import last_stages_cut
from bowerbird.training.tuning import Tuner

NAMES = ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"]
Rows = list[dict[str, Any]]


def tuner(name: str = "test_resnet", size: int = 32, **settings: Any) -> Tuner:
    size = 160 if "vit" in name else size
    network = create_model(name, num_classes=3, weights="none", image_size=size)
    config = TrainConfig(batch_size=16, precision="float32", **settings)
    return Tuner(network, config, FeatureCache(), 1, StopSignal(), "cpu")


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def phase(made: Tuner, source: str, cut: str | None = None, **settings: Any) -> PhasePlan:
    cut = cut or last_stages_cut(made.evaluation)
    return PhasePlan("some", cut, source, **({"epochs": 1, "rate": 0.01} | settings))


def used(suffix: Any) -> set[str]:
    """Parameters that the graph makes use of."""
    targets = {str(n.target) for n in suffix.graph.nodes if n.op in ("get_attr", "call_module")}
    names = [name for name, _ in suffix.named_parameters()]
    return {name for name in names if name in targets or name.rpartition(".")[0] in targets}


@pytest.mark.parametrize("source", ["cached", "images"])
@pytest.mark.parametrize("name", NAMES)
def test_frozen_layers_stay_and_the_others_learn(
    name: str, source: str, shapes: Path, part: Callable[..., Part], tmp_path: Path
) -> None:
    made = tuner(name)
    plan = phase(made, source, epochs=3)  # a last norm that starts at zero lets nothing through
    trained = used(made.training.suffix(plan.cut))
    before = state(made.network.module)
    images = part(shapes, 0, 2)
    made.run([plan], images, None, tmp_path, lambda rows: None)
    after = state(made.network.module)
    assert 0 < len(trained) < len(list(made.network.module.parameters()))
    for key, value in before.items():
        if key in trained:
            assert not torch.equal(value, after[key]), f"{key} has not learnt"
        else:
            assert torch.equal(value, after[key]), f"{key} has changed"
    assert not any(module.training for module in made.network.module.modules())


def test_the_network_holds_what_was_validated(
    shapes: Path, part: Callable[..., Part], tmp_path: Path
) -> None:
    made = tuner(patience=9)
    images, held = part(shapes, 0, 2), part(shapes, 1, 2)
    plans = [phase(made, "cached", epochs=3), phase(made, "images", epochs=3)]
    accuracy, loss = made.run(plans, images, held, tmp_path, lambda rows: None)
    with made.from_images(INPUT, held.images, "plain") as batches, torch.inference_mode():
        scores = made.network.module(batches.load(range(len(held.images)), 0))  # type: ignore[arg-type]
    truth = torch.from_numpy(held.targets)
    assert (scores.argmax(dim=1) == truth).float().mean().item() == pytest.approx(accuracy)
    assert nn.functional.cross_entropy(scores, truth).item() == pytest.approx(loss, rel=1e-3)


def test_everything_from_the_images(
    shapes: Path, part: Callable[..., Part], tmp_path: Path
) -> None:
    made = tuner()
    before = state(made.network.module)
    images, held = part(shapes, 0, 2), part(shapes, 1, 2)
    plan = phase(made, "images", INPUT, batch_norm="trained")
    made.run([plan], images, held, tmp_path, lambda rows: None)
    first = next(iter(before))
    assert not torch.equal(made.network.module.state_dict()[first], before[first])


@pytest.mark.parametrize("balance", ["loss", "sampler"])
def test_balance_reaches_the_loop(
    balance: str, shapes: Path, part: Callable[..., Part], tmp_path: Path
) -> None:
    """Two images of a class among many: with equal weight its loss counts as much."""
    images = part(shapes)
    few = images.without({str(i.path) for i in images.images[22:40]})
    rows: dict[str, Rows] = {}
    for setting in ("none", balance):
        made = tuner(balance=setting)
        folder = tmp_path / setting
        folder.mkdir()
        made.run([phase(made, "cached", epochs=6)], few, part(shapes, 1, 2), folder,
                 lambda found, setting=setting: rows.update({setting: found}))  # fmt: skip
    assert rows["none"][0]["train_loss"] != rows[balance][0]["train_loss"]


def test_a_second_walk_trains_nothing_and_reports_everything(
    shapes: Path, part: Callable[..., Part], tmp_path: Path
) -> None:
    """As after a kill between the last epoch and the end."""
    images, held = part(shapes, 0, 2), part(shapes, 1, 2)
    reports: list[Rows] = []
    found = []
    for _ in range(2):
        made = tuner()
        plans = [phase(made, "cached", epochs=2), phase(made, "images", epochs=2)]
        score = made.run(plans, images, held, tmp_path, lambda rows: reports.append(list(rows)))
        found.append((score, state(made.network.module), reports[-1]))
    assert found[0][0] == found[1][0]
    assert found[0][2] == found[1][2]
    assert len(found[0][2]) == 4
    assert all(torch.equal(value, found[1][1][key]) for key, value in found[0][1].items())


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "lcnet_035"])
def test_a_classifier_that_is_not_defined_last(
    name: str, shapes: Path, part: Callable[..., Part], tmp_path: Path
) -> None:
    made = tuner(name)
    made.run([phase(made, "cached")], part(shapes, 0, 6), None, tmp_path, lambda rows: None)
    assert (tmp_path / "last-1.safetensors").is_file()


def test_steps_release_layers_of_a_network(
    shapes: Path, part: Callable[..., Part], tmp_path: Path
) -> None:
    """Head and late stages from the cache, then from the images; each epoch its layers."""
    made = tuner(patience=99)
    cuts = {stage.name: before.cut for before, stage in pairwise(made.evaluation.stages)}
    later = (
        Step(1, "from layer4", cuts["layer4"], "cached"),
        Step(2, "from layer3", cuts["layer3"], "images"),
    )
    plan = phase(made, "cached", cuts["fc"], epochs=3, later=later)
    states = [state(made.network.module)]
    made.run([plan], part(shapes, 0, 3), None, tmp_path,
             lambda rows: states.append(state(made.network.module)))  # fmt: skip
    found = [
        {name.split(".")[0] for name in one if not torch.equal(one[name], other[name])}
        for one, other in pairwise(states)
    ]
    assert found == [{"fc"}, {"layer4", "fc"}, {"layer3", "layer4", "fc"}]
    assert all(p.requires_grad for p in made.network.module.parameters())


def test_parameters_after_a_cut_that_stay_frozen(
    shapes: Path, part: Callable[..., Part], tmp_path: Path
) -> None:
    made = tuner()
    names = [name for name, _ in made.network.module.named_parameters()]
    still = tuple(name for name in names if "bn" in name)
    before = state(made.network.module)
    plan = phase(made, "images", INPUT, frozen=still, epochs=2)
    made.run([plan], part(shapes, 0, 3), None, tmp_path, lambda rows: None)
    after = state(made.network.module)
    changed = {name for name in names if not torch.equal(before[name], after[name])}
    assert changed == set(names) - set(still)
    assert all(p.requires_grad for p in made.network.module.parameters())


def test_a_random_network_learns_at_one_rate(
    shapes: Path, part: Callable[..., Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers further from the head are no better than those near it."""
    from bowerbird.training import optim

    peaks: list[set[float]] = []
    make = optim.make_optimizer

    def noted(*arguments: Any, **named: Any) -> torch.optim.Optimizer:
        found = make(*arguments, **named)
        peaks.append({group["peak"] for group in found.param_groups})
        return found

    monkeypatch.setattr(optim, "make_optimizer", noted)
    made = tuner()
    plan = phase(made, "images", INPUT, batch_norm="trained")
    made.run([plan], part(shapes, 0, 6), None, tmp_path, lambda rows: None)
    assert peaks == [{0.01}]


def test_kept_epochs_count_those_of_earlier_phases() -> None:
    rows = [{"phase": "finetune"}] * 5 + [{"phase": "probe"}]
    facts = {"rows": rows, "epoch": 3, "best": {"within": 2}}
    assert tuning._kept(facts) == [4]
    assert tuning._kept({**facts, "best": {"within": 2, "soup": [1, 3]}}) == [3, 5]
    assert tuning._kept({**facts, "best": {"within": 0}}) == []
