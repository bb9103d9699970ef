from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bowerbird.errors import RunError
from bowerbird.training.checkpoint import load_checkpoint, restore, save_checkpoint, unsaved


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2)
        )
        layers(torch.rand(2, 3, 6, 6))
    return layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def trained(layers: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        batch = torch.rand(4, 3, 6, 6, generator=generator)
        loss = layers(batch.to(memory_format=torch.channels_last)).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def adam(layers: nn.Module) -> torch.optim.Optimizer:
    weight, *rest = layers.parameters()
    return torch.optim.AdamW([{"params": [weight]}, {"params": rest, "lr": 0.1}], lr=0.01)


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "last.safetensors") is None


def test_layers_optimizer_and_facts_come_back(tmp_path: Path) -> None:
    file = tmp_path / "last.safetensors"
    layers = network(0)
    optimizer = adam(layers)
    trained(layers, optimizer, 3)
    facts = {"epoch": 2, "sums": [0.1 + 0.2, 3], "rows": [{"phase": "é", "loss": 1e-300}]}
    save_checkpoint(file, layers, optimizer, facts)
    other = network(1)
    again = adam(other)
    saved = load_checkpoint(file)
    assert saved is not None
    assert saved.facts == facts
    restore(saved, other, again)
    trained(layers, optimizer, 4)
    trained(other, again, 4)
    for name, value in layers.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_an_optimizer_that_never_stepped(tmp_path: Path) -> None:
    layers = network(0)
    save_checkpoint(tmp_path / "x.safetensors", layers, adam(layers), {})
    saved = load_checkpoint(tmp_path / "x.safetensors")
    assert saved is not None
    restore(saved, network(1), adam(network(1)))


class Strange(torch.optim.Optimizer):
    """Keeps every kind of thing that an optimizer might."""

    def __init__(self, groups: list[dict[str, Any]], kept: Any = 2) -> None:
        super().__init__(groups, {"lr": 0.1, "betas": (0.9, 0.99), "kind": torch.float64})
        self.kept = kept

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            group["count"] = group.get("count", torch.zeros(())) + 1
            for p in group["params"]:
                state = self.state[p]
                state["slow"] = state.get("slow", torch.zeros_like(p)) + p.detach()
                state["rows"] = torch.arange(len(p)).double()
                state["calls"], state["list"] = state.get("calls", 0) + 1, [7, [1.5, None]]
                state["kept"] = self.kept


def test_all_that_an_optimizer_keeps_comes_back(tmp_path: Path) -> None:
    layers = network(0)
    optimizer = Strange([{"params": [p]} for p in layers.parameters()])
    optimizer.step()
    optimizer.step()
    optimizer.param_groups[1]["lr"] = 0.7
    save_checkpoint(tmp_path / "x.safetensors", layers, optimizer, {})
    saved = load_checkpoint(tmp_path / "x.safetensors")
    assert saved is not None
    other = network(1)
    again = Strange([{"params": [p]} for p in other.parameters()])
    restore(saved, other, again)
    assert again.param_groups[1]["lr"] == 0.7
    for group in again.param_groups:
        assert group["kind"] is torch.float64  # what it is made with needs no saving
        assert torch.equal(group["count"], torch.tensor(2.0))
        assert tuple(group["betas"]) == (0.9, 0.99)
    for (p, one), (q, two) in zip(optimizer.state.items(), again.state.items(), strict=True):
        assert p.shape == q.shape
        assert torch.equal(one["slow"], two["slow"])
        assert torch.equal(one["rows"].float(), two["rows"])  # torch casts to the parameter's type
        assert {k: two[k] for k in ("calls", "list", "kept")} == {
            "calls": 2, "list": [7, [1.5, None]], "kept": 2,
        }  # fmt: skip


def test_what_it_keeps_lies_in_memory_as_its_parameter_does(tmp_path: Path) -> None:
    """Else sums over it would round in another way."""
    layers = network(0)
    optimizer = adam(layers)
    trained(layers, optimizer, 1)
    strides = [{k: v.stride() for k, v in s.items()} for s in optimizer.state.values()]
    assert strides[0]["exp_avg"] == layers[0].weight.stride() != (27, 9, 3, 1)  # type: ignore[index,operator]
    save_checkpoint(tmp_path / "x.safetensors", layers, optimizer, {})
    saved = load_checkpoint(tmp_path / "x.safetensors")
    assert saved is not None
    other = network(1)
    again = adam(other)
    restore(saved, other, again)
    assert [{k: v.stride() for k, v in s.items()} for s in again.state.values()] == strides


@pytest.mark.parametrize(
    ("kept", "lost"),
    [
        (1.5, []),
        (torch.ones(2), []),
        (None, []),
        ([torch.ones(2)], ["kept"]),
        ({"a": 1}, ["kept"]),
        (torch.float32, ["kept"]),
    ],
)
def test_what_cannot_be_saved_is_named(kept: Any, lost: list[str]) -> None:
    optimizer = Strange([{"params": [torch.nn.Parameter(torch.ones(2))]}], kept)
    assert unsaved(optimizer) == []
    optimizer.step()
    assert unsaved(optimizer) == lost


def test_the_average_stands_beside_the_layers(tmp_path: Path) -> None:
    layers = network(0)
    average = {name: value + 1 for name, value in layers.state_dict().items()}
    save_checkpoint(tmp_path / "x.safetensors", layers, None, {}, average)
    saved = load_checkpoint(tmp_path / "x.safetensors")
    assert saved is not None
    for name, value in layers.state_dict().items():
        assert torch.equal(saved.named("model")[name], value)
        assert torch.equal(saved.named("average")[name], value + 1)


def test_saving_changes_nothing(tmp_path: Path) -> None:
    layers = network(0)
    before = {name: value.clone() for name, value in layers.state_dict().items()}
    save_checkpoint(tmp_path / "x.safetensors", layers, None, {})
    for name, value in layers.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.stride() == before[name].stride()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_state_is_an_error_with_the_next_step(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "last.safetensors"
    save_checkpoint(file, network(0), None, {"epoch": 1})
    data = file.read_bytes()
    damaged = {
        "cut": data[: len(data) // 2],
        "flipped": data[:8] + bytes(byte ^ 0xFF for byte in data[8:60]) + data[60:],
        "empty": b"",
        "other": b"not a checkpoint at all",
    }
    file.write_bytes(damaged[damage])
    with pytest.raises(RunError, match=r"last\.safetensors is damaged .* Delete it"):
        load_checkpoint(file)


def test_weights_without_facts_are_no_state(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"model.x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(RunError, match="damaged"):
        load_checkpoint(tmp_path / "x.safetensors")
