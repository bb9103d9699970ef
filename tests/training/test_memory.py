from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from bowerbird import progress
from bowerbird.config import TrainConfig
from bowerbird.errors import RunError
from bowerbird.training import memory
from bowerbird.training.memory import fitting, halved, size
from training.toys import layers, same, values


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that are free; change the only entry."""
    found = [1 << 40]
    monkeypatch.setattr(memory, "available_memory", lambda: found[0])
    return found


def most(each: int, free: int) -> int:
    """The power of two that fits: two fifths of what is free, twice `each` bytes an image."""
    return max(2, min(256, 2 ** math.floor(math.log2(0.4 * free / (2 * each)))))


class Hand(nn.Module):
    """Keeps what can be counted: 10 floats in, 100 out of a layer, 100 of its tanh, 2 scores."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(10, 100), nn.Linear(100, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.last(torch.tanh(self.first(x)))
        return out


HAND = 4 * (10 + 100 + 2)
"""Bytes per image: input, tanh (its own backward and the next layer's), log-softmax.

The result of the first layer is not kept: tanh's backward needs only what comes out.
"""


@pytest.mark.parametrize("free_bytes", [200_000, 80_000, 20_000, 1_000_000])
def test_what_a_network_keeps_is_counted(free: list[int], free_bytes: int) -> None:
    free[0] = free_bytes
    # beside it the targets (8 bytes) and one float for the mean's weight
    assert fitting(Hand(), torch.rand(4, 10)) == most(HAND + 8, free_bytes)


def test_the_count_is_exact(free: list[int]) -> None:
    """Just enough for 64 images, and one byte less."""
    extra = 8 + 1  # targets; the loss keeps one float, shared by the four images
    free[0] = math.ceil(64 * 2 * (HAND + extra) / 0.4)
    assert fitting(Hand(), torch.rand(4, 10)) == 64
    free[0] -= 2 * 64
    assert fitting(Hand(), torch.rand(4, 10)) == 32


def test_weights_are_not_counted(free: list[int]) -> None:
    """They are there whatever the batch."""
    free[0] = 100_000
    narrow = nn.Sequential(nn.Linear(10, 2))
    assert fitting(narrow, torch.rand(4, 10)) == fitting(narrow, torch.rand(8, 10)) == 256


def test_limits(free: list[int]) -> None:
    free[0] = 0
    assert fitting(Hand(), torch.rand(2, 10)) == 2
    free[0] = 1 << 50
    assert fitting(Hand(), torch.rand(2, 10)) == 256


def test_counting_learns_nothing(free: list[int]) -> None:
    part = layers().eval()
    before = values(part)
    fitting(part, torch.rand(4, 4))
    assert same(values(part), before)
    assert all(p.grad is None for p in part.parameters())


def test_size() -> None:
    assert size(TrainConfig(batch_size=7)) == 7
    assert size(TrainConfig(batch_size="auto")) == 32


def real_error() -> Exception:
    """What torch says when main memory runs out."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58, dtype=torch.uint8)
    return caught.value


ERRORS = {
    "torch on a CPU": real_error,
    "Python": MemoryError,
    "CUDA": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "Apple": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    "torch on Windows": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] data. DefaultCPUAllocator: not enough memory: you "
        "tried to allocate 8589934592 bytes."
    ),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_halved_once_and_told(kind: str, tmp_path: Path) -> None:
    error = ERRORS[kind]()
    log = tmp_path / "log.txt"
    with progress.log_to(log):
        assert halved(error, 32, asked=32) == 16
    assert "batches of 32 images: from here on 16, twice as many per step" in log.read_text()
    with pytest.raises(RunError, match=r"batches of 16 images.*--batch-size.*--accumulate"):
        halved(error, 16, asked=32)


def test_a_batch_of_two_is_not_halved() -> None:
    with pytest.raises(RunError, match="batches of 2 images"):
        halved(MemoryError(), 2, asked=2)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("memory")]
)
def test_another_error_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        halved(error, 32, asked=32)
    assert caught.value is error
