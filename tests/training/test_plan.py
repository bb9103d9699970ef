from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bowerbird.config import TrainConfig
from bowerbird.errors import ConfigError
from bowerbird.features import FeatureCache
from bowerbird.models.cuts import INPUT
from bowerbird.models.networks import create_model
from bowerbird.training import plan as plans
from bowerbird.training.batches import Part
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.loop import PhasePlan
from bowerbird.training.plan import check_settings, make_plan, resolved, worth_tuning
from bowerbird.training.tuning import Tuner

Make = Callable[..., Tuner]


@pytest.fixture
def tuner(weights: Path) -> Make:
    def made(source: str | None = None, **settings: Any) -> Tuner:
        given = source or str(weights)
        network = create_model("test_resnet", num_classes=3, weights=given, image_size=32)
        config = TrainConfig(batch_size=8, precision="float32", **settings)
        return Tuner(network, config, FeatureCache(), 1, StopSignal(), "cpu")

    return made


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Let an epoch of the last stages, and of the deeper layers, take so many seconds."""

    def set_to(last: float, deep: float) -> None:
        cost = plans._cost

        def known(*arguments: Any, cached: bool = False) -> Any:
            found = cost(*arguments, cached=cached)
            return dataclasses.replace(found, epoch=last if cached else deep)

        monkeypatch.setattr(plans, "_cost", known)

    return set_to


def spent(phases: list[PhasePlan]) -> float:
    return sum(phase.seconds for phase in phases)


@pytest.mark.parametrize(("deep", "epochs"), [(1.0, 12), (60.0, 12), (100.0, 8), (250.0, 3)])
def test_the_default_is_twelve_epochs_or_a_quarter_of_an_hour(
    tuner: Make,
    shapes: Path,
    part: Callable[..., Part],
    seconds: Callable[[float, float], None],
    deep: float,
    epochs: int,
) -> None:
    seconds(1.0, deep)
    made = tuner()
    phases = make_plan(made, part(shapes).images, made.config)
    assert phases[-1].epochs == epochs
    assert spent(phases) <= max(900.0, 12 * 61.0)


@pytest.mark.parametrize("wrong", range(5))
def test_worth_tuning_where_validation_can_tell(wrong: int) -> None:
    worth, why = worth_tuning(wrong, 150)
    assert worth == (wrong > 2)
    assert f"{wrong} of 150 validation images" in why
    assert ("1 of 150 validation images is" in why) == (wrong == 1)


def test_epochs_decide_and_nothing_is_measured_into_the_plan(
    tuner: Make, shapes: Path, part: Callable[..., Part]
) -> None:
    plain = [
        [dataclasses.replace(phase, seconds=0) for phase in phases]
        for phases in (
            make_plan(made, part(shapes).images, made.config, budget)
            for budget in (0.001, 1e6)
            for made in [tuner(epochs=5)]
        )
    ]
    assert plain[0] == plain[1]
    last, deep = plain[0]
    assert (last.source, last.epochs, deep.source, deep.epochs) == ("cached", 3, "images", 5)
    assert last.precision == deep.precision == "float32"


@pytest.mark.parametrize("budget", [10.0, 60.0, 400.0, 1e5])
def test_the_plan_fits_the_budget(
    tuner: Make,
    shapes: Path,
    part: Callable[..., Part],
    seconds: Callable[[float, float], None],
    budget: float,
) -> None:
    seconds(2.0, 10.0)
    made = tuner()
    phases = make_plan(made, part(shapes).images, made.config, budget)
    assert spent(phases) <= budget
    if budget == 10:
        assert [phase.source for phase in phases] == ["cached"]
    if budget >= 60:
        assert phases[-1].source == "images"
        assert phases[-1].epochs >= 3
    if budget == 1e5:
        assert phases[-1].epochs == 20


def test_no_time_for_anything(
    tuner: Make, shapes: Path, part: Callable[..., Part], seconds: Callable[[float, float], None]
) -> None:
    seconds(5.0, 50.0)
    made = tuner()
    assert make_plan(made, part(shapes).images, made.config, 4.0) == []


def test_measuring_learns_nothing(tuner: Make, shapes: Path, part: Callable[..., Part]) -> None:
    made = tuner()
    before = {name: v.clone() for name, v in made.network.module.state_dict().items()}
    make_plan(made, part(shapes).images, made.config, 60.0)
    for name, value in made.network.module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in made.network.module.parameters())
    assert not any(m.training for m in made.network.module.modules())


def test_random_weights_train_everything(
    tuner: Make, shapes: Path, part: Callable[..., Part]
) -> None:
    made = tuner("none", epochs=2)
    (phase,) = make_plan(made, part(shapes).images, made.config, 60.0)
    assert (phase.cut, phase.batch_norm, phase.epochs) == (INPUT, "trained", 2)


def test_the_deep_phase_trains_at_least_what_the_last_one_does(
    tuner: Make, shapes: Path, part: Callable[..., Part]
) -> None:
    made = tuner(epochs=2)
    last, deep = make_plan(made, part(shapes).images, made.config, 60.0)
    order = [INPUT, *made.evaluation.cuts]
    assert order.index(deep.cut) <= order.index(last.cut)


def test_a_stage_by_name(tuner: Make, shapes: Path, part: Callable[..., Part]) -> None:
    made = tuner(epochs=1, train_from="layer2")
    phase = make_plan(made, part(shapes).images, made.config, 60.0)[-1]
    assert phase.name == "from layer2"
    trained = made.training.suffix(phase.cut)
    names = {name.split(".")[0] for name, _ in trained.named_parameters()}
    assert names == {"layer2", "layer3", "layer4", "fc"}


def test_an_unknown_stage_is_an_error_that_names_the_stages(tuner: Make) -> None:
    made = tuner(epochs=1, train_from="layer9")
    with pytest.raises(ConfigError, match=r"'layer9'.*layer1, layer2"):
        check_settings(made.network, made.config)


def test_a_stage_of_a_random_network_is_refused(tuner: Make) -> None:
    made = tuner("none", epochs=1, train_from="layer2")
    with pytest.raises(ConfigError, match="would stay random"):
        check_settings(made.network, made.config)


def test_a_late_stage_trains_from_the_cache_in_one_phase(
    tuner: Make, shapes: Path, part: Callable[..., Part]
) -> None:
    made = tuner(epochs=4, train_from="fc")
    (phase,) = make_plan(made, part(shapes).images, made.config)
    assert (phase.name, phase.source, phase.epochs) == ("from fc", "cached", 4)


def test_without_augmentation_everything_frozen_comes_from_the_cache(
    tuner: Make, shapes: Path, part: Callable[..., Part]
) -> None:
    made = tuner(epochs=2, augment="none")
    assert {p.source for p in make_plan(made, part(shapes).images, made.config)} == {"cached"}


def test_resolved_settings_give_the_plan_again(
    tuner: Make, shapes: Path, part: Callable[..., Part], seconds: Callable[[float, float], None]
) -> None:
    seconds(1.0, 7.0)
    made = tuner()
    first = make_plan(made, part(shapes).images, made.config, 100.0)
    seconds(90.0, 900.0)  # a slower machine
    again = tuner(**resolved(first))
    second = make_plan(again, part(shapes).images, again.config, 100.0)
    plain = [[dataclasses.replace(p, seconds=0) for p in phases] for phases in (first, second)]
    assert plain[0] == plain[1]
