from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from bowerbird import storage
from bowerbird.config import NetworkConfig, Recipe, TrainConfig, load_recipe
from bowerbird.data.dataset import Dataset
from bowerbird.data.sources import read_images
from bowerbird.data.splitting.splits import Split, split
from bowerbird.errors import (
    BowerbirdError,
    ConfigError,
    DataError,
    Interrupted,
    ModelError,
    RunError,
    WeightsError,
)
from bowerbird.evaluation.predict import evaluate
from bowerbird.features.cache import Store
from bowerbird.models.networks import create_model
from bowerbird.runs import Run, load_run
from bowerbird.training import fit, optim, plan, resume
from bowerbird.training.checkpoint import load_checkpoint
from bowerbird.training.loop import Phase
from bowerbird.training.tuning import Tuner

Fit = Callable[..., Run]
Whole = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """Numbers of uninterrupted runs, by their settings."""
    return {}


@pytest.fixture
def go(shapes: Path, parts: Split, weights: Path, tmp_path: Path) -> Fit:
    """Fit a tiny network on the drawn shapes; options as in the settings."""

    def made(out: str = "run", **settings: Any) -> Run:
        usual = {"workers": 1, "precision": "float32", "batch_size": 8, "method": "probe"}
        recipe = tiny(weights, offline=True, **(usual | settings))
        return fit(None, read_images(shapes), parts, out=tmp_path / out, recipe=recipe)

    return made


@pytest.fixture
def whole(go: Fit, known: dict[str, Any]) -> Whole:
    """The numbers of an uninterrupted run; each is run once."""

    def found(**settings: Any) -> dict[str, Any]:
        key = repr(sorted(settings.items()))
        if key not in known:
            known[key] = numbers(go("whole", **settings))
            shutil.rmtree(storage.cache_home())
        return dict(known[key])

    return found


def tiny(file: Path, /, **settings: Any) -> Recipe:
    """A recipe of timm's test_resnet; settings of the network and of training together."""
    network: dict[str, Any] = {"model": "test_resnet", "weights": str(file), "image_size": 32}
    for name in NetworkConfig.model_fields.keys() & settings:
        network[name] = settings.pop(name)
    return Recipe(network=NetworkConfig(**network), train=TrainConfig(**settings))


def numbers(run: Run) -> dict[str, Any]:
    """All that must be the same when a run is repeated."""
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in run.history()]
    tests = evaluate(run, "test").predictions
    assert tests is not None
    return {
        "weights": (run.path / "model" / "model.safetensors").read_bytes(),
        "history": rows,
        "predictions": tests.to_csv(),
        "chosen": run.environment()["chosen"],
    }


@pytest.fixture
def tuned(
    go: Fit, known: dict[str, Any], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A copy of a fine-tuned run that lacks its end: the model."""
    if "tuned" not in known:
        run = go("tuned", method="finetune", epochs=2)
        known["numbers of tuned"] = numbers(run)
        shutil.rmtree(run.path / "model")
        folder = tmp_path_factory.mktemp("kept") / "run"
        known["tuned"] = shutil.move(run.path, folder)
    return load_run(shutil.copytree(known["tuned"], tmp_path / "copy of tuned"))


def log(run: Run) -> str:
    return (run.path / "log.txt").read_text()


def test_a_probe(go: Fit, parts: Split) -> None:
    run = go()
    assert run.finished
    assert run.environment()["chosen"] == "probe"
    rows = run.history()
    assert {row["phase"] for row in rows} == {"probe"}
    (chosen,) = [row for row in rows if row["chosen"]]
    val = evaluate(run, "val")
    assert chosen["val_accuracy"] == pytest.approx(val.accuracy)
    assert chosen["val_loss"] == pytest.approx(val.log_loss, rel=1e-3)
    assert evaluate(run, "test").n == len(parts.indices("test"))
    assert not (run.state / "plan.json").exists()


def test_features_that_are_all_alike_are_said(go: Fit) -> None:
    dead = ("append layer4 Threshold(1000000.0, 0.0)",)
    run = go(surgery=dead)
    said = log(run)
    assert run.environment()["features_alike"] is True
    assert "features of all training images are the same" in said
    assert "take --method finetune --batch-norm trained" in said
    settings = {"method": "finetune", "epochs": 1, "batch_norm": "trained"}
    other = log(go("other", surgery=dead, **settings))
    assert "statistics of its own" in other
    assert "take --method" not in other
    alive = go("alive")
    assert "are the same" not in log(alive)
    assert "features_alike" not in alive.environment()


def test_frozen_means_frozen(go: Fit, weights: Path) -> None:
    run = go()
    initial = create_model("test_resnet", num_classes=3, weights=str(weights), image_size=32)
    found = run.network().module.state_dict()
    for name, value in initial.module.state_dict().items():
        assert torch.equal(value, found[name]) != name.startswith("fc."), name


def test_fine_tuning_follows_the_written_plan(go: Fit) -> None:
    run = go(method="finetune", epochs=2)
    written = json.loads((run.state / "plan.json").read_text())
    assert [phase["source"] for phase in written] == ["cached", "images"]
    rows = [row for row in run.history() if row["phase"] == "finetune"]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    names = [phase["name"] for phase in written for _ in range(phase["epochs"])]
    assert [row["step_name"] for row in rows] == names
    assert run.environment()["chosen"] == "finetune"
    assert run.environment()["parameters_learned"] > 1000


@pytest.mark.parametrize("method", ["finetune", "auto"])
def test_training_that_spoils_what_it_began_from_leaves_the_probe(
    go: Fit, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(plan, "worth_tuning", lambda *_: (True, ""))
    probed = go("alone")
    run = go("spoilt", method=method, epochs=1, learning_rate=10.0)
    assert run.environment()["chosen"] == "probe"
    rows = [row for row in run.history() if row["phase"] == "finetune"]
    assert rows
    assert not any(row.get("chosen") for row in rows)
    best = max(row["val_accuracy"] for row in rows)
    assert f"reached {best:.1%} on validation, no better than" in log(run)
    assert "Fine-tuned:" not in log(run)
    found, wanted = run.network().module.state_dict(), probed.network().module.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_plan_that_is_there_is_followed(tuned: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in tuned.state.glob("*.safetensors"):
        file.unlink()
    phases = json.loads((tuned.state / "plan.json").read_text())
    storage.write_json(tuned.state / "plan.json", phases[:1])
    monkeypatch.setattr(plan, "make_plan", lambda *_, **__: pytest.fail("it plans anew"))
    rows = [row for row in resume(tuned).history() if row["phase"] == "finetune"]
    assert [row["step_name"] for row in rows] == [phases[0]["name"]]


def test_stopped_just_before_the_end_nothing_is_missing(tuned: Run, known: dict[str, Any]) -> None:
    storage.write_text(tuned.path / "history.csv", "")
    for file in tuned.path.glob("predictions_*"):
        file.unlink()
    assert numbers(resume(tuned)) == known["numbers of tuned"]


def test_the_same_settings_give_the_same_bits(go: Fit) -> None:
    first, second = (numbers(go(f"run{n}", method="finetune", epochs=2, workers=n)) for n in (1, 2))
    assert first == second
    assert first != numbers(go("run3", method="finetune", epochs=2, seed=1))


def test_the_kept_recipe_repeats_the_run(
    go: Fit, shapes: Path, parts: Split, tmp_path: Path
) -> None:
    first = go(method="finetune", budget="3s")
    recipe = load_recipe(first.path / "config.toml")
    second = fit(None, read_images(shapes), parts, out=tmp_path / "again", recipe=recipe)
    assert numbers(first) == numbers(second)


@pytest.mark.parametrize(("wrong", "tried"), [(2, False), (3, True)])
def test_auto_tunes_only_where_validation_can_tell(
    go: Fit, monkeypatch: pytest.MonkeyPatch, wrong: int, tried: bool
) -> None:
    worth = plan.worth_tuning
    monkeypatch.setattr(plan, "worth_tuning", lambda _, images: worth(wrong, images))
    run = go(method="auto", epochs=1)
    assert (run.state / "plan.json").is_file() == tried
    assert worth(wrong, 12)[1] in log(run)


@pytest.mark.parametrize(("gain", "kept"), [(0.1, "finetune"), (0.0, "probe"), (-0.1, "probe")])
def test_auto_keeps_what_is_better_on_validation(
    go: Fit, monkeypatch: pytest.MonkeyPatch, gain: float, kept: str
) -> None:
    probe = go("probe")
    (row,) = [row for row in probe.history() if row["chosen"]]
    monkeypatch.setattr(plan, "worth_tuning", lambda *_: (True, ""))

    def scored(tuner: Tuner, *_: Any) -> tuple[float, float]:
        with torch.no_grad():
            tuner.network.module.get_parameter("fc.bias").add_(1)
        tuner.kept = [1]
        return row["val_accuracy"] + gain, row["val_loss"] / 2

    monkeypatch.setattr(Tuner, "run", scored)
    run = go("auto", method="auto", epochs=1)
    assert run.environment()["chosen"] == kept
    files = [(r.path / "model" / "model.safetensors").read_bytes() for r in (probe, run)]
    assert (files[0] == files[1]) == (kept == "probe")
    assert f"{row['val_accuracy']:.1%}" in log(run)


def test_a_budget_that_is_too_short_leaves_the_probe(
    go: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "make_plan", lambda *_, **__: [])
    run = go(method="finetune")
    assert run.environment()["chosen"] == "probe"
    assert "too short" in log(run)


# Methods


def learnt(run: Run, weights: Path) -> set[str]:
    """Modules at the top that differ from the pretrained ones."""
    initial = create_model("test_resnet", num_classes=3, weights=str(weights), image_size=32)
    found = run.network().module.state_dict()
    before = initial.module.state_dict()
    return {n.split(".")[0] for n, value in before.items() if not torch.equal(value, found[n])}


def test_gradual_releases_stage_by_stage(go: Fit, weights: Path) -> None:
    run = go(method="gradual", epochs=4, learning_rate=0.01)
    (phase,) = json.loads((run.state / "plan.json").read_text())
    assert [step["name"] for step in phase["later"]] == ["from layer3"]
    rows = [row for row in run.history() if row["phase"] == "finetune"]
    assert [row["step_name"] for row in rows] == ["from layer4"] * 2 + ["from layer3"] * 2
    assert learnt(run, weights) <= {"layer3", "layer4", "fc"}
    assert "fc" in learnt(run, weights)
    assert load_recipe(run.path / "config.toml").train.unfreeze == ("0=layer4", "2=layer3")
    assert "from layer3 (cached) from epoch 3 on" in log(run)


def test_gradual_as_asked_for_from_a_random_head(go: Fit) -> None:
    run = go(
        method="gradual", unfreeze={0: "head", 1: "layer4", 2: "layer2"}, epochs=4,
        head_start="random", learning_rate=0.01,
    )  # fmt: skip
    rows = run.history()
    assert {row["phase"] for row in rows} == {"finetune"}
    assert [row["step_name"] for row in rows] == [
        "head", "from layer4", "from layer2", "from layer2",
    ]  # fmt: skip
    rates = [row["learning_rate"] for row in rows]
    assert rates[1] < rates[0]
    assert run.environment()["chosen"] == "finetune"


@pytest.mark.parametrize("soup", [1, 3])
def test_the_history_marks_the_epochs_that_were_kept(go: Fit, soup: int) -> None:
    run = go(method="plain", epochs=4, learning_rate=0.01, soup=soup)
    saved = load_checkpoint(run.state / "last-1.safetensors")
    assert saved is not None
    best = saved.facts["best"]
    expected = best.get("soup") or [best["within"]]
    assert [row["epoch"] for row in run.history() if row["chosen"] == 1] == expected
    assert len(run.history()) == 4


def test_a_budget_too_short_for_anything_is_refused(
    go: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "make_plan", lambda *_, **__: [])
    with pytest.raises(ConfigError, match="too short to train anything"):
        go(method="finetune", head_start="random")


def test_plain_trains_all_layers_without_a_probe(go: Fit, weights: Path) -> None:
    run = go(method="plain", epochs=2, learning_rate=0.01)
    assert [row["step_name"] for row in run.history()] == ["all layers"] * 2
    assert learnt(run, weights) == {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}
    assert run.environment()["parameters_learned"] == run.network().parameters


def test_plain_with_frozen_layers(go: Fit, weights: Path) -> None:
    run = go(method="plain", epochs=2, freeze_until="layer3", learning_rate=0.01)
    assert learnt(run, weights) == {"layer3", "layer4", "fc"}
    named = run.network().module.named_parameters()
    counts = [p.numel() for n, p in named if n.split(".")[0] in ("layer3", "layer4", "fc")]
    assert run.environment()["parameters_learned"] == sum(counts)


def test_single_parameters_stay_frozen(go: Fit, weights: Path) -> None:
    run = go(method="finetune", epochs=2, freeze="*.bn?.*", learning_rate=0.01)
    initial = create_model("test_resnet", num_classes=3, weights=str(weights), image_size=32)
    found = run.network().module.state_dict()
    norms = [name for name in found if ".bn" in name]
    assert norms
    for name in norms:
        assert torch.equal(initial.module.state_dict()[name], found[name]), name


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("finetune", {"head": "16"}),
        ("gradual", {"head": "16"}),
        ("plain", {"head": "cosine"}),
        ("finetune", {"head_start": "random"}),
    ],
    ids=str,
)
def test_a_head_that_no_probe_has_learnt(go: Fit, method: str, settings: dict[str, str]) -> None:
    run = go(method=method, epochs=2, **settings)
    rows = run.history()
    assert {row["phase"] for row in rows} == {"finetune"}
    assert rows[0]["step_name"] == {"plain": "all layers"}.get(method, "head")
    val = evaluate(run, "val")
    assert max(row["val_accuracy"] for row in rows) == pytest.approx(val.accuracy)
    if "head" in settings:
        assert run.network().head == settings["head"]


def test_a_new_head_is_trained_however_short_the_budget(go: Fit) -> None:
    for method in ("gradual", "plain"):
        run = go(method, method=method, budget="0.001s", head_start="random")
        assert len(run.history()) >= 1
        assert run.environment()["parameters_learned"] > 0


def test_from_random_weights(go: Fit) -> None:
    run = go(method="finetune", pretrained=False, epochs=2)
    rows = [row for row in run.history() if row["phase"] == "finetune"]
    assert [row["step_name"] for row in rows] == ["all layers"] * 2
    last = load_checkpoint(run.state / "last-1.safetensors")
    assert last is not None
    counts = [int(v) for name, v in last.tensors.items() if name.endswith("batches_tracked")]
    assert set(counts) == {2 * 5}, "statistics of batch-norm have not learnt everywhere"
    assert run.environment()["network"]["weights"]["kind"] == "none"
    with pytest.raises(ConfigError, match="would stay random"):
        go("gradual", method="gradual", pretrained=False)


def test_a_second_softmax_is_refused_unless_wanted(go: Fit, tmp_path: Path) -> None:
    settings = {"method": "finetune", "epochs": 1, "surgery": ("append fc Softmax(1)",)}
    with pytest.raises(ModelError, match=r"ends in a softmax.*allow_double_softmax"):
        go(**settings)
    assert not (tmp_path / "run").exists()
    run = go(**settings, allow_double_softmax=True)
    tests = evaluate(run, "test").predictions
    assert tests is not None
    assert tests.probabilities.max() < np.e / (np.e + 2) + 1e-6  # the softmax of (1, 0, 0)


def test_everything_at_once(go: Fit) -> None:
    """Average, soup, accumulation, clipping, one-cycle, another optimizer."""
    run = go(
        method="gradual", epochs=4, ema=0.8, soup=2, accumulate=2, clip_norm=1.0, mixup=0.2,
        schedule="one-cycle", optimizer="lamb", learning_rate=0.02, batch_size=6,
    )  # fmt: skip
    assert len([row for row in run.history() if row["phase"] == "finetune"]) == 4
    assert len(list(run.state.glob("*epoch*"))) == 2
    (phase,) = json.loads((run.state / "plan.json").read_text())
    assert (phase["epochs"], len(phase["later"])) == (4, 1)


# Batch size


def test_the_size_that_fits_is_kept(
    go: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there is less memory when the run goes on."""
    settings = {"method": "finetune", "epochs": 2, "batch_size": "auto"}
    monkeypatch.setattr(plan, "fitting_batch", lambda *_: 16)
    expected = numbers(go("whole", **settings))
    shutil.rmtree(storage.cache_home())
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        stopped_at(optim, "set_rate", 5, signal.SIGINT, patched)
        go("stopped", **settings)
    run = load_run(tmp_path / "stopped")
    assert run.recipe.train.batch_size == 16
    assert "Batches of 16 images fit the memory" in log(run)
    monkeypatch.setattr(plan, "fitting_batch", lambda *_: pytest.fail("it is measured again"))
    assert numbers(resume(run)) == expected


def test_a_plan_is_repeated_where_the_run_was_killed_before_it_was_written(
    go: Fit, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured is in config.toml already; measuring anew would not come to the same."""
    settings = {"method": "gradual", "epochs": 3}
    expected = whole(**settings)
    write = storage.write_json

    def killed(path: Path, value: Any) -> None:
        if path.name == "plan.json":
            raise KeyboardInterrupt
        write(path, value)

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(storage, "write_json", killed)
        go("stopped", **settings)
    run = load_run(tmp_path / "stopped")
    assert run.recipe.train.unfreeze == ("0=layer4", "1=layer3")
    assert numbers(resume(run)) == expected


# Refit


def test_refit_learns_from_train_and_validation(
    go: Fit, parts: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bowerbird.training import probe

    sizes: list[tuple[int, bool]] = []
    fit_probe = probe.fit_probe

    def watched(views: Any, targets: Any, val: Any, *rest: Any) -> Any:
        assert {len(view) for view in views} == {len(targets)}
        sizes.append((len(targets), val is not None))
        return fit_probe(views, targets, val, *rest)

    monkeypatch.setattr(probe, "fit_probe", watched)
    run = go(refit=True)
    train, val = len(parts.indices("train")), len(parts.indices("val"))
    assert sizes == [(train, True), (train + val, False)]
    assert evaluate(run, "test").n == len(parts.indices("test"))
    assert numbers(run)["weights"] != numbers(go("plain"))["weights"]


def test_refit_of_a_fine_tuned_network(go: Fit) -> None:
    plain, refitted = (go(str(r), method="finetune", epochs=2, refit=r) for r in (False, True))
    assert (refitted.state / "refit" / "last-2.safetensors").is_file()
    assert numbers(plain)["history"] == numbers(refitted)["history"]
    assert numbers(plain)["weights"] != numbers(refitted)["weights"]
    assert evaluate(refitted, "test").accuracy > 0.5


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "gradual", "epochs": 4, "ema": 0.5, "soup": 2, "schedule": "plateau"},
        {"method": "plain", "epochs": 3},
    ],
    ids=str,
)
def test_refit_of_every_method(go: Fit, settings: dict[str, Any]) -> None:
    settings = {"learning_rate": 0.01, "head_start": "random", **settings}
    plain, refitted = (go(str(r), refit=r, **settings) for r in (False, True))
    assert numbers(plain)["history"] == numbers(refitted)["history"]
    assert numbers(plain)["weights"] != numbers(refitted)["weights"]
    saved = load_checkpoint(refitted.state / "last-1.safetensors")
    again = load_checkpoint(refitted.state / "refit" / "last-1.safetensors")
    assert saved is not None
    assert again is not None
    best = saved.facts["best"]
    assert len(again.facts["rows"]) == max([best["within"], *best.get("soup", [])])
    assert evaluate(refitted, "test").n > 0


def test_refit_when_tuning_made_nothing_better_is_a_refit_of_the_probe(go: Fit) -> None:
    settings = {"method": "finetune", "epochs": 1, "learning_rate": 1e30}
    tuned = go("tuned", refit=True, **settings)
    assert numbers(tuned)["weights"] == numbers(go("probe", refit=True))["weights"]


# Stopping and going on


def stopped_at(
    owner: Any, name: str, call: int, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the `call`-th call of a function be met by a signal."""
    original, calls = getattr(owner, name), 0

    def met(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), number)
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, met)


@pytest.mark.parametrize(
    ("owner", "name", "call", "number"),
    [
        (Store, "_write", 3, signal.SIGINT),
        (plan, "make_plan", 1, signal.SIGTERM),
        (optim, "set_rate", 7, signal.SIGTERM),
        (Phase, "validate", 3, signal.SIGINT),
        (Phase, "_take_best", 1, signal.SIGTERM),
        (Tuner, "_cached", 2, signal.SIGINT),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).rpartition(".")[2],
)
def test_stopped_it_goes_on_to_the_same_bits(
    go: Fit,
    whole: Whole,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    call: int,
    number: signal.Signals,
) -> None:
    settings = {"method": "finetune", "epochs": 2}
    expected = whole(**settings)
    with monkeypatch.context() as patched, pytest.raises(Interrupted) as caught:
        stopped_at(owner, name, call, number, patched)
        go("stopped", **settings)
    path = str(caught.value).rpartition("bowerbird resume ")[2]
    run = load_run(path)
    assert not run.finished
    with pytest.raises(RunError, match="bowerbird resume"):
        run.network()
    assert numbers(resume(run)) == expected


def test_stopped_in_refit(
    go: Fit, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"method": "finetune", "epochs": 2, "refit": True}
    expected = whole(**settings)
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        stopped_at(optim, "set_rate", 15 + 4, signal.SIGINT, patched)  # 15 steps before refit
        go("stopped", **settings)
    assert (tmp_path / "stopped" / "state" / "refit" / "last-1.safetensors").is_file()
    assert numbers(resume(load_run(tmp_path / "stopped"))) == expected


@pytest.mark.parametrize("call", [2, 5, 11])
def test_stopped_in_any_step_of_gradual_unfreezing(
    go: Fit, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Three steps of the optimizer an epoch, with everything that a phase keeps."""
    settings = {
        "method": "gradual", "epochs": 4, "ema": 0.8, "soup": 2, "accumulate": 2,
        "unfreeze": {0: "head", 1: "layer4", 2: "layer2"},
    }  # fmt: skip
    expected = whole(**settings)
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        stopped_at(optim, "set_rate", call, signal.SIGINT, patched)
        go("stopped", **settings)
    run = load_run(tmp_path / "stopped")
    assert len(run.history()) == len(expected["history"]) - 4 + (call - 1) // 3
    assert numbers(resume(run)) == expected


def test_resuming_a_finished_run_changes_nothing(go: Fit) -> None:
    run = go()
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p.is_file()}
    assert resume(load_run(run.path)).path == run.path
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p.is_file()} == before


def test_leftovers_of_a_cut_off_write_go_away(tuned: Run) -> None:
    for folder in (tuned.path, tuned.state):
        (folder / ".part-1234").write_bytes(b"half")
    resume(tuned)
    assert not list(tuned.path.rglob(".part-*"))


def test_the_disk_fills_up_while_saving(
    go: Fit, whole: Whole, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = {"method": "finetune", "epochs": 2}
    expected = whole(**settings)
    original, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if Path(f"/proc/self/fd/{descriptor}").resolve().parent.name == "state" and calls > 20:
            raise OSError(28, "No space left on device")
        original(descriptor)

    with monkeypatch.context() as patched, pytest.raises(RunError, match="No space left"):
        patched.setattr(os, "fsync", full)
        go("full", **settings)
    run = load_run(tmp_path / "full")
    assert run.history(), "what was saved before must be there"
    assert not list(run.path.rglob(".part-*"))
    assert numbers(resume(run)) == expected


# Damage


def test_a_damaged_plan(tuned: Run) -> None:
    for text in ("", "{", "[{}]", '[{"name": 1}]', "3"):
        (tuned.state / "plan.json").write_text(text)
        with pytest.raises(RunError, match=r"plan\.json can't be read"):
            resume(tuned)


def test_a_damaged_state(tuned: Run) -> None:
    (tuned.state / "last-1.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match=r"last-1\.safetensors is damaged"):
        resume(tuned)


def test_best_layers_that_are_gone_are_missed(tuned: Run) -> None:
    (tuned.state / "best-1.safetensors").unlink()
    with pytest.raises(RunError, match=r"best-1\.safetensors is missing"):
        resume(tuned)


def test_a_run_without_its_last_file_is_refused_at_once(tuned: Run) -> None:
    (tuned.path / "environment.json").unlink()
    with pytest.raises(RunError, match=r"environment\.json can't be read"):
        resume(tuned)


def test_a_damaged_cache_is_computed_again(go: Fit) -> None:
    expected = numbers(go("first"))
    for segment in storage.cache_home().rglob("*.seg"):
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 1
        segment.write_bytes(data)
    assert numbers(go("second")) == expected


@pytest.mark.parametrize("name", ["train", "val"])
def test_images_that_vanish_before_training_stop_it(
    shapes: Path, tmp_path: Path, weights: Path, name: str
) -> None:
    """Else a drive that is gone for a while would change the numbers in silence."""
    copy = Path(shutil.copytree(shapes, tmp_path / "copy"))
    dataset = read_images(copy)
    parts = split(dataset, 0.2, 0.2)
    dataset.path(int(parts.indices(name)[0])).unlink()
    recipe = tiny(weights, method="probe")
    with pytest.raises(DataError, match="Restore it, then go on with `bowerbird resume`"):
        fit(None, dataset, parts, out=tmp_path / "run", recipe=recipe)


def test_images_that_vanish_between_probe_and_tuning_stop_it(
    shapes: Path, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe's features are in the cache, those of the deeper cut aren't."""
    copy = Path(shutil.copytree(shapes, tmp_path / "copy"))
    dataset = read_images(copy)
    parts = split(dataset, 0.2, 0.2)
    victim = dataset.path(int(parts.indices("train")[5]))
    make_plan = plan.make_plan

    def late(*arguments: Any, **named: Any) -> Any:
        phases = make_plan(*arguments, **named)
        victim.unlink()
        return phases

    monkeypatch.setattr(plan, "make_plan", late)
    recipe = tiny(weights, method="finetune", epochs=1)
    with pytest.raises(DataError, match=f"{victim.name} could be read when this run began"):
        fit(None, dataset, parts, out=tmp_path / "run", recipe=recipe)


# Refusals: each before anything is written


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"model": "test_resnt"}, ModelError, "Did you mean test_resnet"),
        ({"weights": "nowhere.safetensors"}, WeightsError, "nowhere.safetensors"),
        ({"device": "cuda"}, ConfigError, "--device cpu"),
    ],
)
def test_a_mistake_leaves_no_folder_behind(
    go: Fit, tmp_path: Path, settings: dict[str, Any], error: type[BowerbirdError], words: str
) -> None:
    if "device" in settings and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(error, match=words):
        go(**settings)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_taken(go: Fit, tmp_path: Path) -> None:
    run = go()
    before = sorted(run.path.rglob("*"))
    with pytest.raises(RunError, match=r"never overwritten.*bowerbird resume"):
        go()
    assert sorted(run.path.rglob("*")) == before


def test_without_validation_there_is_nothing_to_choose_on(shapes: Path, tmp_path: Path) -> None:
    dataset = read_images(shapes)
    with pytest.raises(DataError, match="no validation images"):
        fit(None, dataset, split(dataset, 0, 0.2), out=tmp_path / "run")


def test_one_class(tmp_path: Path, shapes: Path) -> None:
    dataset = read_images(shapes)
    one = Dataset(dataset.root, dataset.samples[:20], dataset.classes[:1])
    with pytest.raises(DataError, match="at least two classes"):
        fit(None, one, split(one, 0.2, 0.2), out=tmp_path / "run")


def test_a_network_for_other_classes(shapes: Path, parts: Split, tmp_path: Path) -> None:
    network = create_model("test_resnet", num_classes=4, weights="none", image_size=32)
    with pytest.raises(ModelError, match=r"scores 4 classes, the data has 3.*num_classes=3"):
        fit(network, read_images(shapes), parts, out=tmp_path / "run")


def test_a_network_of_ones_own_is_kept_and_not_changed(
    shapes: Path, parts: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = create_model("test_resnet", num_classes=3, weights="none", image_size=32, seed=5)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    config = TrainConfig(method="finetune", epochs=1, batch_size=8, precision="float32")
    dataset = read_images(shapes)
    expected = numbers(fit(network, dataset, parts, config, out=tmp_path / "whole"))
    for name, value in network.module.state_dict().items():
        assert torch.equal(value, before[name]), name
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        stopped_at(optim, "set_rate", 2, signal.SIGINT, patched)
        fit(network, dataset, parts, config, out=tmp_path / "stopped")
    assert numbers(resume(load_run(tmp_path / "stopped"))) == expected


def test_duplicates_under_other_names_are_all_trained_on(
    shapes: Path, tmp_path: Path, weights: Path
) -> None:
    copy = Path(shutil.copytree(shapes, tmp_path / "copy"))
    for number in range(5):
        shutil.copy(copy / "disc" / "00.png", copy / "disc" / f"again{number}.png")
    dataset = read_images(copy)
    parts = split(dataset, 0.2, 0.2)
    recipe = tiny(weights, method="finetune", epochs=1)
    run = fit(None, dataset, parts, out=tmp_path / "run", recipe=recipe)
    assert sum(evaluate(run, on).n for on in ("train", "val", "test")) == 65


def test_an_image_a_pixel_wide(shapes: Path, tmp_path: Path, weights: Path) -> None:
    copy = Path(shutil.copytree(shapes, tmp_path / "copy"))
    random = np.random.default_rng(0)
    for number, size in enumerate([(1, 1), (300, 1), (1, 300), (2, 3)]):
        pixels = random.integers(0, 256, (*size, 3), np.uint8)
        Pillow.fromarray(pixels).save(copy / "disc" / f"tiny{number}.png")
    dataset = read_images(copy)
    parts = split(dataset, 0.2, 0.2)
    recipe = tiny(weights, method="finetune", epochs=1, augment="medium")
    assert fit(None, dataset, parts, out=tmp_path / "run", recipe=recipe).finished


def test_recipe_and_result_name_the_same_settings(go: Fit) -> None:
    run = go(views=1)
    assert load_recipe(run.path / "config.toml") == load_run(run.path).recipe
    assert isinstance(run.recipe, Recipe)
