"""The audit's page in a real browser: decide, come back, save, apply, read the result.

It needs Chromium and the Python package playwright; where there is none the tests are
skipped, unless CI or BOWERBIRD_REQUIRE_BROWSER is set, where they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bowerbird.auditing.applying import apply
from bowerbird.auditing.results import Audit, Case, Finding, in_order
from bowerbird.config import ReadConfig
from bowerbird.data.sources import read_images
from bowerbird.report.of_audit import write_audit
from drawing import draw_folder

CLASSES = ("cat", "dog", "fox, red")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        reason = f"no browser: none of {', '.join(NAMES)} is installed"
        if os.environ.get("CI") or os.environ.get("BOWERBIRD_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A new page; its errors, and whatever it asks the network for, fail the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    opened.on("request", lambda r: wrong.append(r.url) if r.url.startswith("http") else None)
    opened.set_default_timeout(10_000)
    yield opened
    context.close()
    assert wrong == []


def case(label: str, number: int, action: Any = "keep", new: str | None = None) -> Case:
    return Case(f"{label}/{label}_{number:03d}.jpg", label, None, "a caption", action, new)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "data", CLASSES, 8)


def written(data: Path, findings: list[Finding]) -> str:
    """The address of the page of an audit."""
    found = read_images(data)
    counts = {"all": found.to_dict()["classes"]}
    write_audit(Audit(data, CLASSES, counts, in_order(findings)), data.parent / "audit")
    return (data.parent / "audit" / "audit.html").as_uri()


@pytest.fixture
def address(data: Path) -> str:
    beside = (case("dog", 5), case("cat", 5))
    suspects = [
        Finding("suspect", "looks like dog", 0.9, (case("cat", 0, "relabel", "dog"),), beside),
        Finding("suspect", "unsure", 0.8, (case("cat", 1, new="dog"),), beside),
        Finding("suspect", "looks like cat", 0.7, (case("dog", 0, "relabel", "cat"),), beside),
        Finding("suspect", "looks like dog", 0.6, (case("fox, red", 0, "relabel", "dog"),), ()),
    ]
    copies = Finding("copy", "same pixels", 1.0, (case("dog", 1), case("dog", 2, "drop")))
    return written(data, [*suspects, copies])


def becomes(page: Any, true: Callable[[], bool]) -> None:
    """Wait until something is so; the page's policy forbids asking in JavaScript."""
    for _ in range(200):
        if true():
            return
        page.wait_for_timeout(50)
    pytest.fail("it did not come about in ten seconds")


def tile(page: Any, path: str) -> Any:
    return page.locator(f'.tile[aria-label="{path}"]').first


def choose(page: Any, path: str, action: str) -> None:
    tile(page, path).locator(f"[data-act={action}]").click()


def decided(page: Any) -> dict[str, str]:
    """What is decided, as the page shows it, by path."""
    tiles = page.locator(".tile[data-decided]").all()
    return {t.get_attribute("aria-label"): t.get_attribute("data-decided") for t in tiles}


def saved(page: Any, to: Path) -> Path:
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "fixes.csv"
    download.value.save_as(to)
    return to


def test_five_decisions_are_remembered_saved_applied_and_read(
    page: Any, address: str, data: Path, tmp_path: Path
) -> None:
    page.goto(address)
    page.click("#start")
    choose(page, "cat/cat_000.jpg", "relabel")
    choose(page, "cat/cat_001.jpg", "keep")
    choose(page, "dog/dog_000.jpg", "drop")
    choose(page, "fox, red/fox, red_000.jpg", "pick")
    page.fill("#picker-input", "ca")
    page.keyboard.press("Enter")
    choose(page, "dog/dog_002.jpg", "drop")
    assert page.inner_text("#decided") == "5"
    page.reload()
    assert page.inner_text("#decided") == "5"
    page.click("#start")
    assert decided(page) == {
        "cat/cat_000.jpg": "relabel",
        "cat/cat_001.jpg": "keep",
        "dog/dog_000.jpg": "drop",
        "fox, red/fox, red_000.jpg": "relabel",
        "dog/dog_002.jpg": "drop",
    }
    fixes = saved(page, tmp_path / "fixes.csv")
    assert f"bowerbird apply {data} fixes.csv" in page.inner_text("#saved")
    _, manifest, _ = apply(data, fixes, ReadConfig(), tmp_path / "manifest.csv")
    found = read_images(data, ReadConfig(manifest=manifest))
    labels = {s.path: found.classes[s.target or 0] for s in found.samples}
    assert len(labels) == 22
    assert labels["cat/cat_000.jpg"] == "dog"
    assert labels["cat/cat_001.jpg"] == "cat"
    assert labels["fox, red/fox, red_000.jpg"] == "cat"
    assert {"dog/dog_000.jpg", "dog/dog_002.jpg"} & set(labels) == set()


def test_keys_decide_and_go_on(page: Any, address: str) -> None:
    page.goto(address)
    page.click("#start")
    for key in ("r", "k", "d", "ArrowLeft", "ArrowRight", "r", "k"):
        page.keyboard.press(key)
    assert list(decided(page).values()) == ["relabel", "keep", "drop", "relabel", "keep"]
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused == "dog/dog_002.jpg"
    page.keyboard.press("u")
    assert len(decided(page)) == 4
    page.keyboard.press("c")
    page.keyboard.type("fox")
    page.keyboard.press("Enter")
    assert tile(page, "dog/dog_002.jpg").locator(".stamp").inner_text() == "→ fox, red"
    page.locator("#by-path").fill("k")  # keys that are typed decide nothing
    page.keyboard.press("d")
    assert page.inner_text("#decided") == "5"


def test_all_proposals_of_a_kind_and_back(page: Any, address: str) -> None:
    page.goto(address)
    button = page.locator("#suspect .head button")
    assert button.inner_text() == "Accept all 3 proposals"
    button.click()
    assert page.inner_text("#tally").split() == ["relabel", "3"]
    assert not button.is_visible()
    page.locator("#toast button").click()
    assert page.inner_text("#decided") == "0"
    assert button.inner_text() == "Accept all 3 proposals"


def test_a_saved_file_is_loaded_again_and_mistakes_in_it_are_told(
    page: Any, address: str, tmp_path: Path
) -> None:
    page.goto(address)
    page.click("#start")
    choose(page, "cat/cat_000.jpg", "relabel")
    choose(page, "fox, red/fox, red_000.jpg", "drop")
    fixes = saved(page, tmp_path / "fixes.csv")
    with fixes.open("a") as text:
        text.write("none.jpg,cat,drop,,,\ndog/dog_001.jpg,dog,frop,,,\n")
    page.evaluate("localStorage.clear()")
    page.reload()
    assert page.inner_text("#decided") == "0"
    page.set_input_files("#file", fixes)
    page.wait_for_selector("#toast:not([hidden])")
    assert page.inner_text("#toast span") == (
        "2 decisions loaded. 2 lines left out (line 4: not in this audit; line 5: action “frop”)."
    )
    page.click("#start")
    assert list(decided(page).values()) == ["relabel", "drop"]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    page.set_input_files("#file", tmp_path / "other.csv")
    becomes(page, lambda: "no fixes.csv" in page.inner_text("#toast"))


def test_a_new_class_is_marked_and_needs_the_option(
    page: Any, address: str, tmp_path: Path
) -> None:
    page.goto(address)
    page.click("#start")
    choose(page, "cat/cat_000.jpg", "pick")
    page.fill("#picker-input", "wolf")
    assert page.inner_text("#picker-list li").split("\n") == ["wolf", "a new class"]
    page.keyboard.press("Enter")
    fixes = saved(page, tmp_path / "fixes.csv")
    assert page.inner_text("#saved code").endswith("fixes.csv --new-classes")
    assert "cat/cat_000.jpg,cat,relabel,wolf,," in fixes.read_text()


def test_only_what_is_wanted_is_shown(page: Any, address: str) -> None:
    page.goto(address)
    page.click("#start")
    shown = page.locator(".card:visible")
    becomes(page, lambda: shown.count() == 5)
    page.select_option("#by-kind", label="Suspect labels (4)")
    becomes(page, lambda: shown.count() == 4)
    page.select_option("#by-class", label="cat (2)")
    becomes(page, lambda: page.locator("#suspect .card").count() == 3)
    choose(page, "cat/cat_000.jpg", "keep")
    page.check("#undecided")
    becomes(page, lambda: page.locator("#suspect .card").count() == 2)
    page.fill("#by-path", "nowhere")
    assert page.locator(".empty").is_visible()


def test_thousands_of_findings_stay_usable(page: Any, data: Path) -> None:
    findings = [
        Finding("suspect", "looks like dog", 1 - n / 9999, (Case(f"cat/{n}.jpg", "cat", None, "",
                "relabel", "dog"),)) for n in range(3000)
    ]  # fmt: skip
    page.goto(written(data, findings))
    page.click("#start")
    assert page.locator(".card").count() == 50
    page.locator("#suspect .pager input").fill("60")
    page.keyboard.press("Enter")
    assert tile(page, "cat/2999.jpg").is_visible()
    tile(page, "cat/2950.jpg").focus()
    page.keyboard.press("ArrowLeft")
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused == "cat/2949.jpg"
    page.locator("#suspect .head button").click()
    assert page.inner_text("#decided") == "3,000"
    page.reload()
    assert page.inner_text("#decided") == "3,000"


def test_where_nothing_can_be_remembered_it_says_so(
    page: Any, address: str, tmp_path: Path
) -> None:
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no') }})"
    )
    page.goto(address)
    page.click("#start")
    page.keyboard.press("r")
    assert "can’t remember decisions" in page.inner_text("#toast span")
    assert "cat/cat_000.jpg,cat,relabel,dog" in saved(page, tmp_path / "f.csv").read_text()


def test_two_pages_of_one_audit_agree(page: Any, address: str) -> None:
    page.goto(address)
    other = page.context.new_page()
    other.goto(address)
    other.click("#start")
    other.keyboard.press("d")
    becomes(page, lambda: page.inner_text("#decided") == "1")


def test_an_audit_that_found_nothing(page: Any, data: Path) -> None:
    page.goto(written(data, []))
    assert page.locator("h2").first.inner_text() == "Nothing was found"
    assert page.locator("#bar").count() == 0


@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_sticks_out(page: Any, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(address)
    page.click("#start")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
