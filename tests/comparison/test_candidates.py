"""Which networks words name."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from bowerbird.comparison import candidates
from bowerbird.comparison.candidates import Candidate, asked_for
from bowerbird.errors import ConfigError, ModelError
from bowerbird.models.catalogue import Entry
from bowerbird.models.networks import create_model


@pytest.fixture(autouse=True)
def _nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def here(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    listed = [Entry(name, "installed", None, (3, 8, 8)) for name in names]
    listed.append(Entry("resnet50", "online", None, (3, 8, 8)))
    monkeypatch.setattr(candidates, "list_networks", lambda **_: listed)


def test_names_are_taken_in_their_order_and_may_bring_weights() -> None:
    words = " resnet18, torchvision:resnet18,resnet18.a1_in1k ,test_resnet=runs/a/best.pth"
    assert asked_for(words) == (
        Candidate("resnet18"),
        Candidate("torchvision:resnet18"),
        Candidate("resnet18.a1_in1k"),
        Candidate("test_resnet", "runs/a/best.pth"),
    )
    assert asked_for(["resnet18", "test_vit=none"])[1].name == "test_vit=none"
    assert asked_for(["local-dir:/a/b", "hf-hub:x/y"])[0].model == "local-dir:/a/b"


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("resnet5o", "resnet50"),
        ("torchvision:resnet19", "torchvision:resnet1"),
        ("resnet50.a9_in1k", "resnet50.a"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(word: str, near: str) -> None:
    with pytest.raises(ModelError, match=rf"no network called '{word}'. Did you mean .*{near}"):
        asked_for(f"resnet18,{word}")


def test_one_network_is_no_bakeoff() -> None:
    with pytest.raises(ConfigError, match=r"resnet18 alone.*--method probe.*resnet18,auto"):
        asked_for("resnet18")
    with pytest.raises(ConfigError, match="No network is named"):
        asked_for(" , ")


def test_a_network_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="resnet18 is named twice"):
        asked_for("resnet18,resnet34,resnet18")
    with pytest.raises(ConfigError, match=r"have the same name, best\.pth"):
        asked_for("resnet18=a/best.pth,resnet18=b/best.pth")
    with pytest.raises(ConfigError, match="'resnet18=' is no network"):
        asked_for("resnet18=,resnet34")


def test_auto_takes_what_is_here_and_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, "tf_efficientnet_lite0", "tf_efficientnet_lite0.in1k")
    monkeypatch.setattr(candidates, "_file_of", lambda name: "the same file")
    with pytest.raises(ConfigError, match=r"only tf_efficientnet_lite0. .*bowerbird\[models\]"):
        asked_for("auto")
    assert asked_for("auto,test_vit=none") == (
        Candidate("test_vit", "none"),
        Candidate("tf_efficientnet_lite0"),
    )
    assert len(asked_for("tf_efficientnet_lite0,auto,resnet18")) == 2
    here(monkeypatch)
    with pytest.raises(ConfigError, match="there is none"):
        asked_for("auto")


def test_auto_finds_weights_in_the_cache_of_torch(tmp_path: Path) -> None:
    assert "resnet18" not in {c.model.split(":")[-1] for c in asked_for("auto,test_vit=none")}
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    tensors = create_model("torchvision:resnet18", weights="none").module.state_dict()
    save_file(dict(tensors), folder / "resnet18-f37072fd.pth")
    assert Candidate("torchvision:resnet18") in asked_for("auto,test_vit=none")
