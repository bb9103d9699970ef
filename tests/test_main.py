"""Ctrl-C before the command line is there to answer for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

# sends the signal while a module that the command line needs is being looked for
_SENDING = """
import os, signal, sys

class Sender:
    def find_spec(self, name, *_):
        if name == "{module}":
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Sender())
sys.argv = ["bowerbird", *{words}]
from bowerbird.__main__ import start
"""


def ended(
    code: str = "start()",
    module: str = "pydantic",
    words: tuple[str, ...] = ("--version",),
    number: int = signal.SIGINT,
) -> subprocess.CompletedProcess[str]:
    sending = _SENDING.format(module=module, words=words, number=int(number))
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", sending + code],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_ctrl_c_while_the_command_line_is_imported_leaves_no_traceback() -> None:
    done = ended()
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "bowerbird: Stopped.\n"


def test_where_ctrl_c_is_to_be_ignored_it_is() -> None:
    done = ended("signal.signal(signal.SIGINT, signal.SIG_IGN); start()")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_later_the_command_line_has_words_for_it(number: int) -> None:
    words = ("predict", "nowhere", "x.jpg")
    done = ended(module="bowerbird.workflow", words=words, number=number)
    assert done.returncode == 130
    assert done.stderr == "bowerbird: Stopped; nothing is lost. Run the command again.\n"


def test_what_is_left_to_do_at_the_end_is_done() -> None:
    code = """
import atexit, threading
from bowerbird import cli
def main():
    atexit.register(lambda: print("handled"))
    print("said", end=" ")
    sys.exit(7)
def later():
    main_thread = threading.main_thread()
    threading.Thread(target=lambda: (main_thread.join(), print("waited"))).start()
    main()
cli.main = {0}
start()
"""
    done = ended(code.format("main"), module="no_such_module")
    assert (done.returncode, done.stdout.split()) == (7, ["said", "handled"]), done.stderr
    done = ended(code.format("later"), module="no_such_module")
    assert done.returncode == 7, done.stderr
    assert sorted(done.stdout.split()) == ["handled", "said", "waited"]


@pytest.mark.parametrize("closed", [1, 2])
def test_nobody_needs_to_listen(closed: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import os, sys\nos.close({closed})\n"
         "os.execv(sys.executable, [sys.executable, '-m', 'bowerbird', '--version'])"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["train", "--help"], ["--version"]])
def test_a_reader_that_has_gone_is_no_failure(words: list[str]) -> None:
    """What `| head` does."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bowerbird", *words],
            stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
