"""Which runs are meant: folders, patterns, folders full of runs, names told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.comparison.finding import find_runs, names_of
from bowerbird.errors import RunError


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("runs/lite0", "runs/lite1", "runs/more/lite0", "runs/lite1/state/inner"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text("")
        (folder / "classes.txt").write_text("a\nb\n")
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "recipe").mkdir()
    (tmp_path / "runs" / "recipe" / "config.toml").write_text("")
    return tmp_path / "runs"


def _names(root: Path, found: list[Path]) -> list[str]:
    return [str(path.relative_to(root)) for path in found]


def test_a_folder_of_runs_a_pattern_and_a_run_each_once(runs: Path) -> None:
    assert _names(runs, find_runs([runs])) == ["lite0", "lite1", "more/lite0"]
    assert _names(runs, find_runs([f"{runs}/lite*"])) == ["lite0", "lite1"]
    assert _names(runs, find_runs([f"{runs}/more/*"])) == ["more/lite0"]
    again = find_runs([runs / "lite1", runs, runs / "more" / ".." / "lite0"])
    assert _names(runs, again) == ["lite1", "lite0", "more/lite0"]


def test_relative_patterns(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs.parent)
    assert _names(runs, find_runs(["runs/*1"])) == ["lite1"]


def test_what_was_a_run_is_left_to_the_reader(runs: Path) -> None:
    (runs / "lite0" / "config.toml").unlink()
    assert _names(runs, find_runs([runs / "lite0"])) == ["lite0"]


def test_typos_and_empty_folders_are_errors(runs: Path) -> None:
    with pytest.raises(RunError, match=r"There is no run .*lite2\. Did you mean .*lite"):
        find_runs([runs / "lite2"])
    with pytest.raises(RunError, match="holds none"):
        find_runs([runs / "notes"])
    with pytest.raises(RunError, match="There is no run"):
        find_runs([f"{runs}/nothing*"])
    with pytest.raises(RunError, match="None of the 1 folders"):
        find_runs([f"{runs}/no*"])


def test_names_are_as_short_as_tells_them_apart() -> None:
    paths = [Path("/a/one/x/run"), Path("/a/two/x/run"), Path("/a/two/x/other")]
    assert names_of(paths) == ["one/x/run", "two/x/run", "other"]
    assert names_of([]) == []
