"""`ablate` from DATA to its tables: the same for every arm, interrupted, failed, refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bowerbird.comparison.ablation import Ablation
from bowerbird.config import NetworkConfig, Recipe, SplitConfig, TrainConfig, load_recipe
from bowerbird.errors import (
    BowerbirdError,
    ConfigError,
    DataError,
    Interrupted,
    ModelError,
    RunError,
)
from bowerbird.evaluation.looks import looks_at
from bowerbird.progress import log_to
from bowerbird.runs import load_run
from bowerbird.training import fit as real_fit
from bowerbird.workflow import ablating
from bowerbird.workflow.ablating import ablate
from drawing import draw_folder

NETWORK = NetworkConfig(model="test_resnet", weights="none", image_size=32, offline=True)
PLAIN = TrainConfig(method="plain", epochs=1, precision="float32", workers=1, views=1)
VARY = ["lr=1e-3,3e-2,1e-2"]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One thread, and reports without figures, for time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(
        "bowerbird.report.of_run.write_report",
        lambda run, *_, **__: (run.path / "report.html").write_text("told"),
    )
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    return draw_folder(folder, split={"train": 8, "val": 6, "test": 4}, size=40)


def recipe(data: Path, **train: Any) -> Recipe:
    settings = PLAIN.model_copy(update=train)
    return Recipe(data=str(data), network=NETWORK, train=settings)


def stopping(monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> list[str]:
    """`fit` raises at the `at`th run; the names of all runs that were begun."""
    begun: list[str] = []

    def fit(*arguments: Any, **named: Any) -> Any:
        begun.append(Path(named["out"]).name)
        if len(begun) == at:
            raise error
        return real_fit(*arguments, **named)

    monkeypatch.setattr("bowerbird.training.fit", fit)
    return begun


def scores(found: Ablation) -> dict[str, tuple[float, ...]]:
    return {result.arm.name: result.accuracies for result in found.results}


def test_every_arm_has_the_same_images_seeds_and_budget(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = ablate(recipe(data), out, vary=VARY, seeds=2)
    assert [result.arm.name for result in found.results] == [
        "learning-rate=0.001", "learning-rate=0.03", "learning-rate=0.01",
    ]  # fmt: skip
    folders = sorted(path.name for path in (out / "runs").iterdir())
    assert folders == sorted(
        f"learning-rate={lr}-{s}" for lr in (0.001, 0.03, 0.01) for s in (0, 1)
    )
    runs = [load_run(out / "runs" / name) for name in folders]
    assert len({(run.path / "manifest.csv").read_text() for run in runs}) == 1
    assert {run.recipe.train.seed for run in runs} == {0, 1}
    assert {run.recipe.train.epochs for run in runs} == {1}
    assert {result.epochs for result in found.results} == {1}
    assert {run.recipe.train.learning_rate for run in runs} == {1e-3, 3e-2, 1e-2}
    assert found.images == 18
    assert not any((run.path / "predictions_test.csv").exists() for run in runs)
    assert not any(list(run.state.glob("*.safetensors")) for run in runs)
    assert all(run.finished for run in runs)


def test_what_is_written(data: Path, tmp_path: Path) -> None:
    out, copy = tmp_path / "out", tmp_path / "there" / "best.toml"
    found = ablate(recipe(data), out, vary=VARY[:1], seeds=2, winner=copy)
    there = {path.name for path in out.iterdir()}
    assert there >= {
        "ablation.json", "ablation.csv", "ablation.html", "arms.json", "changes.png", "winner.toml",
        "log.txt", "runs",
    }  # fmt: skip
    assert not list(out.rglob(".part-*"))
    told = json.loads((out / "ablation.json").read_text())
    assert told["winner"] == found.winner
    assert told["settings"]["recipe"]["train"]["epochs"] == 1
    with (out / "ablation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["arm"] for row in rows] == [result.arm.name for result in found.results]
    assert copy.read_bytes() == (out / "winner.toml").read_bytes()
    winner = load_recipe(copy)
    assert (
        winner.train.learning_rate == found[found.winner or ""].arm.settings["train.learning_rate"]
    )
    assert not winner.split.lock_test
    assert (winner.data, winner.train.seed) == (str(data), 0)
    page = (out / "ablation.html").read_text()
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert "<script" not in page


def test_what_is_done_is_not_done_again_and_more_seeds_can_follow(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ablate(recipe(data), tmp_path / "out", vary=VARY, seeds=1)
    begun = stopping(monkeypatch, 0, RuntimeError())
    again = ablate(recipe(data), tmp_path / "out", vary=VARY, seeds=1)
    assert begun == []
    assert scores(again) == scores(first)
    more = ablate(recipe(data), tmp_path / "out", vary=[f"{VARY[0]},5e-3"], seeds=2)
    assert begun == [
        "learning-rate=0.005-0", "learning-rate=0.001-1", "learning-rate=0.03-1",
        "learning-rate=0.01-1", "learning-rate=0.005-1",
    ]  # fmt: skip
    assert more.base.accuracies[0] == first.base.accuracies[0]


@pytest.mark.parametrize("error", [Interrupted("stopped"), KeyboardInterrupt()])
def test_an_interrupted_ablation_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    with monkeypatch.context() as patch:
        stopping(patch, 4, error)
        with pytest.raises(Interrupted, match=r"3 of 6 runs are done\. The same command goes on"):
            ablate(recipe(data), tmp_path / "out", vary=VARY, seeds=2)
    assert (tmp_path / "out" / "ablation.json").is_file()  # of the first seed
    half = tmp_path / "out" / "runs" / "learning-rate=0.001-1"
    half.mkdir()
    (half / "config.toml").write_text("cut o")
    resumed = ablate(recipe(data), tmp_path / "out", vary=VARY, seeds=2)
    whole = ablate(recipe(data), tmp_path / "other", vary=VARY, seeds=2)
    assert scores(resumed) == scores(whole)


def test_a_run_that_was_stopped_in_its_training_is_resumed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bowerbird.training.tuning.Tuner.run", stop)
        with pytest.raises(Interrupted, match="0 of 2 runs"):
            ablate(recipe(data), tmp_path / "out", vary=["lr=1e-3,1e-2"], seeds=1)
    before = (tmp_path / "out" / "runs" / "learning-rate=0.001-0" / "manifest.csv").stat()
    found = ablate(recipe(data), tmp_path / "out", vary=["lr=1e-3,1e-2"], seeds=1)
    after = (tmp_path / "out" / "runs" / "learning-rate=0.001-0" / "manifest.csv").stat()
    assert after.st_mtime_ns == before.st_mtime_ns
    assert [len(result.outcomes) for result in found.results] == [1, 1]


def test_a_failed_run_is_named_and_the_rest_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stopping(patch, 2, ValueError("no such thing"))
        found = ablate(recipe(data), out, vary=VARY, seeds=2)
    assert [(f.arm, f.seed) for f in found.failures] == [("learning-rate=0.03", 0)]
    assert found.failures[0].reason == "ValueError: no such thing"
    note = out / "failures" / "learning-rate=0.03-0.txt"
    assert "Traceback" in note.read_text()
    assert found["learning-rate=0.03"].change is not None
    assert found["learning-rate=0.03"].change.difference.seeds == 1
    assert "no such thing" in (out / "ablation.html").read_text()
    again = ablate(recipe(data), out, vary=VARY, seeds=2)
    assert again.failures == ()
    assert not note.exists()


def test_where_every_run_fails_the_first_reason_is_given(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ModelError("It has no layers.")

    monkeypatch.setattr("bowerbird.training.fit", fail)
    with pytest.raises(RunError, match=r"Every run failed.*learning-rate=0\.001.*no layers"):
        ablate(recipe(data), tmp_path / "out", vary=VARY, seeds=1)


def test_other_settings_need_another_folder(data: Path, tmp_path: Path) -> None:
    ablate(recipe(data), tmp_path / "out", vary=["lr=1e-3,1e-2"], seeds=1)
    with pytest.raises(ConfigError, match=r"train\.epochs was 1 and is now 2"):
        ablate(recipe(data, epochs=2), tmp_path / "out", vary=["lr=1e-3,1e-2"], seeds=1)
    with pytest.raises(ConfigError, match="kind was 'vary' and is now 'ladder'"):
        ablate(recipe(data), tmp_path / "out", seeds=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no ablation"):
        ablate(recipe(data), tmp_path / "mine", vary=["lr=1e-3,1e-2"], seeds=1)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    (tmp_path / "out" / "arms.json").write_text("{")
    with pytest.raises(RunError, match=r"arms\.json is damaged"):
        ablate(recipe(data), tmp_path / "out", vary=["lr=1e-3,1e-2"], seeds=1)


def test_only_one_process_at_a_time(data: Path, tmp_path: Path) -> None:
    with ablating._alone(tmp_path / "out"), pytest.raises(RunError, match="Another process"):
        ablate(recipe(data), tmp_path / "out", vary=["lr=1e-3,1e-2"], seeds=1)


@pytest.mark.parametrize(
    ("how", "train", "error", "words"),
    [
        ({"vary": ["model=test_resnet,resnet1"]}, {}, ModelError, "The arm model=resnet1 can't"),
        ({"vary": ["optimizer=adamw,adamv"]}, {}, ConfigError, "optimizer=adamv.*Did you mean"),
        ({"vary": ["freeze-until=none,layr4"]}, {}, BowerbirdError, "The arm freeze-until=layr4"),
        ({"vary": ["lr=1e-3,1e-2"], "ladder": []}, {}, ConfigError, "Choose one"),
        ({"grid": True}, {}, ConfigError, "--grid combines"),
        ({"seeds": 0}, {}, ConfigError, "--seeds 0"),
        ({}, {"refit": True}, ConfigError, "--refit"),
        ({}, {"method": "probe"}, ConfigError, "--augment is without effect with --method probe"),
        ({"vary": ["momentum=0.8,0.9"]}, {}, ConfigError, "would be the same training: --momentum"),
        ({"vary": ["lerning-rate=1,2"]}, {}, ConfigError, "Did you mean learning-rate"),
        ({"ladder": ["flop"]}, {}, ConfigError, "Did you mean flip"),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_anything_is_trained(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    how: dict[str, Any], train: dict[str, Any], error: type[BowerbirdError], words: str,
) -> None:  # fmt: skip
    begun = stopping(monkeypatch, 0, RuntimeError())
    with pytest.raises(error, match=words):
        ablate(recipe(data, **train), tmp_path / "out", **how)
    assert begun == []
    assert not (tmp_path / "out").exists()


def test_images_that_arms_cannot_be_judged_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw_folder(tmp_path / "few", per_class=6, size=40)
    none = recipe(folder).model_copy(update={"split": SplitConfig(val=0, test=0.2)})
    with pytest.raises(DataError, match="no validation images"):
        ablate(none, tmp_path / "out", vary=VARY)
    untested = recipe(folder).model_copy(update={"split": SplitConfig(val=0.3, test=0)})
    with pytest.raises(ConfigError, match="no test images"):
        ablate(untested, tmp_path / "out", vary=VARY, test_winner=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="without torchrun"):
        ablate(recipe(data), tmp_path / "out", vary=VARY)


def test_the_winner_alone_is_looked_at_once_on_test(data: Path, tmp_path: Path) -> None:
    for _ in range(2):
        found = ablate(
            recipe(data), tmp_path / "out", vary=["lr=1e-3,1e-2"], seeds=2, test_winner=True
        )
    assert found.test is not None
    assert found.test.n == 12
    opened = {
        path.parent.name for path in (tmp_path / "out" / "runs").glob("*/predictions_test.csv")
    }
    assert opened == {f"{found.winner}-0"}
    run = load_run(found[found.winner or ""].outcomes[0].run)
    looks = looks_at(run, run.manifest()[1])
    assert looks is not None
    assert (looks.times, looks.runs) == (1, 1)


def test_what_nobody_said_is_set_and_told(data: Path, tmp_path: Path) -> None:
    free = recipe(data, method="auto", epochs=None)
    asked, notes = ablating.ready(free, ablating.arms_of(free, ["flip"], None, (), False)[1])
    assert (asked.train.method, asked.train.epochs) == ("finetune", 12)
    assert asked.split.lock_test
    assert [words.split(",")[0] for words in notes] == [
        "Every arm is fine-tuned (--method finetune)", "Every arm has 12 epochs",
    ]  # fmt: skip
    timed = recipe(data, epochs=None, budget="1m")
    assert ablating.ready(timed, ablating.arms_of(timed, None, None, (), False)[1])[1] == []
    probes = recipe(data, method="probe")
    found = ablate(probes, tmp_path / "out", vary=["views=1,2"])
    assert found.seeds == (0,)
    assert "One seed per arm: there is no chance in a probe." in found.notes


def test_under_a_time_limit_unlike_numbers_of_epochs_are_told() -> None:
    from bowerbird.comparison.ablation import Outcome

    limited = Recipe(data="x", train=TrainConfig(budget="1m"))
    made = [Outcome("a", 0, "", (), torch.ones(1).numpy(), 0.1, 1.0, n) for n in (3, 5)]
    assert "3 to 5 epochs" in ablating.on_epochs(limited, made)[0]
    assert ablating.on_epochs(limited, made[:1]) == []


def test_images_that_changed_meanwhile_are_told(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "data", split={"train": 6, "val": 4}, size=40)
    ablate(recipe(folder), tmp_path / "out", vary=["lr=1e-3,1e-2"], seeds=1)
    draw_folder(folder, split={"val": 5}, size=40, seed=9)
    with log_to(tmp_path / "said"):
        found = ablate(recipe(folder), tmp_path / "out", vary=["lr=1e-3,1e-2"], seeds=1)
    assert "have changed since this ablation began" in (tmp_path / "said").read_text()
    assert found.images == 12
