"""The command line as people and scripts meet it: exit codes, messages, and what is printed."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from bowerbird.config import load_recipe
from drawing import draw_folder
from zygote import Outcome, Ran, Zygote

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

OPTIONS = {
    "--model": ["test_resnet"],
    "--weights": ["none"],
    "--image-size": ["32"],
    "--method": ["probe"],
    "--precision": ["float32"],
    "--workers": ["1"],
    "--offline": [],
}


def tiny(*others: str) -> list[str]:
    """Options for training in a second; `others` come instead or on top."""
    kept = [[name, *values] for name, values in OPTIONS.items() if name not in others]
    return [word for option in kept for word in option] + list(others)


TINY = tiny()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "shapes", per_class=10, size=40)


@pytest.fixture(scope="module")
def trained(zygote: Zygote, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its report."""
    folder = tmp_path_factory.mktemp("trained")
    outcome = zygote.run(["train", data, *TINY, "--out", "run"], folder=folder, report=True)
    assert outcome.code == 0, outcome.stderr
    return folder / "run"


def sentence(outcome: Outcome, code: int) -> str:
    """The one message of a command that failed as it should."""
    assert outcome.code == code, outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    last = outcome.stderr.splitlines()[-1]
    assert last.startswith("bowerbird: "), outcome.stderr
    assert outcome.stderr.count("bowerbird: ") == 1
    assert len(last) > 30
    return last


# Before anything heavy


def test_help_and_version_do_not_load_torch() -> None:
    code = (
        "import sys, contextlib, io, bowerbird.cli as c\n"
        "for words in (['--help'], ['--version'], ['train', '--help'], []):\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "        c.main(words)\n"
        "heavy = {'torch', 'timm', 'matplotlib', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["--help"], ["--version"], ["train", "--help"], ["predict", "--help"]],
    ids=" ".join,
)
def test_help_is_no_mistake(run: Ran, arguments: Sequence[str]) -> None:
    outcome = run(*arguments)
    assert outcome.code == 0
    assert outcome.stdout.strip()
    assert outcome.stderr == ""


# Wrong use: 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "nonsense"),
        (["train"], "bowerbird train DATA"),
        (["train", "x", "--metod", "probe"], "Did you mean --method"),
        (["train", "x", "--method", "magic"], "--method: .*'probe'.*Found: 'magic'"),
        (["train", "x", "--image-size", "5"], r"--image-size: .*16.*Found: '5'"),
        (["train", "x", "--image-size", "big"], "--image-size: .*integer.*Found: 'big'"),
        (["train", "x", "--views", "99"], "--views: .*10"),
        (["train", "x", "--label-smoothing", "1"], "--label-smoothing: .*less than 1"),
        (["train", "x", "--learning-rate", "nan"], "--learning-rate: "),
        (["train", "x", "--budget", "-3"], "'-3' is not a duration.*5m"),
        (["train", "x", "--budget", "soon"], "'soon' is not a duration"),
        (["train", "x", "--val", "-1"], "--val: .*0"),
        (["train", "x", "--batch-size", "few"], "--batch-size: .*integer.* or .*'auto'.*'few'"),
        (["train", "x", "--augment", "fog"], "--augment: there is no change 'fog'; known: crop"),
        (["train", "x", "--model-arg", "wide"], "--model-arg: write NAME=VALUE"),
        (["train", "x", "--unfreeze", "0=head"], r"settings: .*gradual, not for auto\.$"),
        (["train", "x", "--freeze", "0.8", "--freeze-until", "a"], r"can't both be set\.$"),
        (["train", "--config", "nowhere.toml"], "nowhere.toml can't be read"),
        (["evaluate"], "run|RUN"),
        (["predict"], "run|RUN"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use(run: Ran, tmp_path: Path, arguments: Sequence[str], words: str) -> None:
    assert re.search(words, sentence(run(*arguments), 2))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train\n", "not valid TOML"),
        ("[train]\nepoch = 3\n", "no setting train.epoch .*Did you mean train.epochs"),
        ("[train]\nmethod = 3\n", "train.method"),
        ("dta = 'x'\n", "no setting dta"),
        ("[train]\nepochs = 'many'\n", "train.epochs.*'many'"),
    ],
)
def test_a_recipe_with_a_mistake(run: Ran, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    assert re.search(words, sentence(run("train", "x", "--config", "recipe.toml"), 2))


def test_shares_that_leave_nothing(run: Ran, data: Path, tmp_path: Path) -> None:
    found = sentence(run("train", data, *TINY, "--val", "0.6", "--test", "0.6"), 2)
    assert "nothing is left to train on" in found
    assert not (tmp_path / "runs").exists()


# Bad input: 1, one sentence with the next step, nothing left behind


def test_there_is_no_such_folder(run: Ran, data: Path) -> None:
    found = sentence(run("train", data.with_name("shaeps"), *TINY), 1)
    assert f"Did you mean {data}" in found


def test_an_empty_folder(run: Ran, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = sentence(run("train", "empty", *TINY), 1)
    assert "holds no images" in found
    assert "one folder per class" in found
    assert not (tmp_path / "runs").exists()


def test_one_class_only(run: Ran, tmp_path: Path) -> None:
    draw_folder(tmp_path / "one", ["cat"], 5)
    found = sentence(run("train", "one", *TINY), 1)
    assert "only one class: 'cat' (5 images)" in found
    assert "at least two" in found


def test_a_class_with_one_image(run: Ran, tmp_path: Path) -> None:
    draw_folder(tmp_path / "few", ["cat", "dog"], 8)
    draw_folder(tmp_path / "few", ["owl"], 1)
    found = sentence(run("train", "few", *TINY), 1)
    assert "'owl' (1 image)" in found
    assert "'cat'" not in found


def test_a_table_without_the_column(run: Ran, data: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image,level\ncircle_000.jpg,circle\n")
    found = sentence(run("train", table, *TINY, "--label-column", "grade"), 1)
    assert "labels.csv" in found
    assert "level" in found
    assert "--label-column" in found


def test_a_table_of_files_that_are_not_there(run: Ran, tmp_path: Path) -> None:
    rows = "".join(f"{n}.jpg,{'ab'[n % 2]}\n" for n in range(20))
    (tmp_path / "labels.csv").write_text("image,label\n" + rows)
    found = sentence(run("train", "labels.csv", *TINY), 1)
    assert "of the 20 images in labels.csv, 0 were found" in found.lower()
    assert "--image-root" in found


def test_nothing_can_be_read(run: Ran, tmp_path: Path) -> None:
    draw_folder(tmp_path / "bad", ["cat", "dog"], 3)
    for file in (tmp_path / "bad").rglob("*.jpg"):
        file.write_bytes(b"not an image")
    found = sentence(run("train", "bad", *TINY), 1)
    assert "None of the 6 images" in found
    assert "6 × not an image" in found


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "test_resnt"], "Did you mean test_resnet"),
        (["--weights", "nowhere.pth"], "nowhere.pth"),
        (["--weights", "auto"], "Searched.*--weights none"),
        (["--method", "finetune", "--freeze-until", "layer3"], "freeze_until.*or give weights"),
    ],
)
def test_a_mistake_leaves_nothing_behind(
    run: Ran, data: Path, tmp_path: Path, options: Sequence[str], words: str
) -> None:
    outcome = run("train", data, *tiny(*options), "--out", "run")
    assert outcome.code in (1, 2)
    assert "Traceback" not in outcome.stderr
    assert re.search(words, outcome.stderr.replace("\n", " "))
    assert not (tmp_path / "run").exists()


def test_a_run_that_exists(run: Ran, data: Path, trained: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in trained.rglob("*")}
    found = sentence(run("train", data, *TINY, "--out", trained), 1)
    assert f"bowerbird resume {trained}" in found
    assert {p: p.stat().st_mtime_ns for p in trained.rglob("*")} == before


def test_a_file_in_the_way(run: Ran, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "--out" in sentence(run("train", data, *TINY, "--out", "file"), 1)
    assert "--out" in sentence(run("train", data, *TINY, "--out", "file/run"), 1)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(hasattr(os, "getuid") and os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(run: Ran, data: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    found = sentence(run("train", data, *TINY, "--out", "locked/run"), 1)
    assert "can't be written" in found
    assert "--out" in found


@pytest.mark.parametrize("command", ["resume", "evaluate", "predict", "report"])
def test_no_run(run: Ran, command: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    rest = ["x.jpg"] if command == "predict" else []
    assert "There is no run nowhere" in sentence(run(command, "nowhere", *rest), 1)
    assert "folder is not a run" in sentence(run(command, "folder", *rest), 1)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("config.toml", "resume"),
        ("classes.txt", "evaluate"),
        ("manifest.csv", "evaluate"),
        ("data.json", "evaluate"),
        ("predictions_test.csv", "evaluate"),
        ("model/model.safetensors", "predict"),
        ("model/bowerbird.json", "predict"),
    ],
)
@pytest.mark.parametrize("damage", ["cut", "binary"])
def test_a_damaged_run(
    run: Ran, trained: Path, data: Path, tmp_path: Path, name: str, command: str, damage: str
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    file = tmp_path / "run" / name
    content = file.read_bytes()
    half = content[: len(content) // 2].rstrip(b"\n")
    file.write_bytes(half if damage == "cut" else b"\xff\xfe\x00" * 40)
    if (name, damage) == ("config.toml", "cut"):
        file.write_bytes(b"[train\n")
    rest = [data / "circle" / "circle_000.jpg"] if command == "predict" else []
    found = sentence(run(command, "run", *rest), 1)
    assert Path(name).name in found or str(Path("run", name).parent) in found


def test_a_run_that_is_not_finished(run: Ran, trained: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    for command in (["report", "run"], ["predict", "run", data / "circle" / "circle_000.jpg"]):
        (tmp_path / "run" / "predictions_test.csv").unlink(missing_ok=True)
        assert f"bowerbird resume {tmp_path / 'run'}" in sentence(run(*command), 1)
    assert run("resume", "run").code == 0
    models = [path / "model" / "model.safetensors" for path in (trained, tmp_path / "run")]
    assert models[0].read_bytes() == models[1].read_bytes()


# Data that is odd, and trained on all the same


def test_40_percent_unreadable(run: Ran, tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "data", per_class=20, size=40)
    bad = [file for n, file in enumerate(sorted(root.rglob("*.jpg"))) if n % 5 in (1, 3)]
    for number, file in enumerate(bad):
        file.write_bytes([b"", b"text", file.read_bytes()[:300]][number % 3])
    outcome = run("train", "data", *TINY, "--out", "run", "--json")
    assert outcome.code == 0, outcome.stderr
    assert "24 images are left out" in outcome.stderr
    with (tmp_path / "run" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows if row["reason"]} == {
        path.relative_to(root).as_posix() for path in bad
    }
    used = sum(json.loads(outcome.stdout)["evaluations"][on]["n"] for on in ("val", "test"))
    assert used + sum(row["split"] == "train" for row in rows) == 36


def test_names_in_any_script_with_spaces_and_200_characters(run: Ran, tmp_path: Path) -> None:
    names = ["Ærø – 'quoted'", '猫, "cats"', "x" * 200]
    root = draw_folder(tmp_path / "data ä [1]", names, 6, size=40, ending=".png")
    first = sorted(next(root.iterdir()).iterdir())[0]
    first.rename(first.with_name("é" * 120 + ".png"))
    outcome = run("train", root, *TINY, "--out", "run ☂")
    assert outcome.code == 0, outcome.stderr
    assert (tmp_path / "run ☂" / "classes.txt").read_text(encoding="utf-8").splitlines() == sorted(
        names, key=lambda name: (name[0] != "x", name)
    )
    images = sorted(root.rglob("*.png"))
    found = run("predict", "run ☂", *images[:3], "--json")
    assert [row["path"] for row in json.loads(found.stdout)] == [str(path) for path in images[:3]]


def test_the_data_is_only_read(run: Ran, data: Path) -> None:
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(data.rglob("*"))}
    assert run("train", data, *TINY).code == 0
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(data.rglob("*"))} == before


# Results on stdout


def test_train_says_what_came_out_and_what_to_do_next(run: Ran, data: Path, tmp_path: Path) -> None:
    outcome = run("train", data, *TINY)
    folder = tmp_path / "runs" / "shapes-1"
    assert outcome.code == 0
    lines = outcome.stdout.splitlines()
    assert lines[0].startswith("Evaluation(accuracy ") or "accuracy" in lines[0]
    assert f"bowerbird predict {folder} IMAGES" in lines[-1]
    assert "Probe: " in outcome.stderr
    second = run("train", data, *TINY)
    assert str(tmp_path / "runs" / "shapes-2") in second.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "RUN", "--json"],
        ["evaluate", "RUN", "--on", "val", "--json"],
        ["evaluate", "RUN", "--on", "train", "--again", "--json"],
        ["resume", "RUN", "--json"],
        ["cache", "--json"],
        ["cache", "--clear", "--json"],
        ["models", "test_res*", "--json"],
    ],
    ids=" ".join,
)
def test_json_is_json_and_nothing_else(
    run: Ran, trained: Path, tmp_path: Path, arguments: Sequence[str]
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    outcome = run(*["run" if word == "RUN" else word for word in arguments])
    assert outcome.code == 0, outcome.stderr

    def refuse(word: str) -> None:
        pytest.fail(f"{word} is not JSON")

    json.loads(outcome.stdout, parse_constant=refuse)


def test_train_json(run: Ran, data: Path) -> None:
    outcome = run("train", data, *TINY, "--json")
    found = json.loads(outcome.stdout)
    assert found["finished"] is True
    assert found["classes"] == ["circle", "square", "triangle"]
    assert found["recipe"]["network"]["image_size"] == 32
    assert set(found["evaluations"]) == {"val", "test"}


def test_evaluate(run: Ran, trained: Path) -> None:
    figures = json.loads(run("evaluate", trained, "--on", "val", "--json").stdout)
    assert figures["on"] == "val"
    outcome = run("evaluate", trained, "--on", "val")
    assert outcome.code == 0
    assert f"{figures['accuracy']:.1%}" in outcome.stdout
    for name in ("circle", "square", "triangle"):
        assert re.search(rf"^{name} +\d", outcome.stdout, re.M)
    assert "bowerbird report" in outcome.stdout.splitlines()[-1]
    assert "train, val, test" in sentence(run("evaluate", trained, "--on", "exam"), 2)


def test_report_writes_one_file_again(run: Ran, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    outcome = run("report", "run", report=True)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.strip().endswith("run/report.html")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "circle" in page
    assert not re.search(r"""(src|href)=["']https?://""", page)


def test_a_cache_is_shown_and_cleared(run: Ran, data: Path) -> None:
    run("train", data, *TINY)
    shown = run("cache")
    assert "test_resnet" in shown.stdout
    entries = json.loads(run("cache", "--json").stdout)
    assert {entry["view"] for entry in entries} == {"plain", "mirror"}
    assert "freed" in run("cache", "--clear").stdout
    assert json.loads(run("cache", "--json").stdout) == []


def test_the_cache_shows_and_clears_what_was_unpacked(run: Ran, data: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "shapes"), "zip", data)
    assert run("train", archive, *TINY).code == 0
    assert archive in run("cache").stdout
    (entry,) = json.loads(run("cache", "--only", "downloads", "--json").stdout)
    assert (entry["kind"], entry["address"]) == ("download", archive)
    kinds = {entry["kind"] for entry in json.loads(run("cache", "--json").stdout)}
    assert kinds == {"features", "download"}
    assert run("cache", "--clear", "--only", "downloads").code == 0
    kinds = {entry["kind"] for entry in json.loads(run("cache", "--json").stdout)}
    assert kinds == {"features"}


def test_a_link_without_network_is_one_clear_line(run: Ran) -> None:
    outcome = run("train", "http://127.0.0.1:9/x.zip", *TINY)
    assert outcome.code == 1
    assert outcome.stdout == ""
    assert "bowerbird: http://127.0.0.1:9/x.zip can't be reached" in outcome.stderr


# Prediction


@pytest.fixture
def images(data: Path, tmp_path: Path) -> list[str]:
    """Two good images, one that is none, one that is absent."""
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    good = [str(data / name / f"{name}_001.jpg") for name in ("circle", "square")]
    return [*good, str(tmp_path / "broken.jpg"), str(tmp_path / "absent.png")]


def test_predict_reports_what_it_cannot_read_and_goes_on(
    run: Ran, trained: Path, images: list[str]
) -> None:
    outcome = run("predict", trained, *images)
    assert outcome.code == 0
    rows = {row["path"]: row for row in csv.DictReader(io.StringIO(outcome.stdout))}
    assert set(rows) == set(images)
    assert rows[images[2]]["error"] == "not an image"
    assert rows[images[3]]["error"] == "file not found"
    for path in images[:2]:
        row = rows[path]
        shares = {k[2:]: float(v) for k, v in row.items() if k.startswith("p:")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
        assert row["class"] == max(shares, key=lambda name: shares[name])
        assert float(row["confidence"]) == pytest.approx(max(shares.values()), abs=1e-5)
        assert row["error"] == ""


def test_predict_reads_paths_from_standard_input(
    run: Ran, trained: Path, images: list[str]
) -> None:
    given = run("predict", trained, *images, "--json")
    listed = "".join(f"{path}\n" for path in images)
    for outcome in (
        run("predict", trained, "--json", stdin=listed),
        run("predict", trained, "-", "--json", stdin=listed),
        run("predict", trained, "--json", stdin=listed.replace("\n", "\r\n") + "\r\n\r\n"),
    ):
        assert outcome.code == 0, outcome.stderr
        assert json.loads(outcome.stdout) == json.loads(given.stdout)


def test_predict_a_file_whose_name_is_not_unicode(
    run: Ran, trained: Path, images: list[str], tmp_path: Path
) -> None:
    odd = tmp_path / "caf\udce9.jpg"
    odd.write_bytes(Path(images[0]).read_bytes())
    outcome = run("predict", trained, odd)
    assert outcome.code == 0, outcome.stderr
    (row,) = csv.DictReader(io.StringIO(outcome.stdout))
    assert row["path"] == rf"{tmp_path}/caf\udce9.jpg"
    assert row["class"] == "circle"


def test_predict_on_a_folder_and_into_a_file(
    run: Ran, trained: Path, data: Path, tmp_path: Path
) -> None:
    outcome = run("predict", trained, data / "circle", "--output", "found.csv")
    assert outcome.code == 0
    assert outcome.stdout == ""
    with (tmp_path / "found.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 10


def test_predict_with_another_run(run: Ran, trained: Path, images: list[str]) -> None:
    """With itself, which changes nothing; twice, as with two others."""
    alone = json.loads(run("predict", trained, *images, "--json").stdout)
    both = run("predict", trained, *images, "--json", "--with", trained, "--with", trained)
    assert both.code == 0, both.stderr
    for found, known in zip(json.loads(both.stdout), alone, strict=True):
        assert found["class"] == known["class"]
        assert found["confidence"] == pytest.approx(known["confidence"], abs=2e-6)
    outcome = run("predict", trained, *images, "--with", "nowhere")
    assert "There is no run nowhere" in sentence(outcome, 1)


def test_predict_needs_images(run: Ran, trained: Path) -> None:
    assert "bowerbird predict RUN IMAGES" in sentence(run("predict", trained, stdin="\n"), 1)


def test_predict_only_unreadable_images(run: Ran, trained: Path, images: list[str]) -> None:
    outcome = run("predict", trained, *images[2:], "--json")
    assert outcome.code == 0
    assert [row["class"] for row in json.loads(outcome.stdout)] == [None, None]


def test_predictions_agree_with_the_runs_own(run: Ran, trained: Path, data: Path) -> None:
    with (trained / "predictions_test.csv").open(newline="") as file:
        known = {str(data / row["path"]): row["predicted"] for row in csv.DictReader(file)}
    found = json.loads(run("predict", trained, *known, "--json").stdout)
    assert {row["path"]: row["class"] for row in found} == known


def test_the_model_loads_in_plain_timm_and_says_the_same(
    run: Ran, trained: Path, data: Path
) -> None:
    import timm
    import torch

    model = timm.create_model(f"local-dir:{trained / 'model'}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)
    names = model.pretrained_cfg["label_names"]
    images = sorted(data.rglob("*.jpg"))
    with torch.inference_mode():
        batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in images])
        scores = torch.softmax(model(batch), dim=1)
    rows = json.loads(run("predict", trained, *images, "--json").stdout)
    assert [row["class"] for row in rows] == [names[i] for i in scores.argmax(dim=1)]
    ours = torch.tensor([[row["probabilities"][name] for name in names] for row in rows])
    assert (ours - scores).abs().max() < 0.02  # one resize instead of two: a level here and there


# Recipes


def test_a_recipe_repeats_the_run_exactly(run: Ran, data: Path, tmp_path: Path) -> None:
    options = ["--method", "finetune", "--epochs", "1", "--batch-size", "8", "--seed", "3"]
    first = run("train", data, *tiny(*options), "--val", "2", "--split-seed", "5", "--out", "a")
    assert first.code == 0, first.stderr
    second = run("train", "--config", "a/config.toml", "--out", "b")
    assert second.code == 0, second.stderr
    for name in ("model/model.safetensors", "predictions_test.csv", "manifest.csv", "config.toml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_options_override_the_recipe_and_leave_the_rest(
    run: Ran, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "recipe.toml").write_text(
        "data = 'elsewhere'\n[split]\nval = 0.3\nsplit_seed = 4\n"
        "[network]\nmodel = 'test_resnet'\nweights = 'none'\nimage_size = 32\noffline = true\n"
        "[train]\nviews = 3\nmethod = 'probe'\n"
    )
    outcome = run(
        "train", data, "--config", "recipe.toml", "--views", "1", "--val", "0.2", "--out", "run"
    )
    assert outcome.code == 0, outcome.stderr
    recipe = load_recipe(tmp_path / "run" / "config.toml")
    assert recipe.data == str(data)
    assert (recipe.split.val, recipe.split.split_seed) == (0.2, 4)
    assert (recipe.train.views, recipe.network.image_size) == (1, 32)


def test_options_are_checked_together_with_the_recipe(run: Ran, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("[train]\nmethod = 'gradual'\nfreeze = 'backbone'\n")
    recipe = ["train", "nowhere", "--config", "recipe.toml"]
    good = run(*recipe, "--unfreeze", "0=head,2=layer4")
    assert "no folder or table" in sentence(good, 1)
    bad = run(*recipe, "--freeze-until", "layer4")
    assert "freeze and freeze_until can't both be set" in sentence(bad, 2)


def test_paths_in_the_kept_recipe_mean_the_same_elsewhere(
    zygote: Zygote, data: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    shutil.copytree(data, here / "images")
    table = "".join(
        f"{p.relative_to(here / 'images').as_posix()},{p.parent.name}\n"
        for p in sorted((here / "images").rglob("*.jpg"))
    )
    (here / "labels.csv").write_text("path,label\n" + table)
    first = zygote.run(
        ["train", "labels.csv", "--image-root", "images", *TINY, "--out", "run"], folder=here
    )
    assert first.code == 0, first.stderr
    config = here / "run" / "config.toml"
    second = zygote.run(["train", "--config", config, "--out", "run"], folder=there)
    assert second.code == 0, second.stderr
    models = [folder / "run" / "model" / "model.safetensors" for folder in (here, there)]
    assert models[0].read_bytes() == models[1].read_bytes()
