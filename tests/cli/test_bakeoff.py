"""`bowerbird bakeoff` as people and scripts meet it, also when it is stopped."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from drawing import draw_folder
from zygote import Outcome, Zygote

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

OPTIONS = [
    "--models", "test_resnet=none,test_efficientnet=none", "--image-size", "32", "--offline",
    "--workers", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "shapes", per_class=60, size=40)


@pytest.fixture(scope="module")
def whole(zygote: Zygote, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(zygote, shapes, tmp_path_factory.mktemp("whole"))


def run(zygote: Zygote, shapes: Path, folder: Path, *more: str, **how: Any) -> Outcome:
    return zygote.run(["bakeoff", shapes, *OPTIONS, *more], folder=folder, report=True, **how)


def rounds(folder: Path) -> Any:
    return json.loads((folder / "bakeoff" / "bakeoff.json").read_text())["rounds"]


def test_it_ends_with_a_recommendation_and_the_next_command(whole: Outcome, shapes: Path) -> None:
    assert whole.code == 0, whole.stderr
    lines = whole.stdout.splitlines()
    assert lines[0].split()[:3] == ["network", "licence", "accuracy"]
    assert any(line.endswith("take this") for line in lines[1:3])
    assert any(line.startswith("Take test_") for line in lines)
    assert lines[-2].split() == ["Page:", "bakeoff/bakeoff.html"]
    assert lines[-1].startswith(f"Train it:  bowerbird train {shapes} --model test_")
    assert lines[-1].endswith("--weights none --image-size 32 --workers 1")


def test_for_machines(zygote: Zygote, shapes: Path, tmp_path: Path) -> None:
    outcome = run(zygote, shapes, tmp_path, "--json", "--out", "elsewhere", "--budget", "2m")
    assert outcome.code == 0, outcome.stderr
    facts = json.loads(outcome.stdout)
    assert facts == json.loads((tmp_path / "elsewhere" / "bakeoff.json").read_text())
    assert facts["budget_seconds"] == 120


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_stopped_anywhere_the_same_command_goes_on(
    zygote: Zygote, shapes: Path, tmp_path: Path, whole: Outcome, number: signal.Signals,
    share: float,
) -> None:  # fmt: skip
    event = int(share * len(whole.events))
    stopped = run(zygote, shapes, tmp_path, number=number, event=event)
    if number == signal.SIGINT:
        assert stopped.code == 130, stopped.stderr
        last = stopped.stderr.splitlines()[-1]
        assert f"Go on with: bowerbird bakeoff {shapes} --models " in last
    else:
        assert stopped.code == -number
    done = run(zygote, shapes, tmp_path)
    assert done.code == 0, done.stderr
    assert [r["images"] for r in rounds(tmp_path)] == [76, 153]
    again = run(zygote, shapes, tmp_path)
    assert again.stdout == done.stdout
    assert "nothing is computed again" in again.stderr


def test_wrong_use_and_what_cannot_be_are_told_apart(
    zygote: Zygote, shapes: Path, tmp_path: Path
) -> None:
    wrong = zygote.run(["bakeoff", shapes, "--models", "resnet18"], folder=tmp_path)
    assert (wrong.code, "compares two networks" in wrong.stderr) == (2, True)
    unknown = zygote.run(["bakeoff", shapes, "--models", "resnet18,resnet5O"], folder=tmp_path)
    assert (unknown.code, "Did you mean" in unknown.stderr) == (1, True)
    short = run(zygote, shapes, tmp_path, "--budget", "0.01s")
    assert (short.code, "The smallest budget that would do" in short.stderr) == (2, True)
    way = run(zygote, shapes, tmp_path, "--decide-on", "test")
    assert way.code == 2
    assert not (tmp_path / "bakeoff" / "bakeoff.json").exists()
