from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bowerbird.features import precision
from bowerbird.features.precision import choose, recorded


class Counter:
    def __init__(self, answer: dict[str, Any] | None = None) -> None:
        self.calls, self.answer = 0, answer or {"precision": "bfloat16"}

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        return dict(self.answer)


def test_measured_once_and_kept(tmp_path: Path) -> None:
    measure = Counter({"precision": "bfloat16", "seconds": 0.1})
    first, second = recorded("q", measure, tmp_path), recorded("q", measure, tmp_path)
    assert measure.calls == 1
    assert second["precision"] == first["precision"] == "bfloat16"
    assert second["question"] == "q"
    recorded("another", measure, tmp_path)
    assert measure.calls == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_kept_in_the_cache_folder_by_default(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("BOWERBIRD_CACHE", str(tmp_path))
    recorded("q", Counter())
    assert len(list((tmp_path / "measured").iterdir())) == 1


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe", b'{"precision": "bfloat16"}', b'"text"'],
)
def test_a_damaged_record_is_measured_again(tmp_path: Path, damage: bytes) -> None:
    measure = Counter()
    recorded("q", measure, tmp_path)
    file = next(tmp_path.iterdir())
    file.write_bytes(damage)
    assert recorded("q", measure, tmp_path)["precision"] == "bfloat16"
    assert measure.calls == 2
    assert json.loads(file.read_text())["question"] == "q"


def test_a_record_of_another_machine_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = Counter()
    recorded("q", measure, tmp_path)
    monkeypatch.setattr(precision, "_processor", lambda: "another one")
    recorded("q", measure, tmp_path)
    assert measure.calls == 2


def test_a_home_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    measure = Counter()
    for _ in range(2):
        assert recorded("q", measure, tmp_path / "file" / "x")["precision"] == "bfloat16"
    assert measure.calls == 2


class Turned(nn.Module):
    """Its bfloat16 features point elsewhere by `turn`."""

    def __init__(self, turn: float) -> None:
        super().__init__()
        self.turn = turn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = x.dtype == torch.bfloat16
        return torch.tensor([[1.0, self.turn if half else 0.0]], dtype=x.dtype)


class Seconds:
    """Stands for `_seconds`: 1 in float32, and as told in bfloat16; the first is slow by `late`."""

    def __init__(self, seconds: float, late: float = 0.0) -> None:
        self.seconds, self.late, self.calls = seconds, late, 0

    def __call__(self, module: nn.Module, batch: torch.Tensor) -> float:
        self.calls += 1
        late = self.late if self.calls <= 2 else 0.0
        return late + (1.0 if batch.dtype == torch.float32 else self.seconds)


@pytest.mark.parametrize(
    ("seconds", "turn", "chosen"),
    [
        (0.5, 0.0, "bfloat16"),
        (0.9, 0.0, "bfloat16"),
        (0.95, 0.0, "float32"),  # not a tenth faster
        (2.0, 0.0, "float32"),
        (0.5, 0.2, "float32"),  # cosine 0.98
        (0.5, float("nan"), "float32"),
    ],
)
def test_bfloat16_must_be_faster_and_alike(
    monkeypatch: pytest.MonkeyPatch, seconds: float, turn: float, chosen: str
) -> None:
    monkeypatch.setattr(precision, "_seconds", Seconds(seconds))
    assert choose("n", Turned(turn), torch.zeros(1, 3, 2, 2)) == chosen


@pytest.mark.parametrize(("seconds", "passes"), [(0.5, 2), (2.0, 2), (0.9, 6)])
def test_a_clear_answer_is_not_measured_again(
    monkeypatch: pytest.MonkeyPatch, seconds: float, passes: int
) -> None:
    clock = Seconds(seconds)
    monkeypatch.setattr(precision, "_seconds", clock)
    choose("n", Turned(0.0), torch.zeros(1, 3, 2, 2))
    assert clock.calls == passes


def test_the_fastest_pass_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_seconds", Seconds(0.8, late=9.0))  # 10 against 9.8 at first
    assert choose("n", Turned(0.0), torch.zeros(1, 3, 2, 2)) == "bfloat16"


class NoHalf(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return x


def test_a_network_without_bfloat16_runs_in_float32() -> None:
    before = torch.get_num_threads()
    assert choose("n", NoHalf(), torch.zeros(1, 3, 2, 2)) == "float32"
    assert torch.get_num_threads() == before


def test_measuring_changes_nothing() -> None:
    module = nn.Conv2d(3, 4, 3).eval()
    threads, weight = torch.get_num_threads(), module.weight.clone()
    assert choose("n", module, torch.randn(2, 3, 8, 8)) in ("float32", "bfloat16")
    assert torch.get_num_threads() == threads
    assert torch.equal(module.weight, weight)
    assert module.weight.dtype == torch.float32
