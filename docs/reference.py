"""Pastes the commands' --help and the public names into docs/, or checks that they are there.

python docs/reference.py            write docs/cli.md and docs/python.md
python docs/reference.py --check    fail if they are not what this would write
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
COMMANDS = (
    "",
    "train",
    "split",
    "preview",
    "expand",
    "find-rate",
    "resume",
    "audit",
    "apply",
    "evaluate",
    "predict",
    "explain",
    "probe",
    "bakeoff",
    "report",
    "models",
    "summary",
    "demo",
    "cache",
)


def cli_page() -> str:
    """Every command's help."""
    parts = ["# Command line\n\nPasted from `--help` by `make docs`; checked by `make check`.\n"]
    environment = os.environ | {"COLUMNS": "96", "NO_COLOR": "1", "PYTHONUTF8": "1"}
    for command in COMMANDS:
        words = [sys.executable, "-m", "bowerbird", *command.split(), "--help"]
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
        text = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
        parts.append(f"## bowerbird {command}".rstrip() + f"\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def python_page() -> str:
    """Every public name: its signature and the first paragraph of its docstring."""
    import bowerbird

    parts = [
        "# Python\n\nThe public names of `import bowerbird as bb`, pasted from the code by "
        "`make docs`; checked by `make check`.\n"
    ]
    for name in bowerbird.__all__:
        thing = getattr(bowerbird, name)
        text = (inspect.getdoc(thing) or "").split("\n\n")[0]
        shown = f"{name}{_signature(thing)}" if inspect.isfunction(thing) else name
        parts.append(f"### {name}\n\n```python\n{shown}\n```\n\n{text}\n")
    return "\n".join(parts)


def _signature(thing: object) -> str:
    words = str(inspect.signature(thing)) if callable(thing) else ""
    return words.replace("'", "")


def main() -> int:
    """Write or check the pages."""
    wanted = {"cli.md": cli_page(), "python.md": python_page()}
    wrong = []
    for name, text in wanted.items():
        file = HERE / name
        if "--check" not in sys.argv:
            file.write_text(text, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != text:
            wrong.append(f"docs/{name}")
    if wrong:
        print(f"{' and '.join(wrong)} don't fit the code any more: run make docs.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
