"""`bowerbird ablate`: what it prints, how it refuses, and that a kill costs nothing."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from drawing import draw_folder
from zygote import Ran

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

TINY = ["--model", "test_resnet", "--weights", "none", "--image-size", "32", "--method", "plain",
        "--epochs", "1", "--precision", "float32", "--workers", "1", "--offline"]  # fmt: skip
ARMS = ["--vary", "lr=1e-3,1e-2", "--seeds", "1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    return draw_folder(folder, ("circle", "square"), split={"train": 6, "val": 5}, size=40)


def found(out: Path) -> dict[str, Any]:
    """What an ablation says, without what differs from time to time."""
    told: dict[str, Any] = json.loads((out / "ablation.json").read_text())
    for arm in told["arms"]:
        arm.pop("seconds")
        arm.pop("runs")
    told.pop("settings")
    return told


def test_killed_at_any_moment_the_same_command_goes_on(
    run: Ran, data: Path, tmp_path: Path
) -> None:
    whole = run(
        "ablate", data, *TINY, *ARMS, "--out", "whole", "--recipe", "best.toml", report=True
    )
    assert whole.code == 0, whole.stderr
    lines = whole.stdout.splitlines()
    assert lines[0].split() == ["arm", "accuracy", "against", "learning-rate=0.001", "verdict"]
    assert lines[-2:] == [
        "Page:   whole/ablation.html", f"Train:  bowerbird train {data} --config best.toml",
    ]  # fmt: skip
    assert "Run 2 of 2: learning-rate=0.01, seed 0; about" in whole.stderr
    for share in (0.6,):
        name = f"killed-{share}"
        event = int(share * len(whole.events))
        first = run(
            "ablate", data, *TINY, *ARMS, "--out", name, report=True, number=signal.SIGKILL,
            event=event,
        )  # fmt: skip
        assert first.code == -signal.SIGKILL
        again = run("ablate", data, *TINY, *ARMS, "--out", name, report=True)
        assert again.code == 0, again.stderr
        assert found(tmp_path / name) == found(tmp_path / "whole")
    trained = run("train", "--config", "best.toml", "--out", "again")
    assert trained.code == 0, trained.stderr


def test_stopped_with_ctrl_c(run: Ran, data: Path) -> None:
    stopped = run(
        "ablate", data, *TINY, *ARMS, "--out", "out", report=True, number=signal.SIGINT, event=20
    )
    assert stopped.code == 130
    assert "The same command goes on." in stopped.stderr
    assert "Traceback" not in stopped.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--vary", "lerning-rate=1,2"], "Did you mean learning-rate"),
        (["--vary", "lr=1e-3,quick"], "--vary learning-rate: "),
        (["--ladder", "flop"], "Did you mean flip"),
        (["--leave-one-out", "none"], "nothing to leave out"),
        (["--ladder", "--vary", "lr=1,2"], "Choose one"),
        (["--grid"], "--grid combines"),
        (["--seeds", "0"], "--seeds 0"),
        (["--seeds", "many"], "many"),
        (["--vary", "val=0.1,0.2"], "judged on the same images"),
        (["--recipe", "."], "--recipe . is a folder"),
    ],
)
def test_mistakes_are_wrong_use(
    run: Ran, data: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    done = run("ablate", data, *TINY, *words, "--out", "out")
    assert done.code == 2, done.stderr
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_bare_ladder_and_a_bare_list(run: Ran, data: Path, tmp_path: Path) -> None:
    done = run(
        "ablate", data, *TINY, "--ladder", "--seeds", "1", "--out", "a", "--json", report=True
    )
    assert done.code == 0, done.stderr
    names = [arm["name"] for arm in json.loads(done.stdout)["arms"]]
    assert names == ["no augmentation", "+ flip", "+ rotation", "+ colour", "+ greyscale"]
    done = run(
        "ablate", data, *TINY, "--leave-one-out", "--augment", "flip,grey", "--seeds", "1",
        "--out", "b", report=True,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert "without grey" in done.stdout
    assert (tmp_path / "b" / "changes.png").is_file()
