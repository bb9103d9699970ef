from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bowerbird import progress
from bowerbird.cli import main
from bowerbird.config import NetworkConfig
from bowerbird.errors import ModelError, RunError
from bowerbird.models import catalogue
from bowerbird.models.catalogue import Entry, list_networks, table
from bowerbird.models.summary import summary_of


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the networks that were made, in place of making them."""
    names: list[str] = []

    def measure(name: str) -> list[int | None]:
        names.append(name)
        return [1000 * len(names), None]

    monkeypatch.setattr(catalogue, "_measure", measure)
    return names


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    told: list[str] = []
    monkeypatch.setattr(progress, "say", told.append)
    yield told


def remembered() -> Path:
    return Path(os.environ["BOWERBIRD_CACHE"]) / "networks.json"


def test_what_is_listed() -> None:
    found = {entry.name: entry for entry in list_networks("test_resnet*")}
    assert list(found) == ["test_resnet", "test_resnet.r160_in1k"]
    assert found["test_resnet"].parameters == 469_688
    assert found["test_resnet"].input_size == (3, 160, 160)
    assert found["test_resnet"].multiply_adds == found["test_resnet.r160_in1k"].multiply_adds
    whole = summary_of(NetworkConfig(model="test_resnet"))
    assert found["test_resnet"].multiply_adds == whole.multiply_adds
    assert found["test_resnet"].licence == "apache-2.0"
    assert not found["test_resnet"].here


def test_sizes_are_those_of_the_summary() -> None:
    (squeeze,) = list_networks("torchvision:squeezenet1_1")
    assert squeeze.parameters == 1_235_496
    assert squeeze.multiply_adds == pytest.approx(0.35e9, rel=0.01)  # says torchvision
    assert squeeze.input_size == (3, 224, 224)
    assert squeeze.licence == "BSD-3-Clause (torchvision)"


def test_installed_weights_are_here() -> None:
    (entry,) = list_networks("tf_efficientnet_lite0", details=False)
    assert (entry.weights, entry.here, entry.licence) == ("installed", True, "Apache-2.0")
    assert entry.to_dict()["here"] is True


def test_sizes_are_worked_out_once(measured: list[str]) -> None:
    first = list_networks("resnet18*")
    names = {entry.name for entry in first}
    assert {"resnet18", "resnet18.a1_in1k", "resnet18d"} < names
    assert len(measured) < len(names)  # weights of the same shape share a figure
    before = list(measured)
    assert list_networks("resnet18*") == first
    list_networks("resnet18.*")
    assert measured == before
    assert remembered().is_file()


def test_long_lists_show_what_is_known(measured: list[str], said: list[str]) -> None:
    list_networks("resnet18*")
    few = len(measured)
    entries = {entry.name: entry for entry in list_networks("resnet*")}
    assert len(measured) == few
    assert entries["resnet18"].parameters is not None
    assert entries["resnet50"].parameters is None
    assert "--details works them out" in said[-1]
    list_networks("resnet*", details=True)
    assert len(measured) > few + 30
    said.clear()
    assert all(entry.parameters is not None for entry in list_networks("resnet*"))
    assert said == []


def test_without_details_nothing_is_worked_out(measured: list[str], said: list[str]) -> None:
    (entry,) = list_networks("test_vit", details=False)
    assert (entry.parameters, entry.multiply_adds) == (None, None)
    assert measured == said == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"libraries": {}, "figures": {}}',
        b'{"libraries": null}',
    ],
)
def test_what_cannot_be_used_is_worked_out_again(measured: list[str], content: bytes) -> None:
    list_networks("test_vit")
    kept = json.loads(remembered().read_text())
    remembered().write_bytes(content)
    list_networks("test_vit")
    assert measured == ["test_vit", "test_vit"]
    assert json.loads(remembered().read_text())["libraries"] == kept["libraries"]


def test_figures_of_other_libraries_are_forgotten(
    measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    list_networks("test_vit")
    monkeypatch.setattr(catalogue, "version", lambda package: "999")
    list_networks("test_vit")
    assert len(measured) == 2


def test_a_damaged_figure_is_worked_out_again(measured: list[str]) -> None:
    list_networks("test_vit")
    kept = json.loads(remembered().read_text())
    kept["figures"] = dict.fromkeys(kept["figures"], 3)
    remembered().write_text(json.dumps(kept))
    list_networks("test_vit")
    assert len(measured) == 2


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    measured: list[str], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> Path:
        raise RunError("It can't be written.")

    monkeypatch.setattr(catalogue.storage, "make_folder", refuse)
    (entry,) = list_networks("test_vit")
    assert entry.parameters == 1000
    assert said == ["The sizes can't be remembered: It can't be written."]


def test_what_was_worked_out_is_kept_when_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(name: str) -> list[int | None]:
        if name == "resnet18d":
            raise KeyboardInterrupt
        return [1, 2]

    monkeypatch.setattr(catalogue, "_measure", measure)
    with pytest.raises(KeyboardInterrupt):
        list_networks("resnet18*")
    (entry,) = list_networks("resnet18", details=False)
    assert (entry.parameters, entry.multiply_adds) == (1, 2)


def test_nothing_matches() -> None:
    with pytest.raises(ModelError, match=r"no network called 'resnet1888'. Did you mean resnet18"):
        list_networks("resnet1888")


def test_columns_are_straight() -> None:
    entries = [
        Entry("a", "none", None, (3, 8, 8)),
        Entry("a_long_name", "on this machine", "mit", (1, 224, 96), 1_234_567_890, 12 * 10**9),
    ]
    assert table(entries).splitlines() == [
        "network      weights          licence     input  parameters  multiply-adds",
        "a            none             -           8 × 8           -              -",
        "a_long_name  on this machine  mit      224 × 96   1,234.6 M        12.00 G",
    ]


def test_the_command(capsys: pytest.CaptureFixture[str], measured: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["models", "test_resnet*", "--json"])
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in found] == ["test_resnet", "test_resnet.r160_in1k"]
    assert [entry["parameters"] for entry in found] == [1000, 1000]
    with pytest.raises(SystemExit):
        main(["models", "test_vit", "--no-details"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 network")
    assert measured == ["test_resnet"]
