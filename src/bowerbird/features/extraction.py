"""Push images through the frozen part of a network once, and keep what comes out.

On a CPU every core runs its own small batches from file to features: decoding,
network and writing overlap by themselves, no core waits for another, and a batch
fits the core's cache. Measured on two cores, that is half as fast again as one
process that gives all cores to each layer. On an accelerator the workers decode, and
take turns at the device.

Decisions:
- Batches always have the same size (the last one is padded), so an image's features
  don't depend on what else was in its batch, or on where an interrupted extraction
  stopped.
- Batch-norm is folded into the convolutions of the frozen part; on a CPU, so are activations
  and padding.
- What caching would falsify is refused: training mode (batch-norm, dropout), and random
  augmentation (only enumerated views have a name to be kept under).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bowerbird import progress
from bowerbird.config import Preprocess
from bowerbird.data.dataset import Problem
from bowerbird.data.images import View
from bowerbird.errors import CacheError, ConfigError, ModelError
from bowerbird.features import precision as precisions
from bowerbird.features.cache import FeatureCache, FeatureKey, Store
from bowerbird.features.pool import Image, Job, Pool
from bowerbird.machine import cores
from bowerbird.models.cuts import INPUT, Traced, fold_batch_norm, trace
from bowerbird.models.folding import with_channels_last
from bowerbird.models.fusing import fuse
from bowerbird.models.networks import Network
from bowerbird.models.weights import fingerprint

__all__ = ["Extractor", "Features", "Image", "chosen_device", "extract", "to_network"]

_CPU_BATCH, _DEVICE_BATCH = 8, 64
_SOME = 5  # images that tell a shape: a number that axes seldom have for another reason
PLAIN = View()


@dataclasses.dataclass(frozen=True)
class Features:
    """Activations of some images at a cut, read from the cache when asked for.

    Attributes:
        store: where they lie.
        hashes: one per row.
        shape: of one image's activation, e.g. ``(1280,)`` or ``(320, 7, 7)``.
    """

    store: Store
    hashes: tuple[str, ...]
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.hashes)

    def __repr__(self) -> str:
        return f"Features({len(self)} images × {' × '.join(map(str, self.shape))})"

    def tensor(self, rows: Sequence[int] | npt.NDArray[Any] | slice) -> torch.Tensor:
        """Rows as a tensor [N, *shape] in the precision they were computed in."""
        chosen = self.hashes[rows] if isinstance(rows, slice) else [self.hashes[i] for i in rows]
        values = torch.from_numpy(self.store.read(chosen))
        return values.view(torch.bfloat16) if self.store.kind == np.uint16 else values

    def numpy(self, rows: Sequence[int] | npt.NDArray[Any] | slice = slice(None)) -> Any:
        """Rows as float32 [N, *shape]."""
        return self.tensor(rows).float().numpy()

    def to_dict(self) -> dict[str, Any]:
        """Facts for JSON."""
        return {"images": len(self), "shape": list(self.shape)}


class Extractor:
    """The frozen part of a network, ready to run.

    Args:
        network: in evaluation mode.
        cut: place where it ends; by default just before the classifier.
        precision: ``"auto"``, ``"float32"`` or ``"bfloat16"``.
        device: ``"cpu"`` or a torch device.
        traced: the network's trace, if there is one already.

    Raises:
        CacheError: the network is in training mode.
        ModelError: the network can't be cut there, or can't run on its input size.
    """

    def __init__(
        self,
        network: Network,
        cut: str | None = None,
        *,
        precision: str = "auto",
        device: str = "cpu",
        traced: Traced | None = None,
    ) -> None:
        _refuse_training_mode(network.module, traced)
        traced = traced or trace(network.module)
        self.cut = cut or traced.before_classifier()
        self.network, self.device = network, torch.device(device)
        prefix = traced.prefix(self.cut)
        self.fingerprint = fingerprint(prefix)
        self.batch = _CPU_BATCH if self.device.type == "cpu" else _DEVICE_BATCH
        folded = with_channels_last(fold_batch_norm(prefix))
        try:
            self.precision = self._precision(folded, precision)
            self._folded = folded.to(self.device, _DTYPES[self.precision])
            self.shape = self._output_shape()
        except (RuntimeError, AssertionError) as error:
            height, width = network.preprocess.input_size
            raise ModelError(
                f"{network.name} can't run to {self.cut} on {height} × {width} pixels in "
                f"{self.precision}: {error}. Use another --image-size, or --precision float32."
            ) from error

    @functools.cached_property
    def prefix(self) -> nn.Module:
        """What runs; made when it is needed, which it isn't where all is in the cache."""
        on_cpu = self.device.type == "cpu"
        return fuse(self._folded, self._example()) if on_cpu else self._folded

    def prepare(self) -> None:
        """Make what runs, before several threads want to."""
        _ = self.prefix

    def key(self, view: View) -> FeatureKey:
        """What the activations of one view are kept under."""
        return FeatureKey(
            network=self.network.name,
            weights=self.fingerprint,
            cut=self.cut,
            preprocess=self.network.preprocess.model_dump_json(),
            view=view.name,
            precision=self.precision,
        )

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Activations [N, *shape] of N ≤ batch inputs [N, H, W, C]."""
        count = len(pixels)
        if count < self.batch:
            padding = [(0, self.batch - count), (0, 0), (0, 0), (0, 0)]
            pixels = np.pad(pixels, padding)
        batch = to_network(pixels, self.network.preprocess, self.device)
        with torch.inference_mode():
            values: torch.Tensor = self.prefix(batch.to(_DTYPES[self.precision]))
        return values[:count].cpu().contiguous()

    def _example(self) -> torch.Tensor:
        known = self.network.preprocess
        shape = (self.batch, *known.input_size, len(known.mean))
        pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        wide = to_network(pixels, self.network.preprocess, self.device)
        return wide.to(_DTYPES[self.precision])

    def _output_shape(self) -> tuple[int, ...]:
        some = self._example()
        if self.device.type == "cpu":  # elsewhere the whole batch must fit the memory
            some = some[:_SOME]
        with torch.inference_mode():
            value = self._folded(some)
        if not torch.is_tensor(value) or len(value) != len(some):
            raise ModelError(f"What {self.network.name} holds at {self.cut} is not per image.")
        return tuple(value.shape[1:])

    def _precision(self, prefix: nn.Module, wanted: str) -> str:
        self.precision = "float32" if wanted == "auto" or self.cut == INPUT else wanted
        if wanted != "auto" or self.device.type != "cpu" or self.cut == INPUT:
            return self.precision
        name = f"{self.network.name} {self.fingerprint} to {self.cut}"
        return precisions.choose(name, prefix, self._example(), ready=fuse)


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def extract(
    network: Network,
    images: Sequence[Image],
    *,
    cut: str | None = None,
    views: Sequence[View] = (PLAIN,),
    precision: str = "auto",
    device: str = "cpu",
    workers: int | None = None,
    cache: FeatureCache | None = None,
    extractor: Extractor | None = None,
) -> tuple[list[Features], list[Problem]]:
    """Features of all readable images, one `Features` per view, from the cache where possible.

    Args:
        network: in evaluation mode.
        images: files with the hashes of their bytes.
        cut: place to cut; by default just before the classifier.
        views: enumerated views; each is kept by itself.
        precision: ``"auto"`` measures once which is faster here.
        device: ``"cpu"`` or a torch device.
        workers: threads; by default one per core.
        cache: by default the user's.
        extractor: made beforehand, instead of `cut`, `precision` and `device`.

    Returns:
        Features per view, over the readable images in the order given, and the
        problems, whose path is the image's path as given.

    Raises:
        CacheError: caching would falsify the features, or the cache can't be written.
    """
    if not views or not all(isinstance(view, View) for view in views):
        raise CacheError(
            "Features can't be kept for a random augmentation: each image would be another one "
            "the next time. Give enumerated views (bowerbird.data.views.enumerate_views)."
        )
    extractor = extractor or Extractor(network, cut, precision=precision, device=device)
    cache = cache or FeatureCache()
    stores = [cache.store(extractor.key(view), extractor.shape) for view in views]
    jobs = _jobs(images, stores, extractor.batch)
    todo = sum(len(job.images) for job in jobs)
    wanted = todo * stores[0].record_size
    if wanted > cache.limit:
        raise CacheError(
            f"{todo} activations of {extractor.shape} take {wanted / 1e9:.1f} GB, more than the "
            f"cache's limit of {cache.limit / 1e9:.1f} GB. Raise it with the environment variable "
            "BOWERBIRD_CACHE_GB."
        )
    cache.make_room(wanted)
    bad: dict[str, str] = {}
    if jobs:
        extractor.prepare()
        with progress.task("Computing features", todo) as task:
            pool = Pool(extractor, views, stores, jobs)
            bad = pool.run(min(workers or cores(), len(jobs)), task)
    good = tuple(i.content_hash for i in images if i.content_hash not in bad)
    problems = [Problem(str(i.path), bad[i.content_hash]) for i in images if i.content_hash in bad]
    return [Features(store, good, extractor.shape) for store in stores], problems


def to_network(
    pixels: npt.NDArray[np.uint8], preprocess: Preprocess, device: torch.device
) -> torch.Tensor:
    """Pixels [N, H, W, C] of 0 to 255 as a normalised channels_last batch [N, C, H, W]."""
    mean = torch.tensor(preprocess.mean, device=device) * 255
    std = torch.tensor(preprocess.std, device=device) * 255
    batch = torch.from_numpy(pixels).to(device).float()
    return batch.sub_(mean).div_(std).permute(0, 3, 1, 2)


def chosen_device(wanted: str) -> str:
    """``"auto"`` resolved to what this machine has.

    Raises:
        ConfigError: there is no such device, or not on this machine.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ConfigError(
            f"--device {wanted}: not a device. Use auto, cpu, cuda or mps."
        ) from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise ConfigError(f"--device {wanted} is not on this machine. Use --device cpu, or auto.")
    return wanted


def _refuse_training_mode(module: nn.Module, traced: Traced | None) -> None:
    """A trace keeps the mode of its moment, except in batch-norms and other layers of torch."""
    batch_norm = nn.modules.batchnorm._BatchNorm
    training = [
        name or type(module).__name__
        for name, part in module.named_modules()
        if part.training and (traced is None or isinstance(part, batch_norm))
    ]
    if training or (traced is not None and traced.graph.training):
        raise CacheError(
            f"{training[0] if training else 'The trace'} is in training mode: batch-norm then "
            "depends on the rest of the batch, and dropout on chance, so no features can be kept "
            "per image. Call network.module.eval() first."
        )


def _jobs(images: Sequence[Image], stores: Sequence[Store], batch: int) -> list[Job]:
    by_hash = {image.content_hash: image for image in images}
    jobs: list[Job] = []
    for number, store in enumerate(stores):
        missing = [by_hash[h] for h in store.missing(list(by_hash))]
        jobs += [
            Job(number, tuple(missing[start : start + batch]))
            for start in range(0, len(missing), batch)
        ]
    return jobs
