"""How fast and how right the maps are: X3 and X5 of the explanation room.

python benchmarks/explain.py RUN [--images 24] [--rounds 7]

X3: processor time per image of HiResCAM at the last stage, beside a plain forward pass and
beside the usual implementation (a full backward pass with hooks, as in grad-cam and
torchcam), in turns in one process, batch 8.

X5: insertion − deletion of every map beside a Gaussian in the middle and coarse random heat,
on random test images of RUN. Writes benchmarks/results/explain.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bowerbird.explanation.attribution import Attributor
from bowerbird.explanation.faithfulness import CENTRE, RANDOM
from bowerbird.explanation.maps import FORMULAS
from bowerbird.explanation.of_run import check_maps, explain
from bowerbird.models.networks import create_model
from bowerbird.runs import load_run

BATCH = 8
NETWORKS = ("tf_efficientnet_lite0", "resnet18", "resnet50", "deit_tiny_patch16_224")


def full_backward(module: nn.Module, layer: str, images: torch.Tensor) -> torch.Tensor:
    """Grad-CAM as it is usually written: the whole graph, and gradients of all parameters."""
    kept: dict[str, torch.Tensor] = {}

    def forward(_part: nn.Module, _args: Any, output: torch.Tensor) -> None:
        kept["value"] = output.detach()
        output.register_hook(lambda gradient: kept.update(gradient=gradient))

    handle = module.get_submodule(layer).register_forward_hook(forward)
    scores = module(images)
    module.zero_grad()
    scores.gather(1, scores.argmax(1, keepdim=True)).sum().backward()
    handle.remove()
    weights = kept["gradient"].flatten(2).mean(2)[..., None, None] if kept["value"].ndim == 4 else (
        kept["gradient"].mean(1, keepdim=True)
    )  # fmt: skip
    return (weights * kept["value"]).sum(1 if kept["value"].ndim == 4 else 2).relu()


def forward_only(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        scores: torch.Tensor = module(images)
    return scores


def in_turns(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median milliseconds of processor time per image; each way runs once per round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            began = time.process_time()
            way()
            if number:  # the first round warms up
                times[name].append((time.process_time() - began) / BATCH * 1000)
    return {name: statistics.median(each) for name, each in times.items()}


def cost(name: str, rounds: int) -> dict[str, float]:
    weights = "auto" if name == "tf_efficientnet_lite0" else "none"
    network = create_model(name, weights=weights, offline=True)
    module = network.module
    images = torch.randn(BATCH, 3, *network.preprocess.input_size)
    ours = Attributor(module)
    ours(images[:1])
    assert ours.place is not None
    layer = ours.place.name
    ways = {
        "forward": lambda: forward_only(module, images),
        "ours": lambda: ours(images),
        "full backward": lambda: full_backward(module, layer, images),
    }
    return in_turns(ways, rounds)


def faithful(run: Path, count: int) -> list[str]:
    opened = load_run(run)
    per_class = max(1, -(-count // len(opened.classes)))
    lines = []
    for method in FORMULAS:
        found = explain(opened, method=method, per_class=per_class)
        checked = check_maps(opened, found, own=True)
        own = checked.scores[method].to_dict()
        lines.append(
            f"| {method} | {len(checked)} | {own['insertion_minus_deletion']:.3f} | "
            f"{checked.scores[CENTRE].to_dict()['insertion_minus_deletion']:.3f} | "
            f"{checked.scores[RANDOM].to_dict()['insertion_minus_deletion']:.3f} | "
            f"{checked.over_centre:+.3f} | {checked.over_random:+.3f} | {own['road']:.3f} | "
            f"{checked.correlation if checked.correlation is not None else float('nan'):.2f} | "
            f"{checked.empty} |"
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    text = [
        "# Explanation\n",
        "Milliseconds of processor time per image at the last stage, batch "
        f"{BATCH}, {torch.get_num_threads()} threads, median of {given.rounds} rounds in "
        f"turns, torch {torch.__version__}.\n",
        "| network | forward pass | HiResCAM | full backward | of a forward | times the rate |",
        "|---|---|---|---|---|---|",
    ]
    for name in NETWORKS:
        found = cost(name, given.rounds)
        text.append(
            f"| {name} | {found['forward']:.1f} | {found['ours']:.1f} | "
            f"{found['full backward']:.1f} | {found['ours'] / found['forward']:.2f} | "
            f"{found['full backward'] / found['ours']:.1f} |"
        )
        print(text[-1], flush=True)
    text += [
        f"\nInsertion − deletion on {given.images} random test images of {given.run.name} "
        "(14 steps, blur a tenth of the input's side); the last columns are the lead over the "
        "middle and over random heat, ROAD, rank correlation with the network with random "
        "weights, and empty maps.\n",
        "| maps | images | ins − del | middle | random | over middle | over random | ROAD | "
        "random weights | empty |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *faithful(given.run, given.images),
    ]
    file = Path(__file__).parent / "results" / "explain.md"
    file.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
