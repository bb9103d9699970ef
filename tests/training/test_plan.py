from __future__ import annotations

import copy
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
from bowerbird.models.freezing import freezing
from bowerbird.models.networks import create_model
from bowerbird.training import cost, memory
from bowerbird.training.batches import Part
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.phases import PhasePlan
from bowerbird.training.plan import fitting_batch, make_plan, resolved, worth_tuning
from bowerbird.training.tuning import Tuner

Make = Callable[..., Tuner]


@pytest.fixture(scope="module")
def known() -> dict[str, Tuner]:
    """Networks that are traced already: planning doesn't change them."""
    return {}


@pytest.fixture
def tuner(weights: Path, known: dict[str, Tuner]) -> Make:
    def made(source: str | None = None, **settings: Any) -> Tuner:
        given = source or str(weights)
        head = settings.pop("head", "linear")
        config = TrainConfig(**({"batch_size": 8, "precision": "float32"} | settings))
        key = given + head
        if key not in known:
            network = create_model(
                "test_resnet", num_classes=3, weights=given, image_size=32, head=head
            )
            known[key] = Tuner(network, config, FeatureCache(), 1, StopSignal(), "cpu")
        found = copy.copy(known[key])
        found.config = config
        return found

    return made


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Let an epoch of the last stages, and of the deeper layers, take so many seconds."""

    def set_to(last: float, deep: float) -> None:
        def known(*_: Any, cached: bool = False) -> cost.Cost:
            return cost.Cost(last if cached else deep, "float32")

        monkeypatch.setattr(cost, "measure", known)

    return set_to


def timeless(phases: list[PhasePlan]) -> list[PhasePlan]:
    return [dataclasses.replace(phase, seconds=0) for phase in phases]


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
        timeless(make_plan(made, part(shapes).images, made.config, budget))
        for budget in (0.001, 1e6)
        for made in [tuner(epochs=5)]
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
    made = tuner(epochs=1, freeze_until="layer2")
    phase = make_plan(made, part(shapes).images, made.config, 60.0)[-1]
    assert phase.name == "from layer2"
    trained = made.training.suffix(phase.cut)
    names = {name.split(".")[0] for name, _ in trained.named_parameters()}
    assert names == {"layer2", "layer3", "layer4", "fc"}


def test_a_late_stage_trains_from_the_cache_in_one_phase(
    tuner: Make, shapes: Path, part: Callable[..., Part]
) -> None:
    made = tuner(epochs=4, freeze_until="fc")
    (phase,) = make_plan(made, part(shapes).images, made.config)
    assert (phase.name, phase.source, phase.epochs) == ("head", "cached", 4)


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
    again = tuner(**resolved(first, made.config))
    second = make_plan(again, part(shapes).images, again.config, 100.0)
    assert timeless(first) == timeless(second)


def test_a_head_that_is_new_learns_first(
    tuner: Make, shapes: Path, part: Callable[..., Part]
) -> None:
    """By gradient descent, on cached features: a probe can't learn it."""
    made = tuner(head="16", epochs=5)
    head, last, deep = make_plan(made, part(shapes).images, made.config, probed=False)
    assert (head.name, head.source, head.epochs) == ("head", "cached", 20)
    assert head.cut == made.evaluation.before_classifier()
    learnt = {name for name, _ in made.training.suffix(head.cut).named_parameters()}
    assert learnt == {n for n, _ in made.network.module.named_parameters() if n.startswith("fc.")}
    assert any("hidden" in name for name in learnt)
    assert (last.epochs, deep.epochs) == (3, 5)


def test_a_new_head_learns_even_if_there_is_time_for_nothing(
    tuner: Make, shapes: Path, part: Callable[..., Part], seconds: Callable[[float, float], None]
) -> None:
    """Else it would stay as it was drawn."""
    seconds(5.0, 50.0)
    for method in ("finetune", "gradual", "plain"):
        made = tuner(method=method)
        phases = make_plan(made, part(shapes).images, made.config, 4.0, probed=False)
        assert [phase.steps[0].name for phase in phases] == [
            "all layers" if method == "plain" else "head"
        ]
        assert phases[0].epochs >= 1


# Gradual


def steps(phase: PhasePlan) -> list[tuple[int, str, str, float]]:
    return [(step.epoch, step.name, step.source, step.share) for step in phase.steps]


def test_gradual_releases_the_later_half_from_the_head_backwards(
    tuner: Make, shapes: Path, part: Callable[..., Part], seconds: Callable[[float, float], None]
) -> None:
    seconds(1.0, 1.0)
    made = tuner(method="gradual", epochs=8)
    images = part(shapes).images
    (phase,) = make_plan(made, images, made.config)  # the head has been learnt by the probe
    assert steps(phase) == [(0, "from layer4", "cached", 1.0), (4, "from layer3", "cached", 0.5)]
    (phase,) = make_plan(made, images, made.config, probed=False)
    assert steps(phase) == [
        (0, "head", "cached", 1.0),
        (2, "from layer4", "cached", 0.5),
        (5, "from layer3", "cached", 0.25),
    ]
    assert (phase.epochs, phase.batch_norm, phase.precision) == (8, "frozen", "float32")


def test_gradual_with_fewer_epochs_than_steps(
    tuner: Make, shapes: Path, part: Callable[..., Part]
) -> None:
    """One each, as far as they go."""
    made = tuner(method="gradual", epochs=2)
    (phase,) = make_plan(made, part(shapes).images, made.config, probed=False)
    assert [step[:2] for step in steps(phase)] == [(0, "head"), (1, "from layer4")]


def test_gradual_as_asked_for(
    tuner: Make, shapes: Path, part: Callable[..., Part], seconds: Callable[[float, float], None]
) -> None:
    seconds(1.0, 1.0)
    made = tuner(
        method="gradual", unfreeze={0: "head", 2: "layer4", 5: "layer1"}, unfreeze_factor=0.1
    )
    images = part(shapes).images
    for probed in (True, False):
        (phase,) = make_plan(made, images, made.config, probed=probed)
        assert [step[:3] for step in steps(phase)] == [
            (0, "head", "cached"),
            (2, "from layer4", "cached"),
            (5, "from layer1", "images"),
        ]
        assert [step[3] for step in steps(phase)] == pytest.approx([1.0, 0.1, 0.01])
        assert phase.epochs == 5 + 4
    made = tuner(method="gradual", unfreeze={2: "layer4"}, epochs=3)
    (phase,) = make_plan(made, images, made.config)
    assert [step[:2] for step in steps(phase)] == [(0, "head"), (2, "from layer4")]
    assert phase.epochs == 3


def test_gradual_as_far_as_freezing_allows(
    tuner: Make, shapes: Path, part: Callable[..., Part], seconds: Callable[[float, float], None]
) -> None:
    seconds(1.0, 1.0)
    found = {}
    for word in ("layer1", "layer4", "head"):
        made = tuner(method="gradual", epochs=6, freeze_until=word)
        (phase,) = make_plan(made, part(shapes).images, made.config)
        found[word] = [step.name for step in phase.steps]
    assert found == {
        "layer1": ["from layer4", "from layer2", "from layer1"],
        "layer4": ["from layer4"],
        "head": ["head"],
    }


FROZEN: list[dict[str, str]] = [
    {"freeze_until": "layer3.0.conv2"},
    {"freeze_until": "layer4.0.conv2"},
    {"freeze_until": "fc.bias"},
    {"freeze": "*.bn?.*"},
    {"freeze": "layer4"},
    {"freeze": "fc"},
    {"freeze": "0.6"},
]


@pytest.mark.parametrize("settings", FROZEN, ids=str)
@pytest.mark.parametrize("method", ["finetune", "gradual", "plain"])
@pytest.mark.parametrize("probed", [True, False])
def test_what_is_frozen_stays_frozen_in_every_phase_and_step(
    tuner: Make,
    shapes: Path,
    part: Callable[..., Part],
    method: str,
    settings: dict[str, str],
    probed: bool,
    seconds: Callable[[float, float], None],
) -> None:
    """And in the end all that isn't frozen learns."""
    seconds(1.0, 1.0)
    made = tuner(method=method, epochs=6, **settings)
    module = made.network.module
    allowed = set(freezing(made.evaluation, module, **settings).trainable)
    phases = make_plan(made, part(shapes).images, made.config, probed=probed)
    learnt: set[str] = set()
    for step in [step for phase in phases for step in phase.steps]:
        names = {name for name, _ in made.training.suffix(step.cut).named_parameters()}
        learning = names - set(step.frozen)
        assert learning, f"{step} trains nothing"
        assert learning <= allowed, step
        learnt |= learning
    assert learnt == allowed


def test_steps_that_are_frozen_release_nothing(
    tuner: Make, shapes: Path, part: Callable[..., Part], seconds: Callable[[float, float], None]
) -> None:
    seconds(1.0, 1.0)
    made = tuner(method="gradual", unfreeze={0: "head", 2: "layer4"}, freeze="layer4")
    with pytest.raises(ConfigError, match="2=layer4 releases nothing"):
        make_plan(made, part(shapes).images, made.config)
    made = tuner(method="gradual", unfreeze={0: "head", 2: "layer3"}, freeze="layer4")
    (phase,) = make_plan(made, part(shapes).images, made.config)
    assert {name.split(".")[0] for name in phase.later[0].frozen} == {"layer4"}


def test_gradual_ends_with_a_layer_that_is_no_stage(
    shapes: Path, part: Callable[..., Part], seconds: Callable[[float, float], None], tuner: Make
) -> None:
    seconds(1.0, 1.0)
    made = tuner(method="gradual", epochs=8, freeze="conv1.0")
    (phase,) = make_plan(made, part(shapes).images, made.config)
    names = ["from layer4", "from layer2", "from layer1", "from --freeze conv1.0"]
    assert [step.name for step in phase.steps] == names
    assert resolved([phase], made.config) == {"epochs": 8}


def test_gradual_without_augmentation_comes_from_the_cache(
    tuner: Make, shapes: Path, part: Callable[..., Part], seconds: Callable[[float, float], None]
) -> None:
    seconds(1.0, 1.0)
    made = tuner(method="gradual", augment="none", unfreeze={0: "head", 1: "layer1", 2: "conv1"})
    (phase,) = make_plan(made, part(shapes).images, made.config)
    assert [step.source for step in phase.steps] == ["cached", "cached", "images"]
    assert phase.steps[-1].cut == INPUT


@pytest.mark.parametrize("budget", [1.0, 7.0, 30.0, 200.0, 1e5])
def test_gradual_fits_the_budget(
    tuner: Make,
    shapes: Path,
    part: Callable[..., Part],
    seconds: Callable[[float, float], None],
    budget: float,
) -> None:
    seconds(2.0, 10.0)
    made = tuner(method="gradual", freeze_until="layer1")
    phases = make_plan(made, part(shapes).images, made.config, budget)
    assert spent(phases) <= budget
    if budget == 1:
        assert phases == []
        return
    (phase,) = phases
    ends = [*(step.epoch for step in phase.later), phase.epochs]
    lasting = [end - step.epoch for step, end in zip(phase.steps, ends, strict=True)]
    assert min(lasting) >= 1
    costs = {"cached": 2.0, "images": 10.0}
    by_hand = sum(n * costs[step.source] for n, step in zip(lasting, phase.steps, strict=True))
    assert phase.seconds == pytest.approx(by_hand)
    assert phase.epochs == {7.0: 1, 30.0: 3, 200.0: 20, 1e5: 20}[budget]


def test_gradual_with_statistics_that_learn_runs_from_the_images(
    tuner: Make, shapes: Path, part: Callable[..., Part], seconds: Callable[[float, float], None]
) -> None:
    """The frozen layers' statistics learn, too, so nothing may be computed once."""
    seconds(1.0, 1.0)
    made = tuner(method="gradual", batch_norm="trained", epochs=4)
    (phase,) = make_plan(made, part(shapes).images, made.config)
    assert {(step.cut, step.source) for step in phase.steps} == {(INPUT, "images")}
    assert [step.name for step in phase.steps] == ["from layer4", "from layer3"]
    names = {name for name, _ in made.network.module.named_parameters()}
    learnt = [{n.split(".")[0] for n in names - set(step.frozen)} for step in phase.steps]
    assert learnt == [{"layer4", "fc"}, {"layer3", "layer4", "fc"}]


# Plain


def test_plain_is_one_phase_over_all_layers(
    tuner: Make, shapes: Path, part: Callable[..., Part]
) -> None:
    made = tuner(method="plain", epochs=3)
    (phase,) = make_plan(made, part(shapes).images, made.config, probed=False)
    assert (phase.name, phase.cut, phase.source) == ("all layers", INPUT, "images")
    assert (phase.epochs, phase.batch_norm, phase.frozen, phase.later) == (3, "frozen", (), ())


def test_plain_over_all_that_is_not_frozen(
    tuner: Make, shapes: Path, part: Callable[..., Part], seconds: Callable[[float, float], None]
) -> None:
    seconds(1.0, 1.0)
    images = part(shapes).images
    made = tuner(method="plain", epochs=3, freeze="conv1,bn1,layer1,layer2")
    (phase,) = make_plan(made, images, made.config)
    learnt = {name for name, _ in made.training.suffix(phase.cut).named_parameters()}
    assert {name.split(".")[0] for name in learnt} == {"layer3", "layer4", "fc"}
    assert phase.source == "images"
    made = tuner(method="plain", epochs=3, freeze="conv1,bn1,layer1,layer2", augment="none")
    assert make_plan(made, images, made.config)[0].source == "cached"


def test_plain_with_frozen_layers_whose_statistics_learn(
    tuner: Make, shapes: Path, part: Callable[..., Part]
) -> None:
    made = tuner(method="plain", epochs=1, freeze_until="layer4.0.conv2", batch_norm="trained")
    (phase,) = make_plan(made, part(shapes).images, made.config)
    assert (phase.cut, phase.source, phase.batch_norm) == (INPUT, "images", "trained")
    order = [name for name, _ in made.network.module.named_parameters()]
    assert set(phase.frozen) == set(order[: order.index("layer4.0.conv2.weight")])


@pytest.mark.parametrize(("budget", "epochs"), [(1.0, 1), (35.0, 3), (1e6, 20), (None, 12)])
def test_plain_fits_the_budget(
    tuner: Make,
    shapes: Path,
    part: Callable[..., Part],
    seconds: Callable[[float, float], None],
    budget: float | None,
    epochs: int,
) -> None:
    """But for one epoch, without which there would be no result."""
    seconds(2.0, 10.0)
    made = tuner(method="plain")
    (phase,) = make_plan(made, part(shapes).images, made.config, budget)
    assert phase.epochs == epochs


# What a run's config.toml repeats


REPEATED: dict[str, tuple[dict[str, Any], bool]] = {
    "finetune": ({}, True),
    "last stages only": ({"budget": "20s"}, True),
    "new head": ({"head": "16"}, False),
    "new head and last stages": ({"head": "16", "budget": "20s"}, False),
    "new head only": ({"head": "16", "budget": "1s"}, False),
    "finetune from a layer": ({"freeze_until": "layer3.0.conv2"}, True),
    "finetune with patterns": ({"freeze": "*.bn?.*"}, True),
    "finetune with statistics": ({"batch_norm": "trained"}, True),
    "finetune unchanged": ({"augment": "none"}, True),
    "gradual": ({"method": "gradual"}, True),
    "gradual with head": ({"method": "gradual"}, False),
    "gradual as asked": ({"method": "gradual", "unfreeze": {0: "head", 3: "layer3"}}, False),
    "gradual from a layer": ({"method": "gradual", "freeze_until": "layer2"}, True),
    "gradual with patterns": ({"method": "gradual", "freeze": "*.bn?.*"}, True),
    "gradual with a share": ({"method": "gradual", "freeze": "0.8"}, False),
    "gradual with a layer": ({"method": "gradual", "freeze": "conv1.0"}, True),
    "gradual within a stage": ({"method": "gradual", "freeze_until": "layer3.0.conv2"}, True),
    "gradual with statistics": ({"method": "gradual", "batch_norm": "trained"}, True),
    "plain": ({"method": "plain"}, False),
    "plain from a layer": ({"method": "plain", "freeze_until": "layer3.0.conv2"}, False),
}


@pytest.mark.parametrize("name", REPEATED)
def test_resolved_settings_give_the_plan_again_with_every_method(
    name: str,
    tuner: Make,
    shapes: Path,
    part: Callable[..., Part],
    seconds: Callable[[float, float], None],
) -> None:
    settings, probed = REPEATED[name]
    images = part(shapes).images
    seconds(3.0, 11.0)
    made = tuner(**settings)
    first = make_plan(made, images, made.config, made.config.budget_seconds, probed=probed)
    found = resolved(first, made.config)
    again = TrainConfig(**made.config.model_dump() | found)
    assert again == TrainConfig(**made.config.model_copy(update=found).model_dump())
    if found:
        seconds(90.0, 900.0)  # a slower machine
    second = make_plan(tuner(**settings), images, again, again.budget_seconds, probed=probed)
    assert timeless(second) == timeless(first)
    assert first


# Batch size


@pytest.mark.parametrize(
    ("settings", "source"),
    [
        ({}, None),
        ({"method": "gradual"}, None),
        ({"method": "gradual", "unfreeze": {0: "head", 3: "layer1"}}, None),
        ({"method": "plain"}, None),
        ({"freeze_until": "layer4"}, None),
        ({}, "none"),
    ],
    ids=str,
)
def test_a_batch_that_fits_where_most_is_trained(
    settings: dict[str, Any],
    source: str | None,
    tuner: Make,
    shapes: Path,
    part: Callable[..., Part],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = tuner(source, batch_size="auto", **settings)
    images = part(shapes).images
    before = {name: v.clone() for name, v in made.network.module.state_dict().items()}
    sizes = []
    for free in (0, 1 << 20, 2 << 20, 20 << 20, 1 << 40):
        monkeypatch.setattr(memory, "available_memory", lambda free=free: free)
        sizes.append(fitting_batch(made, images, made.config))
    assert (sizes[0], sizes[-1]) == (2, 256)
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 2
    for name, value in made.network.module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_more_layers_that_learn_need_smaller_batches(
    tuner: Make, shapes: Path, part: Callable[..., Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 10 << 20)
    sizes = []
    for settings in ({"freeze_until": "head"}, {"freeze_until": "layer3"}, {"method": "plain"}):
        made = tuner(batch_size="auto", **settings)
        sizes.append(fitting_batch(made, part(shapes).images, made.config))
    assert sizes[0] > sizes[1] > sizes[2]
