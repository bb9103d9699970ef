from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zygote import Outcome, Ran, Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as server:
        yield server


@pytest.fixture
def run(zygote: Zygote, tmp_path: Path) -> Ran:
    """Run a command in an empty folder."""

    def ran(*arguments: str | Path, **options: Any) -> Outcome:
        return zygote.run(arguments, folder=tmp_path, **options)

    return ran
