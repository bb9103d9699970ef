"""Which network is recommended, and the reasons: from made answers."""

from __future__ import annotations

import csv
import io
import re

import pytest

from bowerbird.comparison.bakeoff_tables import csv_tables, text_table
from bowerbird.comparison.halving import Correct, Dropped, Round
from comparison.baked import arm, bakeoff, right

FAST, SLOW = arm("fast", 5.0), arm("slow", 8.0)


def whole(**wrong: Correct) -> Round:
    return Round(1000, 1000, wrong)


def test_the_cheaper_is_taken_where_nothing_tells_them_apart() -> None:
    found = bakeoff([FAST, SLOW], whole(fast=right(20, first=5), slow=right(17)))
    assert found.best.arm == SLOW
    assert found.recommended == FAST
    assert repr(found) == "Bakeoff(2 networks, 1000 of 1000 images, take fast)"
    words = " ".join(found.reasons)
    assert "fast is right on 98.0% of 1,000 images left out in turn (95 % interval 96.9%" in words
    # 8 images only slow gets right, 5 only fast: binomial, two-sided
    told = r"slow is 0.3 points better \(95 % interval -0.\d to \+1.\d, p = 0.58\): not to be told"
    assert re.search(told, words)
    assert "slow takes 1.6 times as long, and is 1.6 times as large: take fast." in words
    assert "It takes 5.0 ms per image and 10.0 MB. Its weights are under MIT (a package)." in words


def test_the_better_is_taken_where_it_is_no_luck() -> None:
    found = bakeoff([FAST, SLOW], whole(fast=right(40), slow=right(17)))
    assert found.recommended == SLOW
    assert found.front == ("fast", "slow")
    words = " ".join(found.reasons)
    assert "It is 2.3 points better than fast (no luck, p < 0.001) and takes 1.6 times" in words
    assert found.verdict(found.scores[1]) == "behind slow, p < 0.001"


def test_more_than_two_points_are_not_given_away_for_the_price() -> None:
    enough = Round(300, 300, {"fast": right(28, 300), "slow": right(20, 300, first=100)})
    found = bakeoff([FAST, SLOW], enough)
    assert not found.tests["fast"].is_sure
    assert found.recommended == SLOW
    assert not found.too_few
    # of 48 images 28 speak for slow: binomial, two-sided
    assert "too much for its price, though it could be luck, p = 0.31" in " ".join(found.reasons)


@pytest.mark.parametrize(
    ("way", "parts"), [("left-out", "training and validation"), ("validation", "validation")]
)
def test_of_too_few_images_the_cheapest_is_taken_and_that_is_said_first(
    way: str, parts: str
) -> None:
    few = Round(14, 14, {"fast": right(3, 14), "slow": right(2, 14)})
    found = bakeoff([FAST, SLOW], few, way=way)
    assert found.best.arm == SLOW
    assert found.recommended == FAST
    assert found.too_few
    assert found.to_dict()["too_few_images"]
    assert found.reasons[0] == (
        f"14 {parts} images are too few to choose between networks: about 300 would do, the least "
        "that can tell a lag of 2 points from luck. fast is taken for now, the cheapest of those "
        "that can't be told from the best."
    )
    assert "slow is 7.1 points better" in " ".join(found.reasons)
    assert "too much for its price" not in " ".join(found.reasons)


def test_few_images_are_enough_where_they_tell_all_networks_from_the_best() -> None:
    told = bakeoff([FAST, SLOW], Round(50, 50, {"fast": right(20, 50), "slow": right(2, 50)}))
    assert told.recommended == SLOW
    alone = bakeoff([FAST], Round(50, 50, {"fast": right(20, 50)}))
    for found in (told, alone):
        assert not found.too_few
        assert not any("too few" in sentence for sentence in found.reasons)


def test_poor_features_are_a_caution() -> None:
    poor = bakeoff([FAST, SLOW], whole(fast=right(400), slow=right(301)))
    assert poor.cautions == (
        "Even slow is right on only 69.9%: frozen features hardly know these images, and "
        "fine-tuning may order the networks differently.",
    )
    assert bakeoff([FAST, SLOW], whole(fast=right(400), slow=right(300))).cautions == ()


def test_the_best_that_is_the_fastest_needs_no_excuse() -> None:
    found = bakeoff([FAST, SLOW], whole(fast=right(17), slow=right(17)))
    assert found.recommended == found.best.arm == FAST
    assert found.front == ("fast",)
    words = " ".join(found.reasons)
    assert "None of the others was right more often, and none is faster." in words
    assert "slow can't be told from it by accuracy." in words
    assert found.verdict(found.scores[0]) == "take this"
    assert found.verdict(found.scores[1]) == "no telling it from fast, p = 1"


def test_equal_scores_with_other_images_are_said_as_such() -> None:
    slower = arm("slower", 6.0)
    found = bakeoff([FAST, slower], whole(fast=right(18), slower=right(17)))
    assert found.recommended == FAST
    same = bakeoff([FAST, slower], whole(fast=right(17, first=3), slower=right(17)))
    assert same.best.arm == FAST


def test_several_comparisons_are_corrected_for_their_number() -> None:
    others = {f"other {n}": right(17) for n in range(5)}
    arms = [FAST, *(arm(name, 9.0) for name in others), SLOW]
    found = bakeoff(arms, whole(fast=right(23), slow=right(17), **others))
    # six against nought: p = 2 × 2⁻⁶ = 0.031 by itself, six times that among six
    assert found.tests["fast"].counts.p_value == pytest.approx(0.03125)
    assert found.tests["fast"].p_value == pytest.approx(6 * 0.03125)
    assert found.recommended == FAST
    assert bakeoff([FAST, SLOW], whole(fast=right(23), slow=right(17))).recommended == SLOW


def test_dropped_networks_stand_after_the_others_and_are_never_taken() -> None:
    gone = Dropped("cheap", "slow", 0.12, 0.1, 7.0)
    first = Round(
        500,
        1000,
        {"cheap": right(70, 500), "fast": right(12, 500), "slow": right(10, 500)},
        (gone,),
    )
    found = bakeoff([arm("cheap", 1.0), FAST, SLOW], first, whole(fast=right(20), slow=right(20)))
    assert [score.arm.name for score in found.scores] == ["fast", "slow", "cheap"]
    assert found.recommended == FAST
    assert found.scores[2].images == 500
    assert found.scores[2].accuracy == 0.86
    assert "Dropped after 500 images: cheap (12.0 points behind)." in found.reasons
    assert "cheap" not in found.front
    assert found.verdict(found.scores[2]) == "dropped, 12.0 points behind"


def test_one_network_alone_and_no_licence_are_said() -> None:
    found = bakeoff([arm("only", 1.0, licence=None)], whole(only=right(100)))
    words = " ".join(found.reasons)
    assert "It was the only one that could be tried." in words
    assert "The licence of its weights is not stated" in words
    assert found.finished
    assert not bakeoff([FAST], Round(500, 1000, {"fast": right(1, 500)})).finished


def test_a_result_becomes_plain_values_and_tables() -> None:
    gone = Dropped("cheap", "slow", 0.12, 0.1, 7.0)
    first = Round(500, 1000, {"cheap": right(70, 500), "slow": right(10, 500)}, (gone,))
    found = bakeoff(
        [arm("cheap", 1.0, licence=None), SLOW], first, whole(slow=right(20)),
        skipped={"absent": "No weights."}, notes=("A note.",), commands={"train": "x"},
    )  # fmt: skip
    values = found.to_dict()
    assert (values["recommended"], values["best"]) == ("slow", "slow")
    assert values["networks"][1]["dropped"]["behind"] == 0.12
    assert values["skipped"] == {"absent": "No weights."}
    tables = {name: list(csv.DictReader(io.StringIO(t))) for name, t in csv_tables(found).items()}
    assert [row["network"] for row in tables["bakeoff.csv"]] == ["slow", "cheap"]
    assert [row["recommended"] for row in tables["bakeoff.csv"]] == ["1", "0"]
    assert tables["bakeoff.csv"][1]["behind_best"] == "0.120000"
    assert [(row["images"], row["network"], row["right"]) for row in tables["rounds.csv"]] == [
        ("500", "cheap", "430"), ("500", "slow", "490"), ("1000", "slow", "980"),
    ]  # fmt: skip
    lines = text_table(found).splitlines()
    assert len(lines) == 3
    assert lines[1].endswith("take this")
    assert "not stated" in lines[2]
