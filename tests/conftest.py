from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # machines are busy at times
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _cache_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test reads or writes the user's cache, and none finds what another one left."""
    folder: Path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("BOWERBIRD_CACHE", str(folder))
    monkeypatch.delenv("BOWERBIRD_CACHE_GB", raising=False)
    monkeypatch.setenv("no_proxy", "*")  # servers of tests are on this machine
