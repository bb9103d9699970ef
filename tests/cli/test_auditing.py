"""`bowerbird apply`: what it prints, where it writes, how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bowerbird.cli import main
from drawing import draw_folder


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fixes.csv").write_text(
        "path,class,action,new_class\ncat/cat_000.jpg,cat,relabel,dog\ndog/dog_001.jpg,dog,drop,\n"
    )
    return draw_folder(tmp_path / "data", ("cat", "dog"), 4)


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def test_apply_says_what_it_did_and_what_comes_next(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("apply", data, "fixes.csv", "--materialize", "folder", "--copy") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "Applied: 1 relabelled, 1 dropped, 0 kept as they are. 7 images of 2 classes are left.",
        "Manifest:  manifest.csv",
        f"Folder:    {data.parent / 'folder'} (0 links, 7 copies)",
        f"Train:     bowerbird train {data} --manifest manifest.csv",
        f"Audit:     bowerbird audit {data} --manifest manifest.csv",
    ]
    assert len(list((data.parent / "folder" / "dog").iterdir())) == 4


def test_the_next_command_reads_the_data_in_the_same_way(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{p.relative_to(data)},{p.parent.name},x\n" for p in sorted(data.rglob("*.jpg"))]
    (data / "t.csv").write_text("path,my animal,colour\n" + "".join(rows))
    assert run("apply", data / "t.csv", "fixes.csv", "--label-column", "my animal") == 0
    train = f"bowerbird train {data}/t.csv --label-column 'my animal' --manifest manifest.csv"
    assert train in capsys.readouterr().out


def test_undo_with_the_manifest(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("apply", data, "fixes.csv", "--out", "a.csv") == 0
    capsys.readouterr()
    back = run(
        "apply", data, "fixes.csv", "--undo", "--manifest", "a.csv", "--out", "b.csv", "--json"
    )
    told = json.loads(capsys.readouterr().out)
    assert back == 0
    assert (told["images"], told["changes"], told["manifest"]) == (8, [], "b.csv")


def test_mistakes_are_told_and_nothing_is_written(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("fixes.csv").open("a") as file:
        file.write("dog/dog_002.jpg,dog,relabel,doge\n")
    before = {path.name for path in data.parent.iterdir()}
    assert run("apply", data, "fixes.csv") == 1
    assert "line 4: there is no class 'doge'; nearest: dog" in capsys.readouterr().err
    assert run("apply", data, "fixes.csv", "--undo") == 2
    assert "--manifest" in capsys.readouterr().err
    assert {path.name for path in data.parent.iterdir()} == before
