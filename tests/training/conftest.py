from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bowerbird.data.sources import read_images
from bowerbird.data.splitting.splits import Split, split
from bowerbird.features import Image
from bowerbird.storage import hash_file
from bowerbird.training.batches import Part
from drawing import draw


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """One thread: tiny layers are not worth more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes that differ in shape, hardly in colour: learnable, and not at once."""
    root = tmp_path_factory.mktemp("shapes")
    random = np.random.default_rng(1)
    for index, name in enumerate(("disc", "square", "triangle")):
        (root / name).mkdir()
        for number in range(20):
            image = draw(index, size=40, of=60, random=random)
            image.save(root / name / f"{number:02d}.png")
    return root


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of timm's test_resnet in a file: a network that counts as pretrained."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tensors = timm.create_model("test_resnet").state_dict()
    file = tmp_path_factory.mktemp("weights") / "test_resnet.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    return file


@pytest.fixture
def part() -> Callable[..., Part]:
    """The images of a class folder, every `step`-th from `first`."""

    def made(root: Path, first: int = 0, step: int = 1) -> Part:
        dataset = read_images(root)
        rows = range(first, len(dataset), step)
        images = tuple(Image(dataset.path(i), hash_file(dataset.path(i))) for i in rows)
        return Part(images, np.array([dataset.samples[i].target for i in rows]))

    return made


@pytest.fixture(scope="session")
def parts(shapes: Path) -> Split:
    return split(read_images(shapes), 0.2, 0.2)
