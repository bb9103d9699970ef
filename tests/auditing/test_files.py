from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bowerbird.auditing.files import look, oddities
from bowerbird.data.checks import check

RANDOM = np.random.default_rng(0)


def photo(width: int = 60, height: int = 48) -> Image.Image:
    coarse = Image.fromarray(RANDOM.integers(0, 256, (12, 15, 3), np.uint8))
    fine = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), float)
    noisy = fine + RANDOM.normal(0, 20, fine.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


@pytest.fixture
def usual(tmp_path: Path) -> list[Path]:
    """Twenty photos that nothing is odd about."""
    paths = []
    for number in range(20):
        paths.append(tmp_path / f"{number:02d}.jpg")
        photo().save(paths[-1], quality=90)
    return paths


def odd_words(paths: list[Path]) -> dict[str, list[str]]:
    found, _ = oddities(look(paths), [p.name for p in paths], [0] * len(paths))
    return {paths[i].name: words for i, words in found.items()}


def test_usual_photos_are_not_odd(usual: list[Path]) -> None:
    found, notes = oddities(look(usual), [p.name for p in usual], [0] * 20)
    assert (found, notes) == ({}, [])


def test_each_oddity_is_told(usual: list[Path], tmp_path: Path) -> None:
    odd = {
        "lies.png": ("JPEG", photo(), "a JPEG file by its content, .png by its name"),
        "palette.gif": ("GIF", photo().quantize(64), "stored in mode P"),
        "cmyk.jpg": ("JPEG", photo().convert("CMYK"), "stored in mode CMYK"),
        "dark.png": ("PNG", photo().point(lambda v: v // 8), "dark"),
        "bright.png": ("PNG", photo().point(lambda v: 245 + v // 30), "bright"),
        "flat.png": ("PNG", Image.new("RGB", (60, 48), (90, 140, 90)), "hardly any information"),
        "grey.png": ("PNG", photo().convert("L").convert("RGB"), "grey among colour"),
        "tiny.png": ("PNG", photo(6, 5), "6 x 5 pixels, unlike the others"),
        "wide.png": ("PNG", photo(400, 48), "400 x 48 pixels, of another shape than the others"),
    }
    for name, (kind, image, _) in odd.items():
        image.save(tmp_path / name, kind)
    found = odd_words([*usual, *(tmp_path / name for name in odd)])
    assert set(found) == set(odd)
    for name, (_, _, words) in odd.items():
        assert words in found[name]


def test_depth_rotation_and_animation(usual: list[Path], tmp_path: Path) -> None:
    deep = Image.fromarray(RANDOM.integers(0, 65536, (48, 60), np.uint16))
    deep.save(tmp_path / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(48, 60).save(tmp_path / "turned.jpg", exif=exif)
    photo().save(tmp_path / "moving.gif", save_all=True, append_images=[photo()])
    found = odd_words([*usual, *(tmp_path / n for n in ("deep.png", "turned.jpg", "moving.gif"))])
    assert "16 bits per channel" in found["deep.png"]
    assert found["turned.jpg"] == ["turned by EXIF"]
    assert "several frames; the first is used" in found["moving.gif"]


def test_blur_is_told_against_the_class(usual: list[Path], tmp_path: Path) -> None:
    blurred = tmp_path / "blurred.png"
    photo().resize((6, 5)).resize((60, 48), Image.Resampling.BICUBIC).save(blurred)
    assert odd_words([*usual, blurred]) == {"blurred.png": ["blurred"]}


def test_what_most_have_is_a_note(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.gif" for number in range(8)]
    for path in paths:
        photo().quantize(64).save(path)
    found, notes = oddities(look(paths), [p.name for p in paths], [0] * 8)
    assert found == {}
    assert "8 of 8 images: stored in mode P." in notes


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0110] = 6, "Acme", "Eye 3"
    photo(60, 48).save(tmp_path / "a.jpg", exif=exif, quality=30)
    (found,) = look([tmp_path / "a.jpg"])
    assert found is not None
    assert (found.format, found.mode, found.size) == ("JPEG", "RGB", (48, 60))
    assert (found.camera, found.turned, found.frames) == ("Acme Eye 3", True, 1)
    assert found.aspect == pytest.approx(48 / 60)
    assert found.coarseness > 5
    assert found.bytes == (tmp_path / "a.jpg").stat().st_size


def test_measures_of_a_known_picture(tmp_path: Path) -> None:
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:, 32:] = 255
    Image.fromarray(halves).save(tmp_path / "a.png")
    (found,) = look([tmp_path / "a.png"])
    assert found is not None
    assert found.entropy == pytest.approx(1.0)
    assert found.mean == pytest.approx(0.5)
    assert (found.bright, found.dark) == (0, 1)
    assert found.border == pytest.approx((0.5, 0.5, 0.5), abs=0.02)
    assert found.colour == 0


def test_cut_off_files_in_six_formats_are_unreadable(tmp_path: Path) -> None:
    paths = []
    for ending in ("jpg", "png", "gif", "bmp", "tif", "webp"):
        for share in (0.5, 0.9):
            paths.append(tmp_path / f"{share}.{ending}")
            photo(160, 120).save(paths[-1])
            paths[-1].write_bytes(paths[-1].read_bytes()[: int(share * paths[-1].stat().st_size)])
    assert all(verdict.reason for verdict in check(paths))
    assert look(paths) == [None] * 12
