"""Which number format runs a frozen network fastest here, measured once and recorded.

bfloat16 runs two to four times as fast as float32 on processors that have it, and
slower on those that have not; no table of processors is trusted. The answer is kept
per machine, torch version, network and input size.

Decisions:
- bfloat16 is only taken if it is at least a tenth faster and its features still point where
  float32's do (cosine ≥ 0.99 on the test input).
- One pass of each tells when one takes half as long again; otherwise the best of three does.
"""

from __future__ import annotations

import copy
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bowerbird import storage
from bowerbird.errors import RunError

__all__ = ["Measured", "choose", "recorded"]

_ADVANTAGE, _COSINE = 1.1, 0.99
_CLEAR, _REPEATS = 1.5, 2

Measured = dict[str, Any]


def recorded(
    question: str, measure: Callable[[], Measured], folder: Path | None = None
) -> Measured:
    """The answer to `question` on this machine: from the record, else measured and kept."""
    folder = folder or storage.cache_home() / "measured"
    named = {"question": question, "machine": _machine()}
    file = folder / f"{storage.hash_bytes((_machine() + question).encode())}.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(found, dict) and found.items() >= named.items():
            return found
    except (OSError, ValueError):
        pass  # never measured, or a damaged record: measured anew below
    answer = measure()
    try:
        storage.make_folder(folder)
        storage.write_json(file, answer | named)
    except RunError:
        pass  # a home that can't be written to only costs the time to measure again
    return answer


def choose(
    name: str,
    prefix: nn.Module,
    example: torch.Tensor,
    ready: Callable[[nn.Module, torch.Tensor], nn.Module] = lambda prefix, _: prefix,
) -> str:
    """``"bfloat16"`` or ``"float32"`` for running `prefix` on batches like `example`.

    Args:
        name: what is run, for the record (network, fingerprint of its weights, cut).
        prefix: in evaluation mode, float32, channels_last.
        example: input batch [B, C, H, W], float32.
        ready: what is done to the prefix before it runs.
    """
    question = f"forward precision of {name} on {tuple(example.shape)}"
    found = recorded(question, lambda: _measure(prefix, example, ready))
    return "bfloat16" if found.get("precision") == "bfloat16" else "float32"


def _measure(
    prefix: nn.Module, example: torch.Tensor, ready: Callable[[nn.Module, torch.Tensor], nn.Module]
) -> Measured:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as in extraction, where every core runs its own batches
    try:
        with torch.inference_mode():
            short_example = example.bfloat16()
            long, short = ready(prefix, example), copy.deepcopy(prefix).bfloat16()
            try:
                short = ready(short, short_example)
                narrow = short(short_example)
            except RuntimeError as error:  # a layer of it has no bfloat16
                return {"precision": "float32", "reason": str(error)}
            wide = long(example)  # the first pass of each prepares kernels
            slow, quick = _seconds(long, example), _seconds(short, short_example)
            if max(slow, quick) < _CLEAR * min(slow, quick):
                for _ in range(_REPEATS):
                    slow = min(slow, _seconds(long, example))
                    quick = min(quick, _seconds(short, short_example))
    finally:
        torch.set_num_threads(before)
    alike = torch.nn.functional.cosine_similarity(
        wide.flatten(1).float(), narrow.flatten(1).float()
    ).min()
    cosine = float(alike.nan_to_num(nan=-1.0))
    take = slow / quick >= _ADVANTAGE and cosine >= _COSINE
    return {
        "precision": "bfloat16" if take else "float32",
        "float32_seconds": slow,
        "bfloat16_seconds": quick,
        "cosine": cosine,
    }


def _seconds(module: nn.Module, batch: torch.Tensor) -> float:
    start = time.perf_counter()
    module(batch)
    return time.perf_counter() - start


def _machine() -> str:
    return f"{platform.machine()} {_processor()} torch {torch.__version__} "


def _processor() -> str:
    """Model and abilities: a virtual machine may hide some of what the model has."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux: the platform module knows it
        return platform.processor()
    found = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return storage.hash_bytes("\n".join(sorted(found)).encode())
