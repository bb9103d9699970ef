"""An ablation's figures and its page, from made outcomes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from bowerbird.comparison.ablation import Ablation, Failure, Outcome
from bowerbird.comparison.arms import Arm, ladder_arms, leave_one_out_arms
from bowerbird.comparison.weighing import weigh
from bowerbird.errors import DataError
from bowerbird.evaluation.metrics import score
from bowerbird.evaluation.results import Predictions
from bowerbird.plots.ablation import changes, ladder
from bowerbird.report.of_ablation import write_ablation

N = 200
PATHS = tuple(f"{number}.jpg" for number in range(N))
LADDER = ladder_arms()


def found(rights: list[int], arms: tuple[Arm, ...] = LADDER, kind: str = "ladder") -> Ablation:
    outcomes = [
        Outcome(
            arm.name, seed, f"/x/runs/{arm.slug}-{seed}", PATHS,
            np.roll(np.arange(N) < right, 60 * seed), 0.4, 75.0, 12,
        )
        for arm, right in zip(arms, rights, strict=True)
        for seed in range(3)
    ]  # fmt: skip
    return weigh(kind, arms, outcomes)  # type: ignore[arg-type]


def words(figure: object) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))  # type: ignore[attr-defined]


def test_changes_are_told_by_mark_colour_and_word() -> None:
    figure = changes(found([150, 180, 120, 150, 151]))
    shown = words(figure)
    for text in ("+ flip", "+ greyscale", "helps", "harms", "not to be told", "+15.0 [", "-15.0 ["):
        assert text in shown
    axes = figure.axes[0]
    marks = [line.get_marker() for line in axes.lines if line.get_markersize() == 9]
    assert marks == ["^", "v", "o", "o"]
    means = [float(np.ravel(line.get_xdata())[0]) for line in axes.lines
             if line.get_markersize() == 9]  # fmt: skip
    assert means == pytest.approx([15, -15, 0, 0.5])
    hollow = [line for line in axes.lines if line.get_markersize() == 4]
    assert all(len(line.get_xdata()) == 3 for line in hollow)
    assert "Change against no augmentation (75 %)" in shown


def test_a_ladder_is_a_line_with_a_band_around_the_base() -> None:
    result = found([150, 180, 120, 150, 151])
    figure = ladder(result)
    axes = figure.axes[0]
    line = next(line for line in axes.lines if line.get_markersize() == 6)
    assert list(line.get_ydata()) == pytest.approx([0.75, 0.9, 0.6, 0.75, 0.755])
    band = axes.collections[0].get_paths()[0].vertices
    change = result.results[1].change
    assert change is not None
    at_flip = sorted(y for x, y in band if x == 1)
    assert at_flip[0] == pytest.approx(0.75 + change.difference.interval.low)
    assert at_flip[-1] == pytest.approx(0.75 + change.difference.interval.high)
    assert {y for x, y in band if x == 0} == {0.75}
    assert "helps" in words(figure)
    assert "harms" in words(figure)


def test_what_cannot_be_drawn() -> None:
    single = weigh("ladder", LADDER[:1], [])
    with pytest.raises(DataError, match="No arm can be compared"):
        changes(single)
    for result in (single, found([150, 160], leave_one_out_arms(["flip"]), "leave-one-out")):
        with pytest.raises(DataError, match="A line is drawn for a ladder"):
            ladder(result)


def test_nothing_is_cut_off() -> None:
    long = ladder_arms(["brightness=0.5,contrast=0.5,saturation=0.5,hue=0.1,grey@0.1", "flip"])
    for figure in (changes(found([150, 160, 100], long)), ladder(found([150, 160, 100], long))):
        figure.draw_without_rendering()
        size = figure.get_size_inches() * figure.dpi
        for axes in figure.axes:
            box = axes.get_tightbbox()
            assert box is not None
            assert (box.x0, box.y0) >= (-1, -1)
            assert (box.x1 <= size[0] + 1, box.y1 <= size[1] + 1) == (True, True)


def test_long_names_stand_in_lines_broken_after_commas() -> None:
    long = ladder_arms(["brightness=0.5,contrast=0.5,saturation=0.5,hue=0.1", "flip"])
    result = found([150, 160, 100], long)
    (drawn,) = changes(result).axes
    assert [t.get_text() for t in drawn.get_yticklabels()] == [
        "+ brightness=0.5,\ncontrast=0.5,\nsaturation=0.5, hue=0.1", "+ flip",
    ]  # fmt: skip
    (drawn,) = ladder(result).axes
    assert [t.get_text() for t in drawn.get_xticklabels()] == [
        "no augmentation", "+ brightness=0.5,\ncontrast=0.5,\nsaturation=0.5,\nhue=0.1",
        "+ flip",
    ]  # fmt: skip


def test_names_that_differ_late_are_told_apart_and_endless_ones_are_shortened() -> None:
    settings = ",".join(f"setting{n}=0.25" for n in range(12))
    names = ["base", f"model=a_very_long_name{'x' * 30}lite0", f"{settings},a=1", f"{settings},a=2"]
    arms = tuple(Arm(name, f"a{n}", {}, n) for n, name in enumerate(names))
    (drawn,) = changes(found([150, 160, 100, 90], arms, "vary")).axes
    shown = [t.get_text() for t in drawn.get_yticklabels()]
    assert len(set(shown)) == 3
    assert all(len(text.split("\n")) <= 4 for text in shown)
    assert "…" in shown[0]
    assert shown[0].endswith("lite0")
    assert shown[1].endswith("a=1")


def test_options_are_not_broken_the_seed_is_one_and_the_command_can_be_run(tmp_path: Path) -> None:
    result = found([150, 151], LADDER[:2])
    one = dataclasses.replace(
        result, seeds=(0,), notes=("No line <ends> in --head-start.",),
        settings={"recipe": {"data": "my images"}},
    )  # fmt: skip
    page = write_ablation(one, tmp_path).read_text()
    assert 'more validation images (<code class="option">--val</code>), or' in page
    assert 'No line &lt;ends&gt; in <code class="option">--head-start</code>.' in page
    assert "code.option { white-space: nowrap; }" in page
    assert "<dt>seed</dt>" in page
    assert f"bowerbird train &#39;my images&#39; --config {tmp_path / 'winner.toml'}" in page
    bare = write_ablation(result, tmp_path).read_text()
    assert f"bowerbird train DATA --config {tmp_path / 'winner.toml'}" in bare
    assert "<dt>seeds</dt>" in bare


def test_the_page_says_what_came_out(tmp_path: Path) -> None:
    page = write_ablation(found([150, 180, 120, 150, 151]), tmp_path).read_text()
    for text in (
        "rotation harms: -30.0 [", "flip helps: +15.0 [", "Test images were not looked at",
        "augmentations added one at a time", "against the step before", "1 min 15 s",
        "(taken)", "runs/rotation-1",
    ):  # fmt: skip
        assert text in page
    assert "<script" not in page
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "ablation.html", "ablation.json", "ablation.csv", "changes.png", "ladder.png",
    }  # fmt: skip
    assert json.loads((tmp_path / "ablation.json").read_text())["images"] == N


def test_failures_the_test_score_and_strange_names_are_on_the_page(tmp_path: Path) -> None:
    arms = (Arm("<b>base</b>", "base", {}), Arm("x & y", "x", {"network.model": "<i>"}, 1))
    result = found([150, 151], arms, "vary")
    table = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    tested = score(Predictions(("a", "b"), ("p", "q"), table, np.array([0, 1])))
    result = dataclasses.replace(
        result, failures=(Failure("x & y", 3, "no <memory>"),), test=tested, notes=("Mind this.",)
    )
    page = write_ablation(result, tmp_path).read_text()
    assert "&lt;b&gt;base&lt;/b&gt;" in page
    assert "<b>base</b>" not in page
    assert "x &amp; y, seed 3: no &lt;memory&gt;" in page
    assert "winner on test" in page
    assert "Mind this." in page
    assert not (tmp_path / "ladder.png").exists()


def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        write_ablation(found([150, 180, 120, 150, 151]), folder)
    for name in ("ablation.html", "changes.png", "ladder.png", "ablation.csv"):
        assert (tmp_path / "one" / name).read_bytes() != b""
    assert (tmp_path / "one" / "changes.png").read_bytes() == (
        tmp_path / "two" / "changes.png"
    ).read_bytes()
