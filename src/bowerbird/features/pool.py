"""The threads of an extraction: each takes a batch of files to stored activations by itself.

Decisions:
- An image that can't be read, or isn't any more what its hash was made from, is reported
  and left out.
- One failure stops all, and is raised where the extraction was asked for; what is stored stays.

How activations are computed is in `extraction`, where they lie in `cache`.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from bowerbird import progress, storage
from bowerbird.data.images import View, load_input, read_bytes
from bowerbird.errors import ImageError
from bowerbird.features.cache import Store

if TYPE_CHECKING:
    from bowerbird.features.extraction import Extractor

__all__ = ["Image", "Job", "Pool"]


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An image file and the hash of its bytes, which names its features."""

    path: Path
    content_hash: str


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A batch: images and the number of their view."""

    view: int
    images: tuple[Image, ...]


class Pool:
    """Threads that turn jobs into stored records until there are none or one fails."""

    def __init__(
        self, extractor: Extractor, views: Sequence[View], stores: Sequence[Store], jobs: list[Job]
    ) -> None:
        self.extractor, self.views, self.stores = extractor, views, stores
        self.waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            self.waiting.put(job)
        self.bad: dict[str, str] = {}
        self.failure: BaseException | None = None
        self.stop = threading.Event()
        self._device = threading.Lock()

    def run(self, workers: int, task: progress.Task) -> dict[str, str]:
        """Work everything off; returns the reasons of unreadable images by hash."""
        threads = [_Worker(self._work, task) for _ in range(workers)]
        before = torch.get_num_threads()
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.over.wait()
        finally:  # also on Ctrl-C: what is stored stays, and the threads end after their batch
            self.stop.set()
            for thread in threads:
                if thread.ident is not None:  # it was started
                    thread.over.wait()
                    thread.join()
            torch.set_num_threads(before)
        if self.failure is not None:
            raise self.failure
        return self.bad

    def _work(self, task: progress.Task) -> None:
        if self.extractor.device.type == "cpu":
            torch.set_num_threads(1)  # of this thread: the other cores have their own batches
        while not self.stop.is_set():
            try:
                job = self.waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self._do(job)
                task.advance(len(job.images))
            except BaseException as error:  # handed to the thread that waits for this one
                self.failure = error
                self.stop.set()

    def _do(self, job: Job) -> None:
        hashes, pixels = [], []
        preprocess = self.extractor.network.preprocess
        for image in job.images:
            try:
                pixels.append(load_input(_content(image), preprocess, self.views[job.view]))
                hashes.append(image.content_hash)
            except ImageError as error:
                self.bad[image.content_hash] = str(error)
        if not pixels:
            return
        if self.extractor.device.type == "cpu":
            values = self.extractor(np.stack(pixels))
        else:
            with self._device:
                values = self.extractor(np.stack(pixels))
        store = self.stores[job.view]
        if values.dtype == torch.bfloat16:
            values = values.view(torch.uint16)
        store.append(hashes, values.numpy())


class _Worker(threading.Thread):
    """A thread to wait for by `over`: an interrupted `join` takes it for ended (Python 3.11)."""

    def __init__(self, work: Callable[[progress.Task], None], task: progress.Task) -> None:
        super().__init__(daemon=True)
        self._work, self._task, self.over = work, task, threading.Event()

    def run(self) -> None:
        try:
            self._work(self._task)
        finally:
            self.over.set()


def _content(image: Image) -> bytes:
    """The file's bytes, if they still are those that its features are kept under."""
    data = read_bytes(image.path)
    if storage.hash_bytes(data) != image.content_hash:
        raise ImageError("changed since it was first read")
    return data
