from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.config import ReadConfig
from bowerbird.data.tables import Row, Table, read_table
from bowerbird.errors import DataError


def read(tmp_path: Path, text: str | bytes, name: str = "labels.csv", **config: str) -> Table:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path, ReadConfig.model_validate(config), labelled=True)


def pairs(table: Table) -> list[tuple[str, str | None]]:
    return [(row.name, row.label) for row in table.rows]


def message(tmp_path: Path, text: str | bytes, **config: str) -> str:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text, **config)
    return str(caught.value)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators(tmp_path: Path, separator: str) -> None:
    text = "path,label\na.jpg,cat\nb.jpg,dog\n".replace(",", separator)
    assert pairs(read(tmp_path, text)) == [("a.jpg", "cat"), ("b.jpg", "dog")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    table = read(tmp_path, "path,label\r\nä.jpg,Käfer\r\n".encode(encoding))
    assert pairs(table) == [("ä.jpg", "Käfer")]


def test_commas_quotes_and_line_breaks_in_names(tmp_path: Path) -> None:
    table = read(tmp_path, 'path,label\n"a, b.jpg",cat\n"a\nb.jpg","the ""dog"""\n')
    assert pairs(table) == [("a, b.jpg", "cat"), ("a\nb.jpg", 'the "dog"')]


@pytest.mark.parametrize(
    "header",
    [
        "path,label",
        "File Name,Class",
        "IMAGE-ID,Diagnosis",
        "filename,retinopathy_grade",
        "id,breed",
        "photo_file,species",
        "name,tumor_category",
    ],
)
def test_usual_columns(tmp_path: Path, header: str) -> None:
    assert pairs(read(tmp_path, f"{header}\na.jpg,3\n")) == [("a.jpg", "3")]


def test_split_and_group_columns(tmp_path: Path) -> None:
    table = read(tmp_path, "path,label,Set,Patient ID\na,x,Training,7\nb,y,valid,\nc,z,,8\n")
    assert table.rows == (
        Row("a", "x", "train", "7"),
        Row("b", "y", "val", None),
        Row("c", "z", None, "8"),
    )


def test_fold_numbers_are_no_split(tmp_path: Path) -> None:
    table = read(tmp_path, "path,label,fold\na,x,1\nb,y,2\n")
    assert [row.split for row in table.rows] == [None, None]
    assert "names no split" in message(tmp_path, "path,label,fold\na,x,1\n", split_column="fold")


def test_an_unknown_split_is_a_problem(tmp_path: Path) -> None:
    table = read(tmp_path, "path,label,split\na,x,train\nb,y,private\n")
    assert [(p.path, p.reason) for p in table.problems] == [("b", "unknown split 'private'")]


def test_the_name_of_a_class_goes_before_its_number(tmp_path: Path) -> None:
    text = "file,class_id,class_name\na,1,cat\nb,2,dog\nc,1,cat\n"
    assert pairs(read(tmp_path, text)) == [("a", "cat"), ("b", "dog"), ("c", "cat")]


def test_columns_that_disagree_are_not_guessed_at(tmp_path: Path) -> None:
    text = "file,class,label\na,1,cat\nb,2,cat\n"
    found = message(tmp_path, text)
    assert "class, label" in found and "--label-column class" in found
    assert pairs(read(tmp_path, text, label_column="label"))[0] == ("a", "cat")


def test_grade_is_a_label_and_risk_is_none(tmp_path: Path) -> None:
    text = "filename,retinopathy_grade,macular_edema_risk,split\na,3,2,train\n"
    assert pairs(read(tmp_path, text)) == [("a", "3")]


def test_coordinates_are_no_labels(tmp_path: Path) -> None:
    assert "'label' column is missing" in message(tmp_path, "file,x,y\na,1,2\n")
    assert pairs(read(tmp_path, "file,y\na,2\n")) == [("a", "2")]


def test_a_missing_column_is_named_with_the_option(tmp_path: Path) -> None:
    assert message(tmp_path, "image,stage\na,1\n") == (
        "The 'label' column is missing from labels.csv. Found: image, stage. "
        "Name it with --label-column stage."
    )
    assert "--image-column NAME" in message(tmp_path, "foo,label\na,1\n")
    wrong = message(tmp_path, "image,stage\na,1\n", label_column="stagw")
    assert "'stagw' column is missing" in wrong and "--label-column stage." in wrong
    assert pairs(read(tmp_path, "image,Stage\na,1\n", label_column="stage")) == [("a", "1")]


def test_a_table_without_header(tmp_path: Path) -> None:
    assert pairs(read(tmp_path, "a.jpg,cat\nb.jpg,dog\n")) == [("a.jpg", "cat"), ("b.jpg", "dog")]


def test_rows_that_say_too_little_or_too_much(tmp_path: Path) -> None:
    table = read(
        tmp_path, "path,label\na.jpg,\nb.jpg\n,cat\n\nc, d.jpg,cat\ne.jpg,nan\nf.jpg,cat,\n"
    )
    assert pairs(table) == [("f.jpg", "cat")]
    assert [(p.path, p.reason) for p in table.problems] == [
        ("a.jpg", "no label"),
        ("b.jpg", "no label"),
        ("(labels.csv, row 4)", "no image name"),
        ("c", "3 cells in its row, but 2 columns"),
        ("e.jpg", "no label"),
    ]


def test_labels_are_not_needed_for_prediction(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image\na.jpg\n")
    table = read_table(tmp_path / "t.csv", ReadConfig(), labelled=False)
    assert pairs(table) == [("a.jpg", None)]
    assert not table.labelled


@pytest.mark.parametrize(("text", "what"), [("", "is empty"), ("path,label\n", "but no rows")])
def test_empty_tables(tmp_path: Path, text: str, what: str) -> None:
    assert what in message(tmp_path, text)


def test_binary_junk_is_one_clear_error(tmp_path: Path) -> None:
    found = message(tmp_path, bytes(range(256)) * 20)
    assert "labels.csv" in found


def test_an_unreadable_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        read_table(tmp_path / "absent.csv", ReadConfig(), labelled=True)


# JSON Lines


LINES = (
    '{"file_name": "a.jpg", "label": "cat", "split": "train"}\n{"label": "dog", "file_name": "b"}'
)


@pytest.mark.parametrize("name", ["labels.jsonl", "metadata.JSONL", "x.ndjson"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    table = read(tmp_path, LINES + "\n\n", name)
    assert table.rows == (
        Row("a.jpg", "cat", "train", None),
        Row("b", "dog", None, None),
    )
    assert table.problems == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_lines_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    text = '{"path": "ä.jpg", "label": "K\\u00e4fer"}\r\n'
    table = read(tmp_path, text.encode(encoding), "x.jsonl")
    assert pairs(table) == [("ä.jpg", "Käfer")]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("3", "3"),
        ("2.5", "2.5"),
        ("true", "true"),
        ('["cat"]', "cat"),
        ('["a", "b"]', '["a", "b"]'),
    ],
)
def test_values_of_json(tmp_path: Path, value: str, label: str) -> None:
    table = read(tmp_path, f'{{"path": "a.jpg", "label": {value}}}\n', "x.jsonl")
    assert pairs(table) == [("a.jpg", label)]


def test_lines_that_are_no_objects_are_problems(tmp_path: Path) -> None:
    text = '{"path": "a.jpg", "label": "x"}\n[1]\n{"path": "b.jpg",\n{"path": "c.jpg"}\n'
    table = read(tmp_path, text + '{"path": "d.jpg", "label": null}\n', "x.jsonl")
    assert pairs(table) == [("a.jpg", "x")]
    found = [(problem.path, problem.reason.split(":")[0]) for problem in table.problems]
    assert found == [
        ("(x.jsonl, line 2)", "not JSON Lines"),
        ("(x.jsonl, line 3)", "not JSON Lines"),
        ("c.jpg", "no label"),
        ("d.jpg", "no label"),
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "path,label\na.jpg,cat\n", "[" * 100_000])
def test_json_lines_without_an_object(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="Expected JSON Lines: an object per line"):
        read(tmp_path, text, "x.jsonl")


def test_json_lines_with_several_labels(tmp_path: Path) -> None:
    text = '{"path": "a.jpg", "label": "x", "species": "p"}\n' * 2
    text += '{"path": "b.jpg", "label": "y", "species": "p"}\n'
    with pytest.raises(DataError, match=r"label, species\. Name one with --label-column label"):
        read(tmp_path, text, "x.jsonl")
    table = read(tmp_path, text, "x.jsonl", label_column="species")
    assert {label for _, label in pairs(table)} == {"p"}
