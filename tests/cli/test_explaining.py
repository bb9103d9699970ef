"""`bowerbird explain` as people and scripts meet it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from drawing import draw_folder
from zygote import Outcome, Zygote

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

TRAIN = [
    "--model", "test_resnet", "--weights", "none", "--image-size", "64", "--method", "probe",
    "--precision", "float32", "--workers", "1", "--offline",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    data = draw_folder(folder / "shapes", per_class=8, size=72)
    outcome = zygote.run(["train", data, *TRAIN, "--out", "run"], folder=folder)
    assert outcome.code == 0, outcome.stderr
    return folder / "run"


def explain(zygote: Zygote, trained: Path, *arguments: str | Path) -> Outcome:
    return zygote.run(["explain", trained, *arguments], folder=trained.parent, report=True)


def test_explain_says_where_everything_is(zygote: Zygote, trained: Path) -> None:
    outcome = explain(zygote, trained, "--per-class", "1")
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.startswith("Attribution(3 images, hirescam at layer4")
    for line in outcome.stdout.splitlines()[1:-1]:
        assert Path(line.split(maxsplit=1)[1]).exists(), line
    assert outcome.stdout.splitlines()[-1].endswith("--check")


def test_explain_for_machines(zygote: Zygote, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere"
    outcome = explain(
        zygote, trained, "--per-class", "1", "--method", "layercam", "--layer", "layer3",
        "--target", "square", "--against", "circle", "--out", out, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    facts = json.loads(outcome.stdout)
    assert facts["folder"] == str(out)
    assert (facts["method"], facts["layer"], facts["places"]) == ("layercam", "layer3", [4, 4])
    assert {(i["explained"], i["against"]) for i in facts["images"]} == {("square", "circle")}
    assert (out / "maps.npz").is_file()


def test_filters_and_feature_maps(zygote: Zygote, trained: Path, tmp_path: Path) -> None:
    outcome = explain(
        zygote, trained, "--filters", "1", "layer1.0.conv2", "--features", "layer2",
        "--channel", "3", "0", "--out", tmp_path,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    files = [Path(line) for line in outcome.stdout.splitlines()[:-1]]
    assert [file.name for file in files] == [
        "filters-conv1.0.png", "filters-layer1.0.conv2.png", "features-layer2.png",
    ]  # fmt: skip
    assert all(file.is_file() for file in files)


def test_attention_maps(
    zygote: Zygote, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    folder = tmp_path_factory.mktemp("transformer")
    data = draw_folder(folder / "shapes", per_class=8, size=72)
    options = ["test_vit" if word == "test_resnet" else word for word in TRAIN]
    outcome = zygote.run(["train", data, *options, "--out", "run"], folder=folder)
    assert outcome.code == 0, outcome.stderr
    run = folder / "run"
    for asked, names in ([], ["blocks.5"]), (["1", "blocks.2"], ["blocks.0", "blocks.2"]):
        outcome = explain(zygote, run, "--out", tmp_path, "--attention", *asked)
        assert outcome.code == 0, outcome.stderr
        files = [Path(line) for line in outcome.stdout.splitlines()[:-1]]
        assert [file.name for file in files] == [f"attention-{name}.attn.png" for name in names]
        assert all(file.is_file() for file in files)
    outcome = explain(zygote, run, "--attention", "blocks.7")
    assert outcome.code == 1
    assert "Did you mean" in outcome.stderr


def test_several_runs_side_by_side(zygote: Zygote, trained: Path, tmp_path: Path) -> None:
    outcome = explain(zygote, trained, trained, "--per-class", "1", "--out", tmp_path)
    assert outcome.code == 0, outcome.stderr
    words, file = outcome.stdout.splitlines()
    assert "share 100% of their heat" in words
    assert Path(file).is_file()
    outcome = explain(zygote, trained, trained, "--per-class", "1", "--out", tmp_path, "--json")
    assert json.loads(outcome.stdout)["agreements"][0]["heat_in_common"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--layer", "layer5"], 1, "Did you mean layer"),
        (["--layer", "fc"], 1, "no height and width"),
        (["--method", "gradcan"], 2, "Did you mean gradcam"),
        (["--target", "squares"], 2, "Did you mean square?"),
        (["--against", "ellipse"], 2, "There is no class 'ellipse'"),
        (["--per-class", "0"], 2, "At least one image"),
        (["--choose", "best"], 2, "best"),
        (["no-such-file.jpg"], 1, "file not found"),
        (["--filters", "fc"], 1, "Layers with filters to see: conv1"),
        (["--attention", "1"], 1, "ResNet has no attention between places"),
        (["--features", "layer9"], 1, "Did you mean layer"),
        (["--features", "layer1", "--channel", "999"], 2, "channel 999"),
    ],
)
def test_mistakes_are_explained_in_a_sentence(
    zygote: Zygote, trained: Path, arguments: list[str], code: int, words: str
) -> None:
    outcome = explain(zygote, trained, *arguments)
    assert outcome.code == code, outcome.stderr
    assert words in outcome.stderr
    assert "Traceback" not in outcome.stderr
