from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bowerbird.config import NetworkConfig, Recipe, TrainConfig
from bowerbird.runs import Run, load_run
from bowerbird.training import fit, processes, resume
from bowerbird.workflow import read_and_split
from training import together
from training.toys import Values, gone_on, run, same, values, without_times

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or not torch.distributed.is_gloo_available(), reason="needs gloo"
)

Found = dict[str, Any]
SCRIPT = Path(str(together.__file__))


def torchrun(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Two processes of a script or module, and what started them."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "BOWERBIRD_CACHE": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "GLOO_SOCKET_IFNAME": "lo",
        **variables,
    }
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.Popen(
        [*line, *arguments], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def recipe(shapes: Path, weights: Path, **settings: Any) -> Recipe:
    network = NetworkConfig(model="test_resnet", weights=str(weights), image_size=32, offline=True)
    usual = {"method": "finetune", "batch_size": 12, "precision": "float32", "workers": 1}
    train = TrainConfig(**(usual | settings))
    return Recipe(data=str(shapes), network=network, train=train)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, shapes: Path, weights: Path) -> Path:
    """The folder with what two processes found."""
    folder = tmp_path_factory.mktemp("both")
    asked = folder / "recipe.toml"
    asked.write_text(recipe(shapes, weights, epochs=2).to_toml())
    started = torchrun(folder, str(SCRIPT), str(folder), SHAPES=str(shapes), RECIPE=str(asked))
    _, errors = started.communicate()
    assert started.returncode == 0, errors
    return folder


def found(both: Path, name: str) -> tuple[Found, Found]:
    first, second = (json.loads((both / f"{name}-{n}.json").read_text()) for n in (0, 1))
    return first, second


def layers(both: Path, name: str) -> tuple[Values, Values]:
    first, second = (load_file(both / f"{name}-{n}.safetensors") for n in (0, 1))
    return first, second


def furthest(one: Values, other: Values) -> float:
    assert one.keys() == other.keys()
    return max(float((one[n].double() - other[n].double()).abs().max()) for n in one)


# One process: every function is free


def test_with_one_process_nothing_is_sent() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    processes.sum_gradients([parameter])
    processes.average_statistics(torch.nn.BatchNorm1d(2))
    processes.wait()
    assert parameter.grad.tolist() == [1, 1]
    assert processes.total([1.5, 2]) == [1.5, 2]
    assert processes.from_main(lambda: 3) == 3
    assert (processes.count(), processes.rank(), processes.is_main()) == (1, 0, True)
    assert processes.device("cuda:1") == "cuda:1"


# Two processes


def test_sums_over_both(both: Path) -> None:
    for rank, result in enumerate(found(both, "sums")):
        assert result["total"] == [3.0, 0.5, 1e16 + 1]
        grad = torch.tensor(result["grad"])
        expected = torch.full((4, 3, 3, 3), 3.0)
        expected[0, 1, 2, 0] = 101.0
        assert torch.equal(grad, expected)
        assert result["none"]
        assert result["scalar"] == 1.0
        assert result["layout"]
        assert (result["rank"], result["count"], result["main"]) == (rank, 2, rank == 0)
        assert result["device"] == "cpu"


def test_what_the_first_makes_is_sent_and_its_errors_are_everywhere(both: Path) -> None:
    first, second = found(both, "from first")
    assert first["sent"] == second["sent"] == ["a/b", 0]
    assert (first["called"], second["called"]) == ([0], [])
    assert first["words"] == second["words"] == "This went wrong."


@pytest.mark.parametrize("name", together.TRAINED)
def test_a_phase_ends_as_in_one_process(both: Path, name: str, tmp_path: Path) -> None:
    """Both hold the same bits; one process has them but for sums in another order: 14 steps
    with values near 1 in float32, each some 1e-7 off.
    """
    alone = together.phase(tmp_path / "alone", **together.TRAINED[name])
    facts = run(alone)
    one, other = layers(both, name)
    assert same(one, other)
    assert furthest(one, values(alone.whole)) < 5e-6
    for result in found(both, name):
        assert result["best"]["epoch"] == facts["best"]["epoch"]
        assert result["best"].get("soup") == facts["best"].get("soup")
        assert len(result["rows"]) == 2
        for row, expected in zip(result["rows"], without_times(facts), strict=True):
            figures = {k: v for k, v in expected.items() if not isinstance(v, str)}
            assert {k: row[k] for k in figures} == pytest.approx(figures, rel=1e-5)


def test_a_loss_that_is_not_finite_in_one_stops_both(both: Path) -> None:
    first, second = found(both, "not finite")
    assert first == second
    assert (first["rows"], first["best"]["epoch"]) == ([], 0)
    one, other = layers(both, "not finite")
    assert same(one, other)
    assert all(bool(torch.isfinite(value).all()) for value in one.values())


def test_asked_of_one_both_stop_after_the_same_step(both: Path) -> None:
    assert [result["stopped"] for result in found(both, "stopped")] == [True, True]
    assert same(*layers(both, "stopped"))
    again = together.phase(both / "stopped")
    facts = gone_on(again)  # in one process
    assert len(facts["rows"]) == 2
    assert furthest(values(again.whole), layers(both, "plain")[0]) < 5e-6


def test_asked_of_one_at_the_end_both_stop(both: Path) -> None:
    results = found(both, "stopped at the end")
    assert [result["stopped"] for result in results] == [True, True]
    again = together.phase(both / "stopped at the end")
    gone_on(again)
    assert same(values(again.whole), layers(both, "plain")[0])


def test_statistics_of_batch_norm_are_the_mean_of_both(both: Path) -> None:
    """21 images, 6 a step: three steps of 3 and 3, and 3 left over, too few for two each."""
    assert same(*layers(both, "statistics"))
    for result in found(both, "statistics"):
        assert result["sizes"] == [3] * 6
        assert all(math.isfinite(row["val_loss"]) for row in result["rows"])


def test_each_computes_its_share_of_the_features(both: Path) -> None:
    first, second = found(both, "features")
    assert sorted([first["seen"], second["seen"]]) == [4, 5]
    assert same(*layers(both, "features"))


def test_where_one_has_gone_the_other_says_so(both: Path) -> None:
    first, second = found(both, "one has gone")
    assert "Memory ran out with batches of 8 images." in second["words"]
    assert "Another of the processes that train together has ended" in first["words"]
    assert "bowerbird resume" in first["words"]


# The command line


def alone(asked: Recipe, folder: Path) -> Run:
    dataset, parts, resolved = read_and_split(asked)
    return fit(None, dataset, parts, out=folder / "alone", recipe=resolved)


def weights_of(run: Run) -> Values:
    return load_file(run.path / "model" / "model.safetensors")


def test_the_command_trains_with_two_as_with_one(
    both: Path, shapes: Path, weights: Path, tmp_path: Path
) -> None:
    """Weights near 1 differ by the last bit or two of float32, 2e-7; their sum by less."""
    first, second = found(both, "command")
    assert (first["code"], second["code"]) == (0, 0), first["errors"] + second["errors"]
    assert first["output"].count("Run:") == first["output"].count("Report:") == 1
    assert first["errors"].count("Fine-tuned:") == 1
    assert (second["output"], second["errors"]) == ("", "")
    folders = list((both / "command" / "runs").iterdir())
    assert len(folders) == 1
    two, one = load_run(folders[0]), alone(recipe(shapes, weights, epochs=2), tmp_path)
    assert two.environment()["processes"] == 2
    assert (two.path / "log.txt").read_text().count("Fine-tuned:") == 1
    assert (two.path / "report.html").is_file()
    assert [r["step_name"] for r in one.history()] == [r["step_name"] for r in two.history()]
    assert furthest(weights_of(one), weights_of(two)) < 2.5e-7
    sums = [sum(float(v.double().sum()) for v in weights_of(run).values()) for run in (one, two)]
    assert sums[0] == pytest.approx(sums[1], rel=1e-9)


def test_stopped_with_two_it_goes_on_with_one(
    shapes: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(shapes, weights, epochs=12, patience=99)
    (tmp_path / "recipe.toml").write_text(asked.to_toml())
    arguments = ["-m", "bowerbird", "train", "--config", "recipe.toml", "--out", "run"]
    started = torchrun(tmp_path, *arguments)
    history = tmp_path / "run" / "history.csv"
    while started.poll() is None and not (history.is_file() and "finetune" in history.read_text()):
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate()
    assert started.returncode != 0
    assert f"bowerbird resume {tmp_path / 'run'}" in errors
    assert "RuntimeError" not in errors
    assert "Another of the processes" not in errors
    stopped = load_run(tmp_path / "run")
    assert not stopped.finished
    monkeypatch.setenv("BOWERBIRD_CACHE", str(tmp_path / "cache"))
    finished = resume(stopped)
    rows = [row for row in finished.history() if row["phase"] == "finetune"]
    assert [row["epoch"] for row in rows] == list(range(1, 12 + 6 + 1))
    assert furthest(weights_of(finished), weights_of(alone(asked, tmp_path))) < 1e-5
