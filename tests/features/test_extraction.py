from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pictures
from torch import nn

from bowerbird import progress, storage
from bowerbird.config import Preprocess
from bowerbird.data.images import View, enumerate_views
from bowerbird.errors import CacheError, ModelError
from bowerbird.features import FeatureCache, Features, Image, extract, extraction, pool
from bowerbird.features.cache import Store
from bowerbird.features.extraction import Extractor
from bowerbird.models.cuts import INPUT, trace
from bowerbird.models.networks import Network, create_model
from bowerbird.models.weights import Weights
from drawing import draw, draw_folder

MIRROR = View(mirror=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("images"), per_class=7)


@pytest.fixture(scope="module")
def images(folder: Path) -> list[Image]:
    return listed(folder)


def listed(folder: Path) -> list[Image]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [Image(path, storage.hash_file(path)) for path in files]


def small(**more: Any) -> Network:
    given = {"num_classes": 3, "weights": "none", "image_size": 64, "seed": 1} | more
    return create_model("test_resnet", **given)


@pytest.fixture
def network() -> Network:
    return small()


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that were decoded, with the view."""
    seen: list[str] = []
    original = pool.load_input

    def watch(data: Any, preprocess: Preprocess, view: View) -> Any:
        seen.append(f"{storage.hash_bytes(data)} {view.name}")
        return original(data, preprocess, view)

    monkeypatch.setattr(pool, "load_input", watch)
    return seen


def values(network: Network, images: list[Image], **more: Any) -> np.ndarray[Any, Any]:
    """Features in float32 of one view, with all of the images readable."""
    found, problems = extract(network, images, **({"precision": "float32"} | more))
    assert problems == []
    return np.asarray(found[0].numpy())


class Means(nn.Module):
    """Hand-weighted: the features are the mean red, green and blue of the left half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Conv2d(3, 3, 1, bias=False)
        self.scale.weight.data = torch.eye(3).reshape(3, 3, 1, 1)
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.scale(x)[:, :, :, :4].mean((2, 3)))


def means() -> Network:
    preprocess = Preprocess(input_size=(8, 8), crop_pct=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    return Network(Means().eval(), "means", 2, preprocess, Weights("none", "by hand"))


def test_features_of_a_network_weighted_by_hand(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4], pixels[:, 4:] = (255, 51, 0), (0, 102, 255)
    Pictures.fromarray(pixels).save(tmp_path / "a.png")
    found, problems = extract(
        means(), listed(tmp_path), views=(View(), MIRROR), precision="float32"
    )
    assert problems == []
    np.testing.assert_allclose(found[0].numpy(), [[1.0, 0.2, 0.0]], atol=1e-6)
    np.testing.assert_allclose(found[1].numpy(), [[0.0, 0.4, 1.0]], atol=1e-6)


def test_features_are_those_of_the_plain_network(network: Network, images: list[Image]) -> None:
    found = values(network, images)
    traced = trace(network.module)
    pixels = np.stack([pool.load_input(image.path, network.preprocess, View()) for image in images])
    batch = extraction.to_network(pixels, network.preprocess, torch.device("cpu"))
    with torch.inference_mode():
        expected = traced.prefix(traced.before_classifier())(batch).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert found.std() > 0.01


def test_a_second_time_nothing_is_computed(
    network: Network, images: list[Image], computed: list[str]
) -> None:
    first = values(network, images)
    assert len(computed) == len(images)
    np.testing.assert_array_equal(values(network, images), first)
    np.testing.assert_array_equal(values(small(), images[::-1]), first[::-1])
    assert len(computed) == len(images)


def test_what_features_say_of_themselves(network: Network, images: list[Image]) -> None:
    found, _ = extract(network, images, precision="bfloat16")
    features = found[0]
    assert repr(features) == "Features(21 images × 96)"
    assert features.to_dict() == {"images": 21, "shape": [96]}
    assert features.tensor(slice(2, 4)).dtype == torch.bfloat16
    rows = features.tensor(np.array([5, 2, 2]))
    assert torch.equal(rows[1], rows[2])
    assert torch.equal(rows, features.tensor(slice(None))[[5, 2, 2]])
    assert features.numpy([0]).dtype == np.float32


def test_the_input_itself_can_be_asked_for(network: Network, images: list[Image]) -> None:
    found, _ = extract(network, images[:2], cut=INPUT)
    assert found[0].shape == (3, 64, 64)
    assert found[0].numpy().std() > 0.1


@pytest.mark.parametrize(
    "change",
    [
        lambda n: small(seed=2),
        lambda n: small(global_pool="max"),
        lambda n: dataclasses.replace(
            n, preprocess=n.preprocess.model_copy(update={"crop_pct": 0.5})
        ),
        lambda n: dataclasses.replace(
            n, preprocess=n.preprocess.model_copy(update={"mean": (0.1, 0.2, 0.3)})
        ),
    ],
    ids=["weights", "pooling", "crop", "mean"],
)
def test_another_network_or_preprocessing_is_another_feature(
    network: Network, images: list[Image], computed: list[str], change: Any
) -> None:
    one, other = values(network, images), values(change(network), images)
    assert len(computed) == 2 * len(images)
    assert not np.array_equal(one, other)


def test_view_precision_and_cut_are_kept_apart(
    network: Network, images: list[Image], computed: list[str]
) -> None:
    stages = trace(network.module).stages
    for more in (
        {},
        {"views": [MIRROR]},
        {"precision": "bfloat16"},
        {"cut": stages[0].cut},
        {"cut": stages[1].cut, "precision": "bfloat16"},
    ):
        before = len(computed)
        extract(network, images, **({"precision": "float32"} | more))  # type: ignore[arg-type]
        assert len(computed) == before + len(images)
    assert len(FeatureCache().contents()) == 5


def test_a_new_head_needs_no_new_features(images: list[Image], computed: list[str]) -> None:
    three, nine = (create_model(num_classes=n, image_size=64) for n in (3, 9))
    first = values(three, images[:4])
    np.testing.assert_array_equal(values(nine, images[:4]), first)
    assert len(computed) == 4


def test_a_changed_weight_is_never_answered_from_the_cache(
    network: Network, images: list[Image]
) -> None:
    first = values(network, images)
    with torch.no_grad():
        network.module.get_parameter("conv1.0.weight").mul_(1.5)
    assert not np.allclose(values(network, images), first)


def test_the_same_bytes_under_two_names_are_computed_once(
    tmp_path: Path, network: Network, computed: list[str]
) -> None:
    draw(0).save(tmp_path / "a.png")
    for name in ("b.png", "ü b.png", "c"):
        shutil.copy(tmp_path / "a.png", tmp_path / name)
    found = values(network, listed(tmp_path))
    assert len(found) == 4
    assert np.ptp(found, axis=0).max() == 0
    assert len(computed) == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_images_features_depend_on_no_other_image(
    network: Network, images: list[Image], tmp_path: Path, precision: str
) -> None:
    together = values(network, images, precision=precision)
    folders = itertools.count()

    def fresh(some: list[Image], **more: Any) -> np.ndarray[Any, Any]:
        cache = FeatureCache(tmp_path / str(next(folders)))
        return values(network, some, precision=precision, cache=cache, **more)

    np.testing.assert_array_equal(fresh(images[::-1], workers=1), together[::-1])
    np.testing.assert_array_equal(fresh(images[4:5]), together[4:5])
    np.testing.assert_array_equal(fresh(images[3:14], workers=3), together[3:14])


def test_every_batch_has_the_same_size(
    network: Network, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What kernels a library picks, and so the last bits, may depend on the size."""
    sizes: list[int] = []
    original = extraction.to_network

    def watch(pixels: Any, *more: Any) -> torch.Tensor:
        sizes.append(len(pixels))
        return original(pixels, *more)

    monkeypatch.setattr(extraction, "to_network", watch)
    extract(network, images, precision="float32")
    extract(network, images[:1], precision="float32", views=[MIRROR])
    assert set(sizes) == {8}


def test_bfloat16_points_where_float32_does(images: list[Image]) -> None:
    network = create_model(num_classes=3, image_size=96)
    one, other = (
        torch.from_numpy(values(network, images[:6], precision=p)) for p in ("float32", "bfloat16")
    )
    assert float(torch.nn.functional.cosine_similarity(one, other).min()) > 0.99
    assert not torch.equal(one, other)


def damage(folder: Path, place: float) -> None:
    file = max(folder.rglob("*.seg"), key=lambda path: path.stat().st_size)
    data = bytearray(file.read_bytes())
    data[int(place * (len(data) - 1))] ^= 0x10
    file.write_bytes(data)


@pytest.mark.parametrize("place", [0.0, 0.31, 0.5, 1.0])
def test_a_damaged_byte_is_one_image_computed_again(
    network: Network, images: list[Image], computed: list[str], tmp_path: Path, place: float
) -> None:
    first = values(network, images, cache=FeatureCache(tmp_path))
    damage(tmp_path, place)
    computed.clear()
    np.testing.assert_array_equal(values(network, images, cache=FeatureCache(tmp_path)), first)
    assert len(computed) == 1
    np.testing.assert_array_equal(values(network, images, cache=FeatureCache(tmp_path)), first)
    assert len(computed) == 1


def test_unreadable_images_are_told_and_left_out(
    tmp_path: Path, network: Network, images: list[Image]
) -> None:
    shutil.copytree(images[0].path.parent, tmp_path / "a")
    whole = images[8].path.read_bytes()
    for name, data in {
        "cut": whole[:300],
        "empty": b"",
        "text": b"hello",
        "again": b"hello",
    }.items():
        (tmp_path / "a" / f"{name}.jpg").write_bytes(data)
    (tmp_path / "a" / "folder.jpg").mkdir()
    mixed = [*listed(tmp_path), Image(tmp_path / "a" / "folder.jpg", "ab" * 16)]
    mixed.append(Image(tmp_path / "a" / "gone.jpg", "cd" * 16))
    found, problems = extract(network, mixed, views=enumerate_views(2), precision="float32")
    told = {Path(p.path).name: p.reason for p in problems}
    assert told == {
        "cut.jpg": "truncated",
        "empty.jpg": "empty file",
        "text.jpg": "not an image",
        "again.jpg": "not an image",
        "folder.jpg": "a folder, not a file",
        "gone.jpg": "file not found",
    }
    assert [len(view) for view in found] == [7, 7]
    np.testing.assert_array_equal(found[0].numpy(), values(network, images[:7]))


def test_only_unreadable_images(tmp_path: Path, network: Network) -> None:
    for number in range(20):
        (tmp_path / f"{number}.jpg").write_bytes(b"no image %d" % number)
    found, problems = extract(network, listed(tmp_path), precision="float32")
    assert (len(found[0]), len(problems)) == (0, 20)
    assert found[0].numpy().shape == (0, 96)


def test_no_images_at_all(network: Network) -> None:
    found, problems = extract(network, [], precision="float32")
    assert (found[0].numpy().shape, problems) == ((0, 96), [])


def test_a_file_that_changed_is_never_kept_under_its_old_hash(
    tmp_path: Path, network: Network
) -> None:
    draw(0).save(tmp_path / "a.png")
    draw(1).save(tmp_path / "b.png")
    before = listed(tmp_path)
    draw(2).save(tmp_path / "a.png")
    found, problems = extract(network, before, precision="float32")
    assert [(Path(p.path).name, p.reason) for p in problems] == [
        ("a.png", "changed since it was first read")
    ]
    assert len(found[0]) == 1
    draw(0).save(tmp_path / "a.png")
    assert len(values(network, before)) == 2


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.dropout(self.a(x), 0.5, self.training)
        return self.fc(x.mean((2, 3)))


def by_hand(module: nn.Module) -> Network:
    return Network(module, "by hand", 2, Preprocess(input_size=(8, 8)), Weights("none", "by hand"))


def test_training_mode_is_refused(images: list[Image]) -> None:
    network = small()
    network.module.get_submodule("layer2.0.bn1").train()
    with pytest.raises(CacheError, match=r"layer2.0.bn1 is in training mode.*module.eval\(\)"):
        extract(network, images)
    with pytest.raises(CacheError, match=r"Dropping is in training mode.*dropout on chance"):
        extract(by_hand(Dropping()), images)
    module = Dropping().train()
    traced = trace(module)
    with pytest.raises(CacheError, match="The trace is in training mode"):
        Extractor(by_hand(module.eval()), traced=traced)
    assert len(values(by_hand(module), images)) == len(images)


@pytest.mark.parametrize("views", [(), ("mirror",), (lambda image: image,), (View(), None)])
def test_random_augmentation_is_refused(
    network: Network, images: list[Image], views: tuple[Any, ...]
) -> None:
    with pytest.raises(CacheError, match=r"random augmentation.*enumerated views"):
        extract(network, images, views=views)


def test_a_network_that_cannot_run_says_so(images: list[Image]) -> None:
    with pytest.raises(ModelError, match=r"no place to cut called 'nothing'"):
        extract(small(), images, cut="nothing")
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(5, 2)).eval()
    with pytest.raises(ModelError, match=r"by hand can't run to .* on 8 × 8 pixels in float32"):
        Extractor(by_hand(nn.Sequential(module[0], nn.Conv2d(4, 4, 9), *module[1:]).eval()))


def state_of(network: Network) -> list[Any]:
    """Everything about a network that extraction must leave as it was."""
    module = network.module
    hooks = [
        len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks)
        for part in module.modules()
    ]
    return [
        {name: tensor.clone() for name, tensor in module.state_dict().items()},
        [(p.requires_grad, p.grad is None, p.dtype, p.stride()) for p in module.parameters()],
        [part.training for part in module.modules()],
        hooks,
        [type(part) for part in module.modules()],
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        threading.active_count(),
    ]


@contextlib.contextmanager
def nothing_left_behind(network: Network) -> Iterator[None]:
    before = state_of(network)
    try:
        yield
    finally:
        after = state_of(network)
        assert all(torch.equal(after[0][name], tensor) for name, tensor in before[0].items())
        assert after[1:] == before[1:]


@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_nothing_is_left_behind(network: Network, images: list[Image], precision: str) -> None:
    network.module.get_parameter("fc.weight").requires_grad_(False)
    with nothing_left_behind(network):
        extract(network, images, precision=precision, views=enumerate_views(2), workers=2)


class Defect(Exception):
    pass


@pytest.mark.parametrize("after", [0, 9, 20])
def test_a_defect_ends_the_extraction_and_keeps_what_was_done(
    network: Network, images: list[Image], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    original, calls = pool.load_input, itertools.count()

    def fail(*given: Any) -> Any:
        if next(calls) >= after:
            raise Defect
        return original(*given)

    with monkeypatch.context() as patched, nothing_left_behind(network):
        patched.setattr(pool, "load_input", fail)
        with pytest.raises(Defect):
            extract(network, images, precision="float32", workers=2)
    seen: list[int] = []
    monkeypatch.setattr(pool, "load_input", lambda *given: seen.append(1) or original(*given))
    resumed = values(network, images)
    stored = after // 8 * 8 if after % 8 == 0 else 0
    assert len(seen) <= len(images) - stored
    np.testing.assert_array_equal(values(network, images[::-1]), resumed[::-1])


def test_ctrl_c_leaves_a_cache_that_goes_on(
    network: Network,
    images: list[Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    computed: list[str],
) -> None:
    append, calls = Store.append, itertools.count(1)

    def interrupt(self: Store, *given: Any) -> None:
        append(self, *given)
        if next(calls) == 2:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            threading.Event().wait(0.2)  # while the main thread asks to stop

    cache = FeatureCache(tmp_path)
    with monkeypatch.context() as patched, nothing_left_behind(network):
        patched.setattr(Store, "append", interrupt)
        with pytest.raises(KeyboardInterrupt):
            extract(network, images, precision="float32", workers=1, cache=cache)
    assert len(computed) == 16
    resumed = values(network, images, cache=FeatureCache(tmp_path))
    assert len(computed) == len(images)
    np.testing.assert_array_equal(resumed, values(network, images))


def test_a_cache_that_cannot_be_written_is_said(
    network: Network, images: list[Image], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="BOWERBIRD_CACHE"):
        extract(network, images, precision="float32", cache=FeatureCache(tmp_path / "file"))

    def full(self: Store) -> Any:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Store, "_new_segment", full)
    with (
        nothing_left_behind(network),
        pytest.raises(CacheError, match=r"can't be written: No space left.*bowerbird cache"),
    ):
        extract(network, images, precision="float32")


def test_room_is_made_before_work_starts(
    network: Network, images: list[Image], tmp_path: Path
) -> None:
    values(network, images, cache=FeatureCache(tmp_path))
    one = FeatureCache(tmp_path).contents()[0]
    cache = FeatureCache(tmp_path, limit=one.size + 1000)
    values(network, images, cache=cache, views=[MIRROR])
    assert [info.view for info in cache.contents()] == ["mirror"]


def test_progress_counts_each_image_of_each_view(
    network: Network, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[int] = []
    totals: list[int] = []

    class Bar:
        def advance(self, steps: int = 1) -> None:
            moved.append(steps)

        def note(self, text: str) -> None: ...

    @contextlib.contextmanager
    def watch(description: str, total: int) -> Iterator[Bar]:
        totals.append(total)
        yield Bar()

    monkeypatch.setattr(progress, "task", watch)
    extract(network, images, views=enumerate_views(2), precision="float32")
    assert totals == [42]
    assert sum(moved) == 42


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from bowerbird import storage
from bowerbird.features import FeatureCache, Image, extract
from bowerbird.features.cache import Store
from bowerbird.models.networks import create_model

left = [{after}]
write = Store._write

def dying(self, names, data):
    if left[0] == 0:
        write(self, names[:0], data[: {torn}])
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    write(self, names, data)

Store._write = dying
network = create_model("test_resnet", num_classes=3, weights="none", image_size=64, seed=1)
files = sorted(p for p in Path({images!r}).rglob("*") if p.is_file())
images = [Image(p, storage.hash_file(p)) for p in files]
extract(network, images, precision="float32", cache=FeatureCache(Path({cache!r})), workers=1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
@pytest.mark.parametrize(("after", "torn"), [(1, 1000)])
def test_an_extraction_that_was_killed_goes_on(
    folder: Path,
    images: list[Image],
    tmp_path: Path,
    computed: list[str],
    after: int,
    torn: int,
) -> None:
    code = KILLED.format(
        tests=str(Path(__file__).parents[1]),
        after=after,
        torn=torn,
        images=str(folder),
        cache=str(tmp_path),
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed = values(small(), images, cache=FeatureCache(tmp_path))
    assert len(computed) == len(images) - 8 * after - torn // 404
    np.testing.assert_array_equal(resumed, values(small(), images))


def test_two_extractions_at_once_agree(
    images: list[Image], tmp_path: Path, network: Network
) -> None:
    results: list[list[Features]] = []

    def work() -> None:
        cache = FeatureCache(tmp_path)
        results.append(extract(network, images, precision="float32", cache=cache, workers=1)[0])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = values(network, images)
    for found in results:
        np.testing.assert_array_equal(found[0].numpy(), expected)
    np.testing.assert_array_equal(values(network, images, cache=FeatureCache(tmp_path)), expected)


def test_keys_are_the_same_in_another_process() -> None:
    code = (
        "from bowerbird.models.networks import create_model\n"
        "from bowerbird.features.extraction import Extractor\n"
        "from bowerbird.data.images import View\n"
        "for name in ('test_resnet', 'test_vit', 'test_efficientnet'):\n"
        "    n = create_model(name, num_classes=3, weights='none', image_size=64, seed=1)\n"
        "    print(Extractor(n, precision='float32').key(View()).digest())\n"
    )
    theirs = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    ).stdout.split()
    ours = [
        Extractor(
            create_model(name, num_classes=3, weights="none", image_size=64, seed=1),
            precision="float32",
        )
        .key(View())
        .digest()
        for name in ("test_resnet", "test_vit", "test_efficientnet")
    ]
    assert ours == theirs
    assert len(set(ours)) == 3


def test_masks_of_five_axes_are_no_obstacle() -> None:
    """The traced prefix of a Swin holds its attention masks as buffers of five axes."""
    network = create_model(
        "swin_tiny_patch4_window7_224", num_classes=3, weights="none", image_size=112, window_size=7
    )
    extractor = Extractor(network, precision="float32")
    assert any(buffer.dim() == 5 for buffer in extractor.prefix.buffers())
    pixels = np.zeros((1, 112, 112, 3), np.uint8)
    assert extractor(pixels).shape == (1, 768)
