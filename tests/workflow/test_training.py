"""Whole journeys as a script takes them: from a folder to a reported run, and on."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bowerbird import workflow
from bowerbird.auditing.applying import apply
from bowerbird.config import NetworkConfig, ReadConfig, Recipe, SplitConfig, TrainConfig
from bowerbird.errors import CacheError, ConfigError, DataError, Interrupted, RunError
from bowerbird.evaluation.results import Predictions
from bowerbird.progress import log_to
from bowerbird.runs import Run, load_run
from bowerbird.workflow import digits, predicting, reading
from data.web import served
from drawing import draw_folder

TINY = TrainConfig(method="probe", precision="float32", workers=1)
NETWORK = NetworkConfig(model="test_resnet", weights="none", image_size=32, offline=True)


@pytest.fixture(autouse=True)
def _alone(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("BOWERBIRD_CACHE", str(tmp_path_factory.mktemp("cache")))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "shapes", per_class=10, size=40)


@pytest.fixture
def run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A trained run; figures are left out, for time."""
    monkeypatch.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)
    return workflow.train(Recipe(data=str(data), network=NETWORK, train=TINY), tmp_path / "run")[0]


def test_from_a_folder_to_a_reported_run(data: Path, tmp_path: Path) -> None:
    run, evaluations = workflow.train(
        Recipe(data=str(data), network=NETWORK, train=TINY), tmp_path / "run"
    )
    assert set(evaluations) == {"val", "test"}
    there = {path.name for path in run.path.iterdir()}
    assert there >= {
        "config.toml", "classes.txt", "manifest.csv", "history.csv", "environment.json", "log.txt",
        "predictions_val.csv", "predictions_test.csv", "model", "figures", "report.html",
        "README.md", "metrics.json",
    }  # fmt: skip
    metrics = (run.path / "metrics.json").read_text()
    assert f"{evaluations['test'].accuracy}" in metrics
    json.loads(metrics)
    facts = run.environment()
    assert facts["chosen"] == "probe"
    assert facts["network"]["name"] == "test_resnet"
    assert not list(run.path.rglob(".part-*"))


def test_a_second_finish_gives_the_same(run: Run) -> None:
    first = (run.path / "predictions_test.csv").read_bytes()
    again = workflow.finish(load_run(run.path))
    assert again["test"].n > 0
    assert (run.path / "predictions_test.csv").read_bytes() == first


def test_without_a_test_split_only_validation_is_scored(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.report.of_run.write_report", lambda *_, **__: None)
    recipe = Recipe(data=str(data), network=NETWORK, train=TINY, split=SplitConfig(test=0))
    assert set(workflow.train(recipe, tmp_path / "run")[1]) == {"val"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_the_report_is_written(
    run: Run, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def slow(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)
        pytest.fail("nobody stopped it")

    monkeypatch.setattr("bowerbird.report.of_run.write_report", slow)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"bowerbird resume {run.path}"):
        workflow.finish(run)
    assert signal.getsignal(number) == before


def test_a_full_disk_while_the_report_is_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (run.path / "predictions_test.csv").unlink()
    monkeypatch.setattr(os, "fsync", full)
    words = f"No space left.*go on with: bowerbird resume {run.path}$"
    with pytest.raises((RunError, CacheError), match=words):
        workflow.finish(run)


def test_no_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No data is named"):
        workflow.train(Recipe(train=TINY), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_taken_folder_is_noticed_before_any_work(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("")
    monkeypatch.setattr(reading, "read_grouped", lambda *_: pytest.fail("read already"))
    with pytest.raises(RunError, match=r"never overwritten.*--out"):
        workflow.train(Recipe(data=str(data), network=NETWORK, train=TINY), tmp_path / "run")


def test_a_folder_of_data_whose_name_is_not_unicode() -> None:
    with pytest.raises(DataError, match=r"caf\\udce9 is not valid Unicode.*Rename it"):
        workflow.train(Recipe(data="caf\udce9", network=NETWORK, train=TINY))


def test_the_report_is_the_same_when_written_again(data: Path, tmp_path: Path) -> None:
    """What training resolved is in both."""
    settings = TINY.model_copy(update={"method": "finetune", "epochs": 1, "batch_size": 8})
    recipe = Recipe(data=str(data), network=NETWORK, train=settings)
    run, _ = workflow.train(recipe, tmp_path / "run")
    pages = [run.path / "report.html", run.path / "README.md"]
    first = [page.read_bytes() for page in pages]
    workflow.finish(load_run(run.path))
    assert [page.read_bytes() for page in pages] == first


def test_paths_are_kept_whole(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data.parent)
    weights = Path("weights.pth")
    weights.write_bytes(b"")
    lines = [f"{p.relative_to(data).as_posix()},{p.parent.name}" for p in data.rglob("*.jpg")]
    Path("labels.csv").write_text("\n".join(["path,label", *lines]))
    recipe = Recipe(
        data="labels.csv",
        read=ReadConfig(image_root=Path("shapes")),
        network=NETWORK.model_copy(update={"weights": "weights.pth"}),
        train=TINY,
    )
    _, _, resolved = workflow.read_and_split(recipe)
    assert resolved.data == str(data.parent / "labels.csv")
    assert resolved.read.image_root == data
    assert resolved.network.weights == str(data.parent / "weights.pth")
    for word in ("auto", "none"):
        network = NETWORK.model_copy(update={"weights": word})
        named = recipe.model_copy(update={"network": network})
        assert workflow.read_and_split(named)[2].network.weights == word


def test_a_manifest_says_who_is_trained_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixes = tmp_path / "fixes.csv"
    fixes.write_text(
        "path,class,action,new_class\n"
        "circle/circle_000.jpg,circle,relabel,square\n"
        "circle/circle_001.jpg,circle,drop,\n"
    )
    apply(data, fixes, ReadConfig(), tmp_path / "manifest.csv")
    monkeypatch.chdir(tmp_path)
    read = ReadConfig(manifest=Path("manifest.csv"))
    dataset, _, resolved = workflow.read_and_split(Recipe(data=str(data), read=read))
    assert resolved.read.manifest == tmp_path / "manifest.csv"
    assert dataset.to_dict()["classes"] == {"circle": 8, "square": 11, "triangle": 10}


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "data", per_class=6, size=40)
    (root / "circle" / "circle_000.jpg").write_bytes(b"")
    (root / "circle" / "circle_001.jpg").write_bytes(b"no")
    (root / "notes.txt").write_text("mine")
    with log_to(tmp_path / "log.txt"):
        _, parts, _ = workflow.read_and_split(Recipe(data=str(root)))
    log = (tmp_path / "log.txt").read_text()
    assert "2 images are left out" in log
    assert "1 × empty file" in log
    assert "1 × not an image" in log
    assert "Passed over: " in log
    assert len(parts.problems) == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "probe", "epochs": 3, "ema": 0.9}, "with --method probe: --epochs, --ema."),
        ({"method": "probe", "views": 1}, ""),
        ({"unfreeze_factor": 0.1}, "with these settings: --unfreeze-factor."),
        ({"method": "gradual", "unfreeze_factor": 0.1}, ""),
        ({"momentum": 0.5, "decay_rate": 0.5}, "these settings: --momentum, --decay-rate."),
        ({"optimizer": "SGD", "momentum": 0.5, "schedule": "step", "decay_rate": 0.5}, ""),
    ],
)
def test_settings_without_effect_are_told(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    (tmp_path / "log.txt").write_text("")
    recipe = Recipe(data=str(tmp_path / "absent"), train=TrainConfig(**settings))
    with log_to(tmp_path / "log.txt"), pytest.raises(DataError):
        workflow.train(recipe, tmp_path / "run")
    log = (tmp_path / "log.txt").read_text()
    assert words in log
    assert ("Without effect" in log) == bool(words)


def test_a_learning_rate_is_looked_for_and_drawn(data: Path, tmp_path: Path) -> None:
    settings = TINY.model_copy(update={"method": "plain", "batch_size": 8})
    figure = tmp_path / "new" / "rates.png"
    found = workflow.find_rate(Recipe(data=str(data), network=NETWORK, train=settings), figure)
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert len(found.rates) == len(found.losses) > 0


# Prediction


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def test_predict_files_and_folders_together(run: Run, data: Path, tmp_path: Path) -> None:
    single = data / "square" / "square_003.jpg"
    (tmp_path / "bad.jpg").write_bytes(b"")
    workflow.predict(
        run.path, [data / "circle", single, tmp_path / "bad.jpg"], tmp_path / "found.csv"
    )
    rows = {row["path"]: row for row in rows_of(tmp_path / "found.csv")}
    assert len(rows) == 12
    assert rows[str(single)]["class"] == "square"
    assert rows[str(tmp_path / "bad.jpg")]["error"] == "empty file"


def test_predict_names_with_commas_quotes_and_breaks(run: Run, data: Path, tmp_path: Path) -> None:
    odd = tmp_path / 'a, "b"\nc.jpg'
    odd.write_bytes((data / "circle" / "circle_000.jpg").read_bytes())
    workflow.predict(run.path, [odd], tmp_path / "found.csv")
    assert [row["path"] for row in rows_of(tmp_path / "found.csv")] == [str(odd)]


def test_predict_json(run: Run, data: Path, tmp_path: Path) -> None:
    workflow.predict(run.path, [data / "circle"], tmp_path / "found.json", as_json=True)
    rows = json.loads((tmp_path / "found.json").read_text())
    assert [Path(row["path"]).name for row in rows] == sorted(
        path.name for path in (data / "circle").iterdir()
    )
    for row in rows:
        assert row["class"] == max(row["probabilities"], key=row["probabilities"].get)


def test_predict_nothing(run: Run) -> None:
    for names in ([], [""]):
        with pytest.raises(DataError, match="No images are named"):
            workflow.predict(run.path, names)


def test_an_empty_folder_is_told_and_the_rest_goes_on(run: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    single = data / "square" / "square_003.jpg"
    with log_to(tmp_path / "log.txt"):
        workflow.predict(run.path, [tmp_path / "empty", single], tmp_path / "found.csv")
    assert f"There are no images in {tmp_path / 'empty'}" in (tmp_path / "log.txt").read_text()
    assert [row["path"] for row in rows_of(tmp_path / "found.csv")] == [str(single)]


def test_empty_folders_only(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=f"no images in {tmp_path / 'a'}.*{tmp_path / 'b'}"):
        workflow.predict(run.path, [tmp_path / "a", tmp_path / "b"], tmp_path / "found.csv")
    assert not (tmp_path / "found.csv").exists()


def test_predict_holds_few_images_at_a_time(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    (tmp_path / "bad.jpg").write_bytes(b"")
    names = [data / "circle", data / "square", tmp_path / "bad.jpg", tmp_path / "absent.jpg"]
    workflow.predict(run.path, names, whole)
    sizes = []
    made = Predictions.__post_init__

    def seen(found: Predictions) -> None:
        sizes.append(len(found.paths))
        made(found)

    monkeypatch.setattr(Predictions, "__post_init__", seen)
    monkeypatch.setattr(predicting, "_CHUNK", 3)
    workflow.predict(run.path, names, parts)
    assert max(sizes) == 3
    assert sum(sizes) == 20
    assert parts.read_bytes() == whole.read_bytes()
    assert len(rows_of(whole)) == 22


@pytest.mark.skipif(sys.platform != "linux", reason="only there can names be any bytes")
def test_files_and_folders_whose_names_are_not_unicode(
    run: Run, data: Path, tmp_path: Path
) -> None:
    image = (data / "circle" / "circle_000.jpg").read_bytes()
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / os.fsdecode(b"\xff.jpg")).write_bytes(image)
    (folder / "bad\udcfe.jpg").write_bytes(b"")
    for names in ([folder], sorted(folder.iterdir())):
        workflow.predict(run.path, names, tmp_path / "found.csv")
        rows = {row["path"]: row for row in rows_of(tmp_path / "found.csv")}
        assert rows[rf"{tmp_path}/caf\udce9/\udcff.jpg"]["class"] == "circle"
        assert rows[rf"{tmp_path}/caf\udce9/bad\udcfe.jpg"]["error"] == "empty file"
    workflow.predict(run.path, [folder], tmp_path / "found.json", as_json=True)
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert {row["path"] for row in found} == {str(path) for path in folder.iterdir()}


def test_predict_does_not_slow_down_with_the_square_of_the_images(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most probable classes of all images are found once, not once per image."""
    calls = []
    original = Predictions.predicted.fget
    assert original is not None

    def counted(found: Predictions) -> Any:
        calls.append(len(found))
        return original(found)

    monkeypatch.setattr(Predictions, "predicted", property(counted))
    workflow.predict(run.path, [data], tmp_path / "found.csv")
    assert 0 < len(calls) < 10


# Demo


def test_the_demo_trains_on_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Recipe, Path]] = []
    monkeypatch.setattr(digits, "train", lambda recipe, out: asked.append((recipe, out)))
    monkeypatch.chdir(tmp_path)
    for name in ("bowerbird-demo", "bowerbird-demo-2"):
        workflow.demo()
        recipe, out = asked[-1]
        assert out == tmp_path / name / "run"
        assert recipe.network.offline
    folder = Path(str(asked[0][0].data))
    counts = [len(list((folder / str(digit)).iterdir())) for digit in range(10)]
    assert sum(counts) == 1797
    assert min(counts) > 170
    from bowerbird.data.images import decode

    image = np.asarray(decode(next((folder / "0").iterdir())))
    assert image.min() < 30
    assert image.max() > 220


# Links and archives


def test_a_link_stays_in_the_recipe_and_its_images_are_found_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "shapes"), "zip", data))
    monkeypatch.chdir(tmp_path)
    with served() as web:
        address = web.put("/shapes.zip?v=1", archive.read_bytes())
        recipe = Recipe(data=address, network=NETWORK, train=TINY)
        run, evaluations = workflow.train(recipe)
        assert run.path.name == "shapes-1"
        assert load_run(run.path).recipe.data == address
        shutil.rmtree(run.manifest()[0].root)
        before = run.manifest()[0].root.parent
    assert len(web.requests) == 2  # trained on, and fetched again when its images were gone
    assert before.is_dir()
    (run.path / "predictions_test.csv").unlink()
    again = workflow.finish(load_run(run.path))  # the server is gone, too
    assert again["test"].accuracy == evaluations["test"].accuracy


def test_an_archive_is_named_with_its_whole_path(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.make_archive(str(tmp_path / "shapes"), "gztar", data)
    monkeypatch.chdir(tmp_path)
    recipe = Recipe(data="shapes.tar.gz", network=NETWORK, train=TINY)
    dataset, _, resolved = workflow.read_and_split(recipe)
    assert resolved.data == str(tmp_path / "shapes.tar.gz")
    assert len(dataset) == 30


def test_predicting_what_an_archive_holds(
    run: Run, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = shutil.make_archive(str(tmp_path / "shapes"), "zip", data)
    workflow.predict(run.path, [archive])
    assert len(capsys.readouterr().out.splitlines()) == 31
