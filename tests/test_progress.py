from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bowerbird import progress


def test_silent_unless_shown(capsys: pytest.CaptureFixture[str]) -> None:
    progress.say("hello")
    with progress.task("work", 3) as task:
        task.advance()
        task.note("x")
    assert capsys.readouterr() == ("", "")


def test_shown_on_stderr_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    long = "[red]not markup[/red] 123 " + "word " * 60
    with progress.show():
        progress.say(long)
        with progress.task("work", 2) as task:
            task.advance()
            task.note("loss 0.1")
            task.advance()
    progress.say("silent again")
    out, err = capsys.readouterr()
    assert out == ""
    assert long.strip() in err.replace("\n", " ").strip() or long.strip() in err
    assert "[red]not markup[/red] 123" in err
    assert "silent again" not in err


def test_silent_again_after_an_exception(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with progress.show(), progress.task("work", 2):
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    progress.say("hello")
    assert "hello" not in capsys.readouterr().err


def test_messages_reach_every_open_log(tmp_path: Path) -> None:
    one, two = tmp_path / "1.txt", tmp_path / "2.txt"
    one.write_text("before\n")
    with progress.log_to(one):
        progress.say("für eins")
        with progress.log_to(two):
            progress.say("for both")
        progress.say("one again")
    progress.say("for nobody")
    lines = one.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "before"
    assert [line.split("  ", 1)[1] for line in lines[1:]] == ["für eins", "for both", "one again"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  for both\n", two.read_text())


def test_a_bar_of_nothing_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.show(), progress.task("nothing", 0) as task:
        task.advance()
    assert "nothing" not in capsys.readouterr().err


_RESULT = "a result that is longer than the terminal is wide: " + "x" * 100


@pytest.mark.parametrize("bars", [True, False])
def test_results_go_where_they_are_sent_though_messages_are_shown_in_a_terminal(bars: bool) -> None:
    """As `bowerbird predict ... > results.csv` is called: stderr is a terminal, stdout is not."""
    code = (
        "from bowerbird import progress\n"
        "with progress.show():\n"
        "    progress.say('a message')\n"
        f"    with progress.task('Predicting', {3 if bars else 0}) as task:\n"
        "        task.advance()\n"
        f"        print({_RESULT!r})\n"
        f"    print({_RESULT!r})\n"
    )
    terminal, shown = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=shown, text=True,
            check=True, env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
        )  # fmt: skip
    finally:
        os.close(shown)
    assert done.stdout.splitlines() == [_RESULT, _RESULT]
    assert b"a message" in os.read(terminal, 100_000)
    os.close(terminal)


def test_bars_are_left_out_where_results_are_written_into_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Bars:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def add_task(self, words: str, **_: object) -> int:
            self.seen.append(words)
            return 0

        def remove_task(self, _: int) -> None:
            pass

    bars = Bars()
    monkeypatch.setattr(progress, "_bars", bars)
    with progress.without_bars(), progress.task("Hidden", 3):
        pass
    with progress.task("Shown", 3):
        pass
    assert bars.seen == ["Shown"]
