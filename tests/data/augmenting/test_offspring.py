"""Who has children, how many, and that nothing else decides on what they look like."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bowerbird.config import ExpandConfig
from bowerbird.data.augmenting.notation import from_text
from bowerbird.data.augmenting.offspring import Plan, made_of, make_plan
from bowerbird.data.dataset import Dataset, Sample
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import DataError


def made(
    *parts: dict[str, int], names: tuple[str, ...] | None = None, group: str | None = None
) -> tuple[Dataset, Split]:
    """One dictionary per class: images per split."""
    names = names or tuple(f"class{n}" for n in range(len(parts)))
    samples, assignment = [], []
    for target, counts in enumerate(parts):
        for part, count in counts.items():
            for number in range(count):
                path = f"{target}/{part}{number}.jpg"
                samples.append(Sample(path, target, group=group))
                assignment.append(part if part in ("train", "val", "test") else None)
    hashes = tuple(f"{n:032x}" for n in range(len(samples)))
    return Dataset(Path("/data"), tuple(samples), names), Split(tuple(assignment), hashes)


def per_class(plan: Plan, ds: Dataset) -> Counter[int | None]:
    return Counter(ds.samples[child.parent.index].target for child in plan.children)


def test_every_class_gets_as_many_as_asked_for() -> None:
    ds, split = made({"train": 7, "val": 2, "test": 3}, {"train": 30}, {"train": 10, "none": 2})
    plan = make_plan(ds, split, ExpandConfig(per_class=20))
    assert per_class(plan, ds) == {0: 13, 2: 10}
    assert plan.larger == ("class1",)
    assert plan.dropped == ()
    assert len(plan.originals) == 7 + 2 + 3 + 30 + 10
    usual = make_plan(ds, split, ExpandConfig())
    assert per_class(usual, ds) == {0: 23, 2: 20}  # as many as the largest has


def test_only_training_images_have_children() -> None:
    ds, split = made({"train": 3, "val": 4, "test": 5}, {"train": 2, "val": 1})
    plan = make_plan(ds, split, ExpandConfig(per_class=50))
    assert {split.assignment[child.parent.index] for child in plan.children} == {"train"}
    assert all(child.path.startswith("train/") for child in plan.children)
    rows = [dict(zip(Plan.COLUMNS, row, strict=True)) for row in plan.rows(ds, split)]
    held_out = {row["path"] for row in rows if row["split"] != "train"}
    assert not held_out & {row["parent"] for row in rows}
    by_group: dict[str, set[str]] = {}
    for row in rows:
        by_group.setdefault(row["group"] or row["path"], set()).add(row["split"])
    assert {len(parts) for parts in by_group.values()} == {1}
    assert all(row["group"] == row["parent"] for row in rows if row["parent"])


def test_parents_take_turns() -> None:
    ds, split = made({"train": 7}, {"train": 3})
    plan = make_plan(ds, split, ExpandConfig(per_class=24))
    children = Counter(child.parent.index for child in plan.children)
    assert sorted(children[i] for i in range(7)) == [2, 2, 2, 2, 3, 3, 3]
    assert [children[i] for i in range(7, 10)] == [7, 7, 7]
    assert len({child.seed for child in plan.children}) == len(plan.children)


def test_a_larger_class_is_sampled_down_on_request() -> None:
    ds, split = made({"train": 3500, "test": 20}, {"train": 10})
    plan = make_plan(ds, split, ExpandConfig(per_class=3000, downsample=True))
    assert len(plan.dropped) == 500
    assert per_class(plan, ds) == {1: 2990}
    kept = {one.index for one in plan.originals}
    assert not kept & set(plan.dropped)
    assert len(kept) == 3000 + 20 + 10
    other = make_plan(ds, split, ExpandConfig(per_class=3000, downsample=True, seed=1))
    shared = set(plan.dropped) & set(other.dropped)
    assert 30 < len(shared) < 120  # a seventh of 500, by chance


def test_images_that_come_later_hardly_change_what_is_drawn() -> None:
    before = make_plan(*made({"train": 5}, {"train": 5}), ExpandConfig(per_class=15))
    ds, split = made({"train": 5}, {"train": 6}, {"train": 4})
    after = make_plan(ds, split, ExpandConfig(per_class=15))
    first = {child.path: child.seed for child in before.children if "class0" in child.path}
    assert first == {c.path: c.seed for c in after.children if "class0" in c.path}


def test_the_manifest_repeats_what_was_done() -> None:
    ds, split = made({"train": 3}, {"train": 2})
    config = ExpandConfig(per_class=9, augment="crop,rotate,shift,zoom,fill=wrap,hue,erasing")
    plan = make_plan(ds, split, config)
    rows = {row[0]: dict(zip(Plan.COLUMNS, row, strict=True)) for row in plan.rows(ds, split)}
    for child in plan.children:
        row = rows[child.path]
        assert from_text(row["transform"]) == made_of(child, plan.changes)
        assert int(row["seed"]) == child.seed
        assert row["source"] == ds.samples[child.parent.index].path
    originals = [row for row in rows.values() if not row["parent"]]
    assert len(originals) == 5
    assert {(row["transform"], row["seed"]) for row in originals} == {("", "")}


def test_given_groups_stay() -> None:
    ds, split = made({"train": 2, "test": 1}, {"train": 2}, group="patient 7")
    plan = make_plan(ds, split, ExpandConfig(per_class=4))
    assert {row[3] for row in plan.rows(ds, split)} == {"patient 7"}


def test_folders_and_files_have_names_that_every_disk_takes() -> None:
    names = ("a/b", "A:b", "con", ".x")
    ds, split = made(*[{"train": 2}] * 4, names=names)
    plan = make_plan(ds, split, ExpandConfig(per_class=3))
    folders = {path.split("/")[1] for path in (one.path for one in plan.originals)}
    assert folders == {"a_b", "A_b-2", "_con", "_x"}
    assert {row[1] for row in plan.rows(ds, split)} == set(names)


def test_no_two_images_have_one_name() -> None:
    paths = ("0/x/a.jpg", "0/y/a.jpg", "0/z/A.JPG", "0/a-001.jpg", "1/b.png", "1/c.png")
    samples = tuple(Sample(path, int(path[0])) for path in paths)
    ds = Dataset(Path("/data"), samples, ("cat", "dog"))
    plan = make_plan(ds, Split(("train",) * 6, ("",) * 6), ExpandConfig(per_class=12))
    every = [one.path for one in plan.originals] + [child.path for child in plan.children]
    assert len({path.casefold() for path in every}) == len(every) == 24


def test_a_class_without_training_images_is_named() -> None:
    ds, split = made({"train": 3}, {"test": 3}, {"val": 1})
    with pytest.raises(DataError, match=r"No training images: 'class1', 'class2'\. .*--val"):
        make_plan(ds, split, ExpandConfig())


def test_a_class_that_a_table_cannot_hold_is_refused() -> None:
    ds, split = made({"train": 3}, {"train": 3}, names=("NaN", "b"))
    with pytest.raises(DataError, match="missing label"):
        make_plan(ds, split, ExpandConfig())


def test_an_image_that_is_held_out_as_a_copy_has_no_children() -> None:
    ds, split = made({"train": 3, "test": 2}, {"train": 2, "val": 1})
    hashes = list(split.hashes)
    hashes[3], hashes[7] = hashes[1], hashes[5]  # a test image is train1, a val image train0
    leaky = Split(split.assignment, tuple(hashes))
    plan = make_plan(ds, leaky, ExpandConfig(per_class=9))
    assert plan.childless == (1, 5)
    assert {child.parent.index for child in plan.children} == {0, 2, 6}
    assert per_class(plan, ds) == {0: 6, 1: 7}
    assert len(plan.originals) == len(ds)
    hashes[6] = hashes[7]
    with pytest.raises(DataError, match="Every training image of 'class1' is held out, too"):
        make_plan(ds, Split(split.assignment, tuple(hashes)), ExpandConfig(per_class=9))


def test_a_training_image_that_looks_like_a_held_out_one_has_no_children() -> None:
    ds, split = made({"train": 3, "test": 2}, {"train": 3})
    near = replace(split, alike=((0, 3),))
    plan = make_plan(ds, near, ExpandConfig(per_class=9))
    assert plan.childless == (0,)
    assert {child.parent.index for child in plan.children} == {1, 2, 5, 6, 7}
