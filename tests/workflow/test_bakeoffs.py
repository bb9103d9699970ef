"""`bowerbird bakeoff` from DATA to a recommendation, stopped and gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

import bowerbird as bb
from bowerbird import progress
from bowerbird.comparison import contest as contests
from bowerbird.comparison.bakeoff import Bakeoff
from bowerbird.comparison.halving import Round
from bowerbird.errors import ConfigError, DataError, Interrupted, ModelError, RunError
from bowerbird.evaluation import looks
from bowerbird.features.cache import Store
from bowerbird.models.networks import create_model
from bowerbird.workflow.bakeoffs import bakeoff
from drawing import draw_folder

MODELS = "test_resnet=none,test_efficientnet=none"
FAST: dict[str, Any] = {"image_size": 32, "offline": True, "workers": 1, "device": "cpu"}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    return draw_folder(folder, split={"train": 40, "val": 20, "test": 4}, size=40)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(progress, "say", found.append)
    return found


@pytest.fixture
def appended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hashes whose features were computed and kept, in order."""
    found: list[str] = []
    original = Store.append

    def append(self: Store, hashes: Any, values: Any) -> None:
        found.extend(hashes)
        original(self, hashes, values)

    monkeypatch.setattr(Store, "append", append)
    return found


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without page and figures, which take their time."""
    monkeypatch.setattr("bowerbird.report.of_bakeoff.write_bakeoff", lambda *_: None)


def same(one: Bakeoff, other: Bakeoff) -> bool:
    return [r.to_dict() for r in one.rounds] == [r.to_dict() for r in other.rounds]


def test_networks_are_compared_and_written(
    data: Path, tmp_path: Path, appended: list[str], said: list[str]
) -> None:
    out = tmp_path / "found"
    found = bb.bakeoff(data, MODELS, out=out, budget="5m", **FAST)
    assert isinstance(found, bb.Bakeoff)
    assert [ended.images for ended in found.rounds] == [90, 180]
    assert found.finished
    assert found.way == "left-out"
    assert {arm.name for arm in found.arms} == set(MODELS.split(","))
    assert all(arm.milliseconds > 0 and arm.megabytes > 0.1 for arm in found.arms)
    assert found.best.accuracy > 0.6  # the classes differ in colour
    assert len(appended) == 2 * 180
    assert {path.name for path in out.iterdir()} == {
        "bakeoff.html", "bakeoff.json", "bakeoff.csv", "rounds.csv", "images.png", "cost.png",
        "state.json",
    }  # fmt: skip
    written = json.loads((out / "bakeoff.json").read_text())
    assert written["recommended"] == found.recommended.name
    assert written["settings"]["network"] == {"image_size": 32, "offline": True}
    assert "Test images were left alone." in found.notes
    assert any(line.startswith("90 of 180 images:") for line in said)


def test_poor_features_are_noted(
    data: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr("bowerbird.comparison.bakeoff.POOR", 1.01)
    found = bakeoff(data, MODELS, **FAST)
    assert found.notes[-1] == found.cautions[0]
    assert "hardly know these images" in found.notes[-1]
    assert any("180 images in 2 rounds:" in line for line in said)


def test_test_images_are_never_computed_nor_looked_at(
    data: Path, appended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_append", lambda *_: pytest.fail("test was looked at"))
    bakeoff(data, MODELS, **FAST)
    dataset = bb.read_images(data)
    parts = bb.split(dataset)
    test = {str(parts.hashes[int(i)]) for i in parts.indices("test")}
    assert len(test) == 12
    assert not test & set(appended)


def test_the_commands_repeat_what_was_asked(data: Path, tmp_path: Path, undrawn: None) -> None:
    weights = tmp_path / "my weights.safetensors"
    save_file(
        dict(create_model("test_resnet", weights="none", seed=3).module.state_dict()), weights
    )
    found = bakeoff(
        data, [f"test_resnet={weights}", "test_efficientnet=none"], budget=240.0, seed=2,
        split=bb.SplitConfig(lock_test=True, split_seed=1), out=tmp_path / "o p", **FAST,
    )  # fmt: skip
    assert {arm.name for arm in found.arms} == {
        "test_resnet=my weights.safetensors",
        "test_efficientnet=none",
    }
    assert found.arms[0].origin in ("my weights.safetensors", "random initialisation")
    taken = found.recommended
    named = f"'{weights}'" if taken.model == "test_resnet" else "none"
    assert found.commands["train"] == (
        f"bowerbird train {data} --model {taken.model} --weights {named} --split-seed 1 "
        "--lock-test --image-size 32 --device cpu --workers 1"
    )
    assert found.commands["again"] == (
        f"bowerbird bakeoff {data} --models 'test_resnet={weights},test_efficientnet=none' "
        "--budget 240.0 --split-seed 1 --lock-test --image-size 32 --device cpu --workers 1 "
        f"--seed 2 --offline --out '{tmp_path / 'o p'}'"
    )


@pytest.mark.parametrize("stopped_after", [0, 1])
def test_stopped_it_goes_on_and_computes_nothing_twice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, appended: list[str],
    said: list[str], undrawn: None, stopped_after: int,
) -> None:  # fmt: skip
    whole = bakeoff(data, MODELS, out=tmp_path / "whole", **FAST)
    monkeypatch.setenv("BOWERBIRD_CACHE", str(tmp_path / "another cache"))
    appended.clear()
    rounds: list[Round] = []
    judge = contests.judged

    def stopping(*given: Any) -> Any:
        if len(rounds) == 2 * stopped_after + 1:  # before the second network is judged
            raise KeyboardInterrupt
        rounds.append(given)
        return judge(*given)

    monkeypatch.setattr(contests, "judged", stopping)
    out = tmp_path / "found"
    with pytest.raises(Interrupted, match="Go on with: bowerbird bakeoff ") as caught:
        bakeoff(data, MODELS, out=out, **FAST)
    assert f"--out {out}" in str(caught.value)
    kept = json.loads((out / "state.json").read_text())
    assert len(kept["rounds"]) == stopped_after
    assert kept["seconds"] > 0
    assert not (out / "bakeoff.json").exists()
    monkeypatch.setattr(contests, "judged", judge)
    found = bakeoff(data, MODELS, out=out, **FAST)
    assert same(found, whole)
    assert len(appended) == 2 * 180  # of both sittings together
    assert found.seconds > kept["seconds"]
    assert [arm.milliseconds for arm in found.arms] == sorted(kept["milliseconds"].values())
    assert any("Going on after 90" in line for line in said) == bool(stopped_after)


def test_a_finished_one_is_told_again_without_work(
    data: Path, tmp_path: Path, appended: list[str], said: list[str], undrawn: None
) -> None:
    first = bakeoff(data, MODELS, out=tmp_path / "found", **FAST)
    appended.clear()
    again = bakeoff(data, MODELS, out=tmp_path / "found", budget="1h", **FAST)
    assert same(first, again)
    assert again.recommended == first.recommended
    assert again.seconds == first.seconds
    assert appended == []
    assert any("finished: nothing is computed again" in line for line in said)


def test_another_one_in_the_same_folder_replaces_it(
    data: Path, tmp_path: Path, said: list[str], undrawn: None
) -> None:
    bakeoff(data, MODELS, out=tmp_path / "found", **FAST)
    other = bakeoff(data, MODELS + ",test_vit=none", out=tmp_path / "found", **FAST)
    assert len(other.arms) == 3
    assert any("holds another bake-off; it is replaced" in line for line in said)
    (tmp_path / "found" / "state.json").write_text("{")
    assert same(other, bakeoff(data, MODELS + ",test_vit=none", out=tmp_path / "found", **FAST))


def test_a_short_budget_ends_early_and_a_longer_one_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    original = contests.Contest.affordable

    def short(self: contests.Contest, arms: Any, images: int) -> int:
        return min(120, images) if self.limit.seconds < 100 else original(self, arms, images)

    monkeypatch.setattr(contests.Contest, "affordable", short)
    some = bakeoff(data, MODELS, out=tmp_path / "found", budget="99s", **FAST)
    assert [ended.images for ended in some.rounds] == [90, 120]
    assert not some.finished
    assert any("enough for 120 of 180 images" in note for note in some.notes)
    rest = bakeoff(data, MODELS, out=tmp_path / "found", budget="10m", **FAST)
    assert [ended.images for ended in rest.rounds] == [90, 120, 180]
    assert rest.finished


def test_networks_without_time_get_another_chance_with_a_longer_budget(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    original = contests.Contest.within_reach

    def short(self: contests.Contest, first: int) -> Any:
        arms, late = original(self, first)
        return (arms, late) if self.limit.seconds > 99 else (arms[:2], {arms[2]: "no time for it"})

    monkeypatch.setattr(contests.Contest, "within_reach", short)
    models, out = MODELS + ",test_vit=none", tmp_path / "found"
    some = bakeoff(data, models, out=out, budget="99s", **FAST)
    assert len(some.arms) == 2
    assert list(some.skipped.values()) == ["no time for it"]
    assert len(bakeoff(data, models, out=out, budget="90s", **FAST).arms) == 2
    assert len(bakeoff(data, models, out=out, budget="5m", **FAST).arms) == 3


def test_networks_without_weights_are_told_and_left_out(data: Path) -> None:
    found = bakeoff(data, "resnet26.bt_in1k," + MODELS, **FAST)
    assert list(found.skipped) == ["resnet26.bt_in1k"]
    assert "No pretrained weights for resnet26.bt_in1k" in found.skipped["resnet26.bt_in1k"]
    assert found.skipped["resnet26.bt_in1k"].endswith(
        "--models resnet26.bt_in1k=FILE, or leave it out."
    )
    alone = bakeoff(data, "resnet26.bt_in1k,test_resnet=none", **FAST)
    assert alone.recommended.name == "test_resnet=none"
    assert "It was the only one that could be tried." in alone.reasons
    with pytest.raises(ModelError, match="None of the networks can take part:\n  - resnet26"):
        bakeoff(data, "resnet26.bt_in1k,resnet50.a1_in1k", **FAST)


def test_the_same_weights_under_two_names_take_part_once(data: Path, tmp_path: Path) -> None:
    tensors = dict(create_model("test_resnet", weights="none").module.state_dict())
    for name in ("a", "b"):
        save_file(tensors, tmp_path / f"{name}.safetensors")
    models = ",".join(f"test_resnet={tmp_path / name}.safetensors" for name in ("a", "b"))
    found = bakeoff(data, f"{models},test_vit=none", **FAST)
    assert len(found.arms) == 2
    assert found.skipped == {
        "test_resnet=b.safetensors": "It has the same weights as test_resnet=a.safetensors."
    }


def test_unreadable_images_are_left_out(data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    files = sorted((copy / "train").rglob("*.jpg"))
    files[0].write_bytes(b"no picture")
    files[50].write_bytes(files[50].read_bytes()[:200])
    found = bakeoff(copy, MODELS, **FAST)
    assert found.rounds[-1].of == 178
    assert found.finished


def test_an_image_that_vanishes_on_the_way_counts_for_none(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    judge = contests.Contest.judge

    def losing(self: contests.Contest, arms: Any, images: int) -> Any:
        self.pool.images[150].path.unlink(missing_ok=True)
        return judge(self, arms, images)

    monkeypatch.setattr(contests.Contest, "judge", losing)
    found = bakeoff(copy, MODELS, **FAST)
    assert {len(right) for right in found.rounds[-1].correct.values()} == {179}
    assert any("1 image could not be read" in note for note in found.notes)


def test_bad_requests_are_refused_before_any_work(
    data: Path, tmp_path: Path, appended: list[str]
) -> None:
    with pytest.raises(ModelError, match=r"called 'test_resnett'\. Did you mean test_res"):
        bakeoff(data, "test_resnett=none,test_vit=none", **FAST)
    with pytest.raises(ConfigError, match="named twice"):
        bakeoff(data, "test_vit=none,test_vit=none", **FAST)
    with pytest.raises(ConfigError, match="compares two networks or more"):
        bakeoff(data, "test_vit=none", **FAST)
    with pytest.raises(ConfigError, match="is not a duration"):
        bakeoff(data, MODELS, budget="soon", **FAST)
    with pytest.raises(ConfigError, match="decides on"):
        bakeoff(data, MODELS, decide_on="test", **FAST)
    with pytest.raises(ConfigError, match="image_size"):
        bakeoff(data, MODELS, image_size=2)
    with pytest.raises(ConfigError, match="workers"):
        bakeoff(data, MODELS, workers=0)
    with pytest.raises(ConfigError, match="seed"):
        bakeoff(data, MODELS, seed=-1)
    with pytest.raises(RunError, match="only ever read"):
        bakeoff(data, MODELS, out=data / "bakeoff", **FAST)
    single = draw_folder(tmp_path / "single", classes=["circle"], per_class=12)
    with pytest.raises(DataError, match="at least two"):
        bakeoff(single, MODELS, **FAST)
    assert appended == []


def test_a_budget_too_small_names_the_smallest_that_would_do(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    with pytest.raises(ConfigError, match=r"budget of 0 s is too short.*about --budget \d+s"):
        bakeoff(data, MODELS, budget="0.01s", out=out, **FAST)
    assert not out.exists()


def test_validation_may_decide(data: Path) -> None:
    found = bakeoff(data, MODELS, decide_on="validation", **FAST)
    assert found.way == "validation"
    assert found.rounds[-1].of == 180
    leaked = set(bb.split(bb.read_images(data)).leaked)  # nearly the same as a training image
    fair = [i for i in bb.split(bb.read_images(data)).indices("val") if int(i) not in leaked]
    assert found.best.judged == len(fair) > 50
