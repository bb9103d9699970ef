from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bowerbird.config import SplitConfig
from bowerbird.data.checks import Checked
from bowerbird.data.dataset import Dataset, Sample
from bowerbird.data.sources import read_images
from bowerbird.data.splitting.splits import Split, folds, hold_out, split
from bowerbird.errors import ConfigError, DataError
from drawing import draw_folder

CLASSES = ("a", "b", "c")


def dataset(
    *sizes: int, given: str | None = None, groups: dict[int, str] | None = None
) -> tuple[Dataset, list[Checked]]:
    samples = [
        Sample(f"{CLASSES[target]}/{number:04d}.jpg", target, given)
        for target, size in enumerate(sizes)
        for number in range(size)
    ]
    samples = [
        Sample(s.path, s.target, s.split, (groups or {}).get(i)) for i, s in enumerate(samples)
    ]
    checked = [Checked(f"{i:032x}", None) for i in range(len(samples))]
    return Dataset(Path("/x"), tuple(samples), CLASSES[: len(sizes)]), checked


def with_splits(ds: Dataset, parts: list[str | None]) -> Dataset:
    samples = [
        Sample(s.path, s.target, part, s.group) for s, part in zip(ds.samples, parts, strict=True)
    ]
    return Dataset(ds.root, tuple(samples), ds.classes)


def sizes(result: Split) -> dict[str, int]:
    return {name: len(result.indices(name)) for name in ("train", "val", "test")}


def test_shares_per_class() -> None:
    ds, checked = dataset(100, 40)
    result = split(ds, checked=checked)
    assert result.counts(ds) == {
        "train": {"a": 70, "b": 28},
        "val": {"a": 15, "b": 6},
        "test": {"a": 15, "b": 6},
    }
    assert repr(result) == "Split(98 train, 21 val, 21 test)"
    assert result.indices("val").dtype == np.int64
    assert (np.diff(result.indices("train")) > 0).all()


def test_a_number_per_class_and_none() -> None:
    ds, checked = dataset(100, 40)
    result = split(ds, val=0, test=20, checked=checked)
    assert sizes(result) == {"train": 100, "val": 0, "test": 40}
    assert result.counts(ds)["test"] == {"a": 20, "b": 20}
    assert any("test: 40 images, 20 per class" in note for note in result.notes)
    assert sizes(split(ds, val=0, test=0, checked=checked))["train"] == 140


def test_a_given_test_split_stays_and_validation_comes_from_training() -> None:
    ds, checked = dataset(40, 40)
    ds = with_splits(ds, (["train"] * 20 + ["test"] * 20) * 2)
    result = split(ds, checked=checked)
    assert sizes(result) == {"train": 34, "val": 6, "test": 40}
    assert all(ds.samples[i].split == "test" for i in result.indices("test"))
    assert "test: 40 images, as given." in result.notes
    with pytest.raises(ConfigError, match="gives its own test images"):
        split(ds, test=0.5, checked=checked)


def test_given_validation_without_test_means_no_test_unless_asked() -> None:
    ds, checked = dataset(40, 40)
    ds = with_splits(ds, ([None] * 20 + ["val"] * 20) * 2)
    assert sizes(split(ds, checked=checked)) == {"train": 40, "val": 40, "test": 0}
    asked = split(ds, test=0.25, checked=checked)
    assert sizes(asked) == {"train": 30, "val": 40, "test": 10}
    assert all(ds.samples[i].split is None for i in asked.indices("test"))


def test_a_lone_train_folder_gives_no_splits() -> None:
    ds, checked = dataset(40, 40, given="train")
    assert sizes(split(ds, checked=checked)) == {"train": 56, "val": 12, "test": 12}


def test_a_source_without_training_images() -> None:
    ds, checked = dataset(10, 10, given="test")
    with pytest.raises(DataError, match="none for training"):
        split(ds, checked=checked)


def test_classes_too_small_are_named() -> None:
    ds, checked = dataset(30, 2, 1)
    with pytest.raises(DataError) as caught:
        split(ds, checked=checked)
    assert str(caught.value) == (
        "2 of 3 classes are too small to split: 'b' (2 images), 'c' (1 image). Training and val "
        "and test need at least 3 readable images per class that don't belong together "
        "(copies, a group, images that look alike). Add images, remove these classes, or hold "
        "out less (--val 0 --test 0)."
    )
    with pytest.raises(DataError, match=r"1 of 3 .* 'c' \(1 image\).*at least 2"):
        split(ds, test=0, checked=checked)
    assert sizes(split(ds, val=0, test=0, checked=checked))["train"] == 33
    ds, checked = dataset(3, 3)
    assert sizes(split(ds, checked=checked)) == {"train": 2, "val": 2, "test": 2}


def test_too_few_for_a_number_per_class() -> None:
    ds, checked = dataset(30, 24)
    with pytest.raises(DataError, match=r"'b' \(24 images\).*at least 25"):
        split(ds, val=4, test=20, checked=checked)
    assert sizes(split(ds, val=3, test=20, checked=checked))["train"] == 8


def test_one_group_or_one_image_copied_is_too_small() -> None:
    ds, checked = dataset(10, 10, groups=dict.fromkeys(range(10, 20), "p"))
    with pytest.raises(DataError, match="'b'"):
        split(ds, checked=checked)
    ds, checked = dataset(10, 10)
    checked[10:] = [Checked("f" * 32, None)] * 10
    with pytest.raises(DataError, match="'b'"):
        split(ds, checked=checked)


@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan"), float("inf")])
def test_amounts_that_mean_nothing(wrong: float) -> None:
    ds, checked = dataset(30, 30)
    for name in ("val", "test"):
        with pytest.raises(ConfigError, match=f"{name} must be"):
            split(ds, checked=checked, **{name: wrong})
    with pytest.raises(ConfigError, match="nothing is left"):
        split(ds, val=0.5, test=0.5, checked=checked)


def test_no_labels_and_no_readable_images() -> None:
    with pytest.raises(DataError, match="no labels"):
        split(Dataset(Path("/x"), (Sample("a.jpg"),), ()))
    ds, checked = dataset(3, 3)
    with pytest.raises(DataError, match="6 × truncated"):
        split(ds, checked=[Checked(None, "truncated")] * 6)
    with pytest.raises(ConfigError, match="no split 'dev'"):
        split(ds, checked=checked).indices("dev")


def test_unreadable_images_are_listed_and_left_out(tmp_path: Path) -> None:
    root = draw_folder(tmp_path, per_class=10)
    bad = sorted(root.rglob("*.jpg"))[::4]
    for path in bad:
        path.write_bytes(path.read_bytes()[:300])
    ds = read_images(root)
    result = split(ds)
    assert {p.path for p in result.problems} == {p.relative_to(root).as_posix() for p in bad}
    assert all(p.reason == "truncated" for p in result.problems)
    assert sum(sizes(result).values()) == 30 - len(bad)
    assert [i for i, part in enumerate(result.assignment) if part is None] == [
        i for i, s in enumerate(ds.samples) if s.path in {p.path for p in result.problems}
    ]
    assert f"{len(bad)} left out" in repr(result)


def test_copies_stay_together_and_unlike_labels_are_noted() -> None:
    ds, checked = dataset(20, 20)
    checked[25] = checked[3]
    result = split(ds, checked=checked)
    assert result.assignment[3] == result.assignment[25]
    assert "1 set of exact copies kept together in one split." in result.notes
    unlike = "1 set of exact copies with different labels, e.g. a/0003.jpg, b/0005.jpg."
    assert unlike in result.notes
    assert result.leaked == ()


def test_copies_across_given_splits_are_reported_not_moved() -> None:
    ds, checked = dataset(20, 20)
    parts: list[str | None] = (["train"] * 10 + ["val"] * 4 + ["test"] * 6) * 2
    ds = with_splits(ds, parts)
    checked[18], checked[11], checked[39] = checked[0], checked[1], checked[31]
    result = split(ds, checked=checked)
    assert list(result.assignment) == parts
    assert result.leaked == (11, 18)
    assert any("Of the test images, 1 can be found in training" in n for n in result.notes)
    assert any("Of the val images, 1 can be found in training" in n for n in result.notes)
    assert "1 set of exact copies straddle val and test, as given." in result.notes
    assert result.to_dict()["leaked"] == [11, 18]


def test_a_group_across_given_splits_is_reported() -> None:
    ds, checked = dataset(10, 10, groups={0: "p", 9: "p"})
    ds = with_splits(ds, (["train"] * 5 + ["val"] * 2 + ["test"] * 3) * 2)
    notes = split(ds, checked=checked).notes
    assert "Of the groups, 1 straddle the given splits, e.g. 'p': scores may flatter." in notes


def test_classes_absent_from_a_given_split_are_noted() -> None:
    ds, checked = dataset(10, 10)
    ds = with_splits(ds, ["train"] * 10 + ["train"] * 5 + ["test"] * 5)
    assert "test holds no image of 'a'." in split(ds, checked=checked).notes


@st.composite
def datasets(draw: st.DrawFn) -> tuple[Dataset, list[Checked]]:
    ds, checked = dataset(*draw(st.lists(st.integers(8, 25), min_size=2, max_size=3)))
    n = len(ds)
    groups = draw(st.lists(st.sampled_from([None, None, *"pqrstu"]), min_size=n, max_size=n))
    copies = draw(st.lists(st.integers(0, 3 * n), min_size=n, max_size=n))
    bad = draw(st.sets(st.integers(0, n - 1), max_size=n // 4))
    samples = [Sample(s.path, s.target, None, g) for s, g in zip(ds.samples, groups, strict=True)]
    checked = [
        Checked(f"{c:032x}", "truncated" if i in bad else None) for i, c in enumerate(copies)
    ]
    return Dataset(ds.root, tuple(samples), ds.classes), checked


@given(datasets(), st.integers(0, 5))
def test_nothing_that_belongs_together_straddles(
    drawn: tuple[Dataset, list[Checked]], seed: int
) -> None:
    ds, checked = drawn
    try:
        result = split(ds, seed=seed, checked=checked)
    except DataError as error:
        assert "too small" in str(error)
        return
    places: dict[tuple[str, str | None], set[str | None]] = defaultdict(set)
    for sample, verdict, part in zip(ds.samples, checked, result.assignment, strict=True):
        assert (part is None) == (verdict.reason is not None)
        if part is not None:
            places["copy", verdict.content_hash].add(part)
            if sample.group is not None:
                places["group", sample.group].add(part)
    assert all(len(parts) == 1 for parts in places.values())
    assert result.leaked == ()


@given(
    st.lists(st.integers(3, 60), min_size=2, max_size=3),
    st.sampled_from([0.0, 0.1, 0.15, 0.3, 1]),
    st.sampled_from([0.0, 0.1, 0.2, 1]),
    st.integers(0, 3),
)
def test_sizes_are_within_one_of_what_was_asked(
    counts: list[int], val: float, test: float, seed: int
) -> None:
    ds, checked = dataset(*counts)
    found = split(ds, val, test, seed, checked).counts(ds)
    for target, name in enumerate(ds.classes):
        for part, amount in (("val", val), ("test", test)):
            wanted = amount * counts[target] if amount < 1 else amount
            assert abs(found[part][name] - wanted) <= 1


@given(datasets(), st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_order_of_the_source_does_not_matter(
    drawn: tuple[Dataset, list[Checked]], seed: int, shuffler: random.Random
) -> None:
    ds, checked = drawn
    order = list(range(len(ds)))
    shuffler.shuffle(order)
    mixed = Dataset(ds.root, tuple(ds.samples[i] for i in order), ds.classes)
    try:
        first = split(ds, seed=seed, checked=checked)
    except DataError:
        return
    again = split(mixed, seed=seed, checked=[checked[i] for i in order])
    assert [first.assignment[i] for i in order] == list(again.assignment)
    assert split(ds, seed=seed, checked=checked) == first


def test_the_seed_matters_and_a_new_image_hardly_does() -> None:
    ds, checked = dataset(200, 200)
    first, other = (split(ds, seed=seed, checked=checked) for seed in (0, 1))
    assert sum(a != b for a, b in zip(first.assignment, other.assignment, strict=True)) > 80
    more = Dataset(ds.root, (*ds.samples, Sample("b/new.jpg", 1)), ds.classes)
    third = split(more, checked=[*checked, Checked("e" * 32, None)])
    assert sum(a != b for a, b in zip(first.assignment, third.assignment, strict=False)) < 20


def test_every_image_has_the_same_chance() -> None:
    ds, checked = dataset(10, 10)
    seen = Counter(
        int(i) for seed in range(300) for i in split(ds, 0, 0.3, seed, checked).indices("test")
    )
    assert min(seen.values()) > 50 and max(seen.values()) < 135


# Sets that stay together


def test_sets_that_are_named_stay_together_and_are_told() -> None:
    ds, checked = dataset(20, 20)
    pairs = [(n, n + 20) for n in range(0, 20, 2)]
    result = split(ds, checked=checked, together=pairs)
    assert all(result.assignment[a] == result.assignment[b] for a, b in pairs)
    assert "10 sets of images that look alike kept together in one split." in result.notes
    apart = split(ds, checked=checked).assignment
    assert any(apart[a] != apart[b] for a, b in pairs)


@pytest.mark.parametrize("wrong", [-1, 40])
def test_sets_of_samples_that_are_not_there(wrong: int) -> None:
    ds, checked = dataset(20, 20)
    for verb in (lambda **o: split(ds, **o), lambda **o: folds(ds, 3, **o)):
        with pytest.raises(ConfigError, match=f"names sample {wrong}, .* 0 to 39"):
            verb(checked=checked, together=[(0, wrong)])


def test_sets_that_hold_unreadable_images() -> None:
    ds, checked = dataset(20, 20)
    checked[0] = Checked(None, "truncated")
    result = split(ds, checked=checked, together=[(0, 1, 21), (0, 5)])
    assert result.assignment[0] is None
    assert result.assignment[1] == result.assignment[21]
    assert "1 set of images that look alike kept together in one split." in result.notes


# Folds


def check_folds(ds: Dataset, checked: list[Checked], found: tuple[Split, ...]) -> None:
    """Each readable image that isn't test is validation once, and training elsewhere."""
    for i, verdict in enumerate(checked):
        parts = Counter(result.assignment[i] for result in found)
        if verdict.reason is not None:
            assert parts == {None: len(found)}
        else:
            once = Counter({"val": 1, "train": len(found) - 1})
            assert parts in (once, Counter({"test": len(found)}))


def test_folds_of_equal_classes() -> None:
    ds, checked = dataset(50, 20)
    found = folds(ds, 5, checked=checked)
    check_folds(ds, checked, found)
    assert [result.counts(ds)["val"] for result in found] == [{"a": 10, "b": 4}] * 5
    assert found[1].notes[:2] == ("Fold 2 of 5: 14 images for validation.", "test: none.")
    assert found == folds(ds, 5, checked=checked)
    assert found != folds(ds, 5, seed=1, checked=checked)
    assert {result.seed for result in folds(ds, 5, seed=3, checked=checked)} == {3}


def test_a_test_split_that_is_given_is_in_no_fold() -> None:
    ds, checked = dataset(20, 20)
    ds = with_splits(ds, (["train"] * 12 + ["test"] * 8) * 2)
    found = folds(ds, 3, checked=checked)
    check_folds(ds, checked, found)
    for result in found:
        assert all(ds.samples[i].split == "test" for i in result.indices("test"))
        assert sizes(result) == {"train": 16, "val": 8, "test": 16}
        assert "test: 16 images, as given." in result.notes
    with pytest.raises(ConfigError, match="gives its own test images"):
        folds(ds, 3, test=0.2, checked=checked)


def test_validation_that_is_given_is_dealt_out_and_told() -> None:
    ds, checked = dataset(20, 20)
    ds = with_splits(ds, (["train"] * 12 + ["val"] * 8) * 2)
    found = folds(ds, 4, checked=checked)
    check_folds(ds, checked, found)
    assert [sizes(result)["val"] for result in found] == [10] * 4
    assert "The validation images that DATA gives are dealt into the folds, too." in found[0].notes


def test_a_test_split_that_is_asked_for_is_the_same_in_all_folds() -> None:
    ds, checked = dataset(40, 40)
    found = folds(ds, 4, test=0.25, checked=checked)
    check_folds(ds, checked, found)
    assert {tuple(result.indices("test")) for result in found} == {tuple(found[0].indices("test"))}
    assert found[0].counts(ds)["test"] == {"a": 10, "b": 10}
    assert sizes(folds(ds, 4, test=5, checked=checked)[0])["test"] == 10


@pytest.mark.parametrize("k", [1, 0, -3])
def test_too_few_folds(k: int) -> None:
    ds, checked = dataset(10, 10)
    with pytest.raises(ConfigError, match=f"2 folds or more. Found: {k}"):
        folds(ds, k, checked=checked)


def test_settings_say_whether_there_are_folds() -> None:
    ds, checked = dataset(20, 20)
    assert hold_out(ds, SplitConfig(val=0.2, split_seed=2), checked) == (
        split(ds, val=0.2, seed=2, checked=checked),
    )
    every = folds(ds, 4, test=0.2, seed=2, checked=checked, together=[(0, 1)])
    settings = SplitConfig(folds=4, test=0.2, split_seed=2)
    assert hold_out(ds, settings, checked, [(0, 1)]) == every
    third = settings.model_copy(update={"fold": 3})
    assert hold_out(ds, third, checked, [(0, 1)]) == (every[2],)


@given(datasets(), st.integers(2, 5), st.integers(0, 3), st.data())
def test_units_never_straddle_folds(
    drawn: tuple[Dataset, list[Checked]], k: int, seed: int, data: st.DataObject
) -> None:
    ds, checked = drawn
    indices = st.integers(0, len(ds) - 1)
    together = data.draw(st.lists(st.lists(indices, max_size=3), max_size=4))
    try:
        found = folds(ds, k, seed=seed, checked=checked, together=together)
    except DataError as error:
        assert "too small" in str(error)
        return
    check_folds(ds, checked, found)
    for result in found:
        assert result.leaked == ()
        keys = {s.group for s in ds.samples} - {None}
        groups = [[i for i, s in enumerate(ds.samples) if s.group == key] for key in keys]
        for unit in [*together, *groups]:
            assert len({result.assignment[i] for i in unit} - {None}) <= 1


@given(
    st.lists(st.lists(st.integers(1, 6), min_size=5, max_size=14), min_size=2, max_size=3),
    st.integers(2, 5),
    st.integers(0, 3),
)
def test_folds_are_stratified_to_within_a_unit(groups: list[list[int]], k: int, seed: int) -> None:
    """Groups of one class each: no fold has more than a group more than another."""
    samples, number = [], 0
    for target, counts in enumerate(groups):
        for count in counts:
            number += 1
            samples += [
                Sample(f"{target}/{number:03d}_{i}.jpg", target, None, str(number))
                for i in range(count)
            ]
    ds = Dataset(Path("/x"), tuple(samples), CLASSES[: len(groups)])
    checked = [Checked(f"{i:032x}", None) for i in range(len(ds))]
    found = folds(ds, k, seed=seed, checked=checked)
    for target, name in enumerate(ds.classes):
        counts = [result.counts(ds)["val"][name] for result in found]
        assert max(counts) - min(counts) <= max(groups[target]) + 1
        assert min(counts) > 0


@given(st.lists(st.integers(5, 40), min_size=2, max_size=3), st.integers(2, 5), st.integers(0, 3))
def test_folds_of_single_images_are_stratified_to_one(counts: list[int], k: int, seed: int) -> None:
    ds, checked = dataset(*counts)
    found = [result.counts(ds)["val"] for result in folds(ds, k, seed=seed, checked=checked)]
    for name in ds.classes:
        assert max(fold[name] for fold in found) - min(fold[name] for fold in found) <= 1
    totals = [sum(fold.values()) for fold in found]
    assert max(totals) - min(totals) <= 1


@given(datasets(), st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_order_of_the_source_does_not_matter_to_folds(
    drawn: tuple[Dataset, list[Checked]], seed: int, shuffler: random.Random
) -> None:
    ds, checked = drawn
    order = list(range(len(ds)))
    shuffler.shuffle(order)
    mixed = Dataset(ds.root, tuple(ds.samples[i] for i in order), ds.classes)
    try:
        first = folds(ds, 3, seed=seed, checked=checked)
    except DataError:
        return
    again = folds(mixed, 3, seed=seed, checked=[checked[i] for i in order])
    for one, other in zip(first, again, strict=True):
        assert [one.assignment[i] for i in order] == list(other.assignment)


def photo(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (9, 9, 3), np.uint8))
    return coarse.resize((96, 96), Image.Resampling.BICUBIC)


@pytest.fixture
def near(tmp_path: Path) -> Path:
    """Forty photos in two classes, five of them with three changed copies each."""
    for number in range(40):
        folder = tmp_path / CLASSES[number % 2]
        folder.mkdir(exist_ok=True)
        photo(number).save(folder / f"{number:02d}.png")
        for copy in range(3 if number < 5 else 0):
            changed = photo(number).resize((60 + copy, 70)).transpose(Image.Transpose(copy))
            changed.save(folder / f"{number:02d}-{copy}.jpg", quality=40)
    return tmp_path


@pytest.mark.parametrize("seed", range(4))
def test_near_duplicates_stay_together(near: Path, seed: int) -> None:
    ds = read_images(near)
    result = split(ds, val=0.2, test=0.2, seed=seed)
    places: dict[str, set[str | None]] = defaultdict(set)
    for sample, part in zip(ds.samples, result.assignment, strict=True):
        places[sample.path[:4]].add(part)
    assert all(len(parts) == 1 for parts in places.values())
    assert len(result.alike) == 5
    assert result.leaked == ()
    assert any("5 sets of images that look alike kept together" in n for n in result.notes)


def test_near_duplicates_across_given_splits_are_leaks(near: Path) -> None:
    ds = read_images(near)
    parts = ["test" if "-" in s.path else "train" for s in ds.samples]
    result = split(with_splits(ds, [*parts]), val=0)
    assert len(result.leaked) == 15
    assert {ds.samples[i].path[-4:] for i in result.leaked} == {".jpg"}
    assert any("straddle the given" in note for note in result.notes)


def test_too_many_images_are_not_searched(near: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bowerbird.data.prints.SEARCHED", 10)
    found = split(read_images(near))
    assert found.alike == ()
    assert "only exact copies" in found.notes[-1]
