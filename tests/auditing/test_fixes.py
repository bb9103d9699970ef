"""Decisions are checked line by line against the images as they are now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bowerbird.auditing.fixes import COLUMNS, Fix, Fixes, read_fixes
from bowerbird.data.dataset import Dataset, Problem, Sample
from bowerbird.data.entries import entries_of
from bowerbird.errors import DataError

HEADER = ",".join(COLUMNS) + "\n"
HASHES = ("a" * 32, "b" * 32, "c" * 32, "d" * 32)
DS = Dataset(
    Path("/x"),
    (
        Sample("cat/1.jpg", 0),
        Sample('cat/2, "old".jpg', 0, "test", "g"),
        Sample("dog/1.jpg", 1),
        Sample("dog/2.jpg", 1),
    ),
    ("cat", "dog"),
    (Problem("dog/gone.jpg", "file not found"),),
)
ENTRIES = entries_of(DS, HASHES)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fixes.csv"


def refusal(file: Path, text: str, **options: bool) -> str:
    file.write_bytes(text.encode())
    with pytest.raises(DataError) as caught:
        read_fixes(file, ENTRIES, DS, **options)
    return str(caught.value)


def test_every_action_is_read(file: Path) -> None:
    file.write_text(
        HEADER
        + f'"cat/2, ""old"".jpg",cat,relabel,dog,{HASHES[1]},"looks like dog, they say"\n'
        + f"dog/1.jpg,dog,Drop ,,{HASHES[2]},blurred\n"
        + "cat/1.jpg,cat,keep,,,\n",
        encoding="utf-8",
    )
    found = read_fixes(file, ENTRIES, DS)
    assert found == Fixes(
        (
            Fix('cat/2, "old".jpg', "cat", "relabel", "dog", "looks like dog, they say"),
            Fix("dog/1.jpg", "dog", "drop", "", "blurred"),
            Fix("cat/1.jpg", "cat", "keep"),
        )
    )
    assert repr(found) == "Fixes(1 keep, 1 relabel, 1 drop)"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffpath;class;action;new_class\r\ncat/1.jpg;cat;drop;\r\n\r\n",
        "action\tnew_class\tclass\tpath\ndrop\t\tcat\tcat/1.jpg\n\n",
        "Path, Class, Action, New_class\ncat/1.jpg,cat,DROP,",
    ],
)
def test_spreadsheets_write_it_their_way(file: Path, text: str) -> None:
    file.write_bytes(text.encode())
    assert read_fixes(file, ENTRIES, DS).items == (Fix("cat/1.jpg", "cat", "drop"),)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("cat/3.jpg,cat,drop,,,", "there is no image 'cat/3.jpg'"),
        ("cat/3.jpg,cat,drop,,,", "nearest: cat/1.jpg"),
        (f"old/1.jpg,cat,drop,,{HASHES[2]},", "the same picture is 'dog/1.jpg' now"),
        ("dog/gone.jpg,dog,drop,,,", "the image 'dog/gone.jpg' is gone"),
        (",cat,drop,,,", "it names no image"),
        ("cat/1.jpg,cat,dorp,,,", "the action 'dorp' is unknown; nearest: drop"),
        ("cat/1.jpg,dog,drop,,,", "has the class 'cat' here, but 'dog' where it was decided"),
        ("cat/1.jpg,cat,relabel,dgo,,", "there is no class 'dgo'; nearest: dog; --new-classes"),
        ("cat/1.jpg,cat,relabel,,,", "relabel needs a new_class"),
        ("cat/1.jpg,cat,relabel,cat,,", "has the class 'cat' already; write keep"),
        ("cat/1.jpg,cat,keep,dog,,", "keep takes no new_class"),
        (f"cat/1.jpg,cat,drop,,{HASHES[1]},", "has been changed since it was looked at"),
        ("cat/1.jpg,cat,drop,", "expected 6 cells, found 4"),
        ("dog/2.jpg,dog,drop,,,", "'dog/2.jpg' is decided in line 2 already"),
    ],
)
def test_a_wrong_line_is_named(file: Path, line: str, reason: str) -> None:
    text = HEADER + "dog/2.jpg,dog,keep,,,\n" + line + "\n"
    told = refusal(file, text)
    assert "fixes.csv can't be applied: 1 of its 2 lines is wrong, and nothing was changed" in told
    assert "\n  line 3: " in told
    assert reason in told


def test_the_line_is_that_of_the_file(file: Path) -> None:
    told = refusal(file, HEADER + '\n"cat/1.jpg",cat,keep,,,"two\nlines"\n\ndog/1.jpg,dog,no,,,\n')
    assert "\n  line 6: the action 'no'" in told


def test_up_to_ten_mistakes_are_told_at_once(file: Path) -> None:
    wrong = "".join(f"cat/1.jpg,cat,wrong{i},,,\n" for i in range(12))
    told = refusal(file, HEADER + wrong)
    assert told.count("\n  line ") == 10
    assert told.endswith("\n  and 2 more")


def test_a_file_for_other_data_is_called_that(file: Path) -> None:
    told = refusal(file, HEADER + "".join(f"rose/{i}.jpg,rose,drop,,,\n" for i in range(40)))
    assert "seems to belong to other data: 40 of the 40 images in it are not in /x" in told


def test_new_classes_only_when_they_are_allowed(file: Path) -> None:
    text = HEADER + "cat/1.jpg,cat,relabel,fox,,\ndog/1.jpg,dog,relabel,fox,,\n"
    assert "2 of its 2 lines are wrong" in refusal(file, text)
    found = read_fixes(file, ENTRIES, DS, new_classes=True)
    assert found.new_classes == ("fox",)
    assert "control character" in refusal(
        file, HEADER + 'cat/1.jpg,cat,relabel,"fo\nx",,\n', new_classes=True
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("path,class\ncat/1.jpg,cat\n", "without action, new_class"),
        ("path,class,action,new_class,split\n", "with split"),
        ("path,class,action,new_class,path\n", "a column twice"),
        (HEADER + 'cat/1.jpg,"cat,drop,,,\n', "can't be read beyond line 2"),
    ],
)
def test_a_file_that_is_none(file: Path, text: str, reason: str) -> None:
    assert reason in refusal(file, text)


def test_a_file_in_another_encoding_or_none(file: Path) -> None:
    file.write_bytes(b"path,class,action,new_class\ncaf\xe9.jpg,cat,drop,\n")
    with pytest.raises(DataError, match=r"not UTF-8 \(byte 31\). Save it as CSV in UTF-8"):
        read_fixes(file, ENTRIES, DS)
    with pytest.raises(DataError, match="can't be read: No such file"):
        read_fixes(file.with_name("absent.csv"), ENTRIES, DS)


def test_what_was_left_out_before_may_be_left_out(file: Path) -> None:
    file.write_text("path,class,action,new_class\ndog/gone.jpg,,drop,\n")
    found = read_fixes(file, ENTRIES, DS)
    assert found.items == (Fix("dog/gone.jpg", "", "keep", reason="file not found"),)


def test_there_is_no_way_back_to_a_class_that_never_was(file: Path) -> None:
    dropped = replace(ENTRIES[2], label="", was="dog", change="drop", reason="dropped")
    entries = [*ENTRIES[:2], dropped, *ENTRIES[3:]]
    file.write_text("path,class,action,new_class\ndog/1.jpg,wolf,drop,\n")
    with pytest.raises(DataError, match="no class 'wolf' to go back to"):
        read_fixes(file, entries, DS, undo=True)
