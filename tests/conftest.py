from __future__ import annotations

from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: tiny layers are not worth more."""
    import torch  # most tests need none of it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
