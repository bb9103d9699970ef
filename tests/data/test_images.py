from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from bowerbird.config import Preprocess
from bowerbird.data import images
from bowerbird.data.images import View, decode, load_input, to_input
from bowerbird.errors import ConfigError, ImageError


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3))
    return Image.fromarray(noise.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)


def pixel(data: bytes, x: int = 0, y: int = 0) -> tuple[int, ...]:
    image = decode(data)
    assert image.mode == "RGB"
    return tuple(np.asarray(image)[y, x].tolist())


def reason(source: Path | bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode(source)
    return str(caught.value)


def corners(orientation: int) -> bytes:
    """A 16 x 8 JPEG whose upper left quarter is red and upper right green as stored."""
    image = Image.new("RGB", (16, 8), "black")
    image.paste("red", (0, 0, 8, 4))
    image.paste((0, 255, 0), (8, 0, 16, 4))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, "JPEG", exif=exif, quality=100, subsampling=0)


# where EXIF 2.32 says that row 0 and column 0 of the stored image are seen
SEEN = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    image = decode(corners(orientation))
    row_side, column_side = SEEN[orientation]
    assert image.size == ((16, 8) if row_side in ("top", "bottom") else (8, 16))
    near = {"top": 1, "left": 1, "bottom": image.height - 2, "right": image.width - 2}
    x, y = (near[column_side], near[row_side])
    if row_side in ("left", "right"):
        x, y = near[row_side], near[column_side]
    red = np.asarray(image)[y, x]
    assert red[0] > 200 and red[1] < 60
    assert image.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_draft_covers_exactly_the_picture_whatever_way_it_is_turned(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(smooth(515, 709), "JPEG", exif=exif, quality=95)
    preprocess = Preprocess(input_size=(64, 64), crop_pct=1.0, crop_mode="squash")
    drafted = load_input(data, preprocess).astype(int)
    full = to_input(decode(data), preprocess).astype(int)
    difference = np.abs(drafted - full)
    assert difference.mean() < 1.5  # 8 if the padding were taken for picture
    for edge in (difference[0], difference[-1], difference[:, 0], difference[:, -1]):
        assert edge.mean() < 5


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_orientation_counts_in_other_formats_and_only_once(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (16, 8), "black")
    image.paste("red", (0, 0, 8, 4))
    options = {"lossless": True} if kind == "WEBP" else {}
    turned = decode(encoded(image, kind, exif=exif, **options))
    assert turned.size == (8, 16)
    assert turned.getpixel((7, 0)) == (255, 0, 0)


def test_a_damaged_exif_block_counts_as_none() -> None:
    data = encoded(smooth(20, 10), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert decode(data).size == (20, 10)


@pytest.mark.parametrize(
    ("size", "wanted"), [((4000, 3000), 128), ((515, 709), 100), ((300, 200), 50)]
)
def test_a_jpeg_is_scaled_while_decoding_but_keeps_the_margin(
    size: tuple[int, int], wanted: int
) -> None:
    data = encoded(smooth(*size), "JPEG")
    drafted = decode(data, min_size=wanted)
    assert min(drafted.size) >= wanted * images.DRAFT_MARGIN
    assert drafted.width <= size[0] / 2 + 1
    assert decode(data).size == size


def test_drafted_input_is_close_to_full_decoding() -> None:
    preprocess = Preprocess(input_size=(96, 96))
    for size in ((1001, 803), (771, 1203), (640, 640)):
        data = encoded(smooth(*size), "JPEG", quality=90)
        assert decode(data, min_size=110).size != size
        full = to_input(decode(data), preprocess).astype(int)
        assert np.abs(load_input(data, preprocess) - full).mean() < 1.5


def test_16_bit_grey_is_scaled_by_its_depth_not_clipped() -> None:
    grey = np.array([[0, 256, 32896, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        image = np.asarray(decode(encoded(Image.fromarray(grey), kind)))
        assert image[0, :, 0].tolist() == [0, 1, 128, 255]
        assert (image[..., 0] == image[..., 2]).all()
    pgm = b"P5 4 1 65535\n" + grey.astype(">u2").tobytes()
    assert np.asarray(decode(pgm))[0, :, 1].tolist() == [0, 1, 128, 255]


def test_32_bit_integers_and_floats() -> None:
    def levels(values: list[float], kind: type) -> list[int]:
        data = encoded(Image.fromarray(np.array([values], kind)), "TIFF")
        return np.asarray(decode(data))[0, :, 0].tolist()

    assert levels([0, 32896, 65535], np.int32) == [0, 128, 255]
    assert levels([-100, 0, 100], np.int32) == [0, 128, 255]
    assert levels([0.0, 0.5, 1.0], np.float32) == [0, 128, 255]
    assert levels([0.0, 0.5, 0.25], np.float32) == [0, 128, 64]
    assert levels([0.0, 5.0, 10.0], np.float32) == [0, 128, 255]
    assert levels([float("nan"), float("inf"), 1.0], np.float32) == [0, 0, 255]
    assert levels([7.0, 7.0], np.float32) == [0, 0]


def test_cmyk_as_pillow_and_as_adobe_write_it() -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    red, green, blue = pixel(encoded(cyan, "JPEG", quality=100))
    assert red < 10 and green > 245 and blue > 245
    assert pixel(encoded(cyan, "TIFF")) == (0, 255, 255)


def test_grey_and_one_bit() -> None:
    assert pixel(encoded(Image.new("L", (4, 4), 77), "PNG")) == (77, 77, 77)
    assert pixel(encoded(Image.new("1", (4, 4), 1), "PNG")) == (255, 255, 255)
    assert pixel(b"P4 8 1\n\x80", x=0) == (0, 0, 0)


def test_transparency_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    assert pixel(encoded(clear, "PNG")) == (255, 255, 255)
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 51))
    assert pixel(encoded(half, "PNG")) == (204, 204, 204)
    assert pixel(encoded(Image.new("LA", (4, 4), (0, 51)), "PNG")) == (204, 204, 204)
    colour_key = encoded(Image.new("RGB", (4, 4), (9, 8, 7)), "PNG", transparency=(9, 8, 7))
    assert pixel(colour_key) == (255, 255, 255)


def test_one_channel_is_luma() -> None:
    colours = Image.new("RGB", (3, 1))
    for x, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255))):
        colours.putpixel((x, 0), colour)
    grey = decode(encoded(colours, "PNG"), channels=1)
    assert grey.mode == "L"
    assert np.asarray(grey).tolist() == [[76, 150, 29]]  # 0.299, 0.587, 0.114 of 255
    levels = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    assert np.array_equal(decode(encoded(levels, "PNG"), channels=1), levels)
    deep = Image.fromarray(np.array([[0, 256, 32896, 65535]], np.uint16))
    assert np.asarray(decode(encoded(deep, "PNG"), channels=1)).tolist() == [[0, 1, 128, 255]]
    clear = Image.new("RGBA", (1, 1), (0, 0, 0, 51))
    assert decode(encoded(clear, "PNG"), channels=1).getpixel((0, 0)) == 204  # over white


def test_four_channels_are_the_stored_colours_and_alpha() -> None:
    def values(image: Image.Image, kind: str = "PNG", **options: Any) -> tuple[int, ...]:
        found = decode(encoded(image, kind, **options), channels=4)
        assert found.mode == "RGBA"
        return tuple(np.asarray(found)[0, 0].tolist())

    assert values(Image.new("RGBA", (4, 4), (200, 10, 0, 51))) == (200, 10, 0, 51)
    assert values(Image.new("RGB", (4, 4), (9, 8, 7))) == (9, 8, 7, 255)
    assert values(Image.new("RGB", (4, 4), (9, 8, 7)), transparency=(9, 8, 7)) == (9, 8, 7, 0)
    assert values(Image.new("LA", (4, 4), (30, 51))) == (30, 30, 30, 51)
    assert values(Image.new("L", (4, 4), 77), "TIFF") == (77, 77, 77, 255)
    assert values(Image.fromarray(np.full((4, 4), 65535, np.uint16))) == (255, 255, 255, 255)
    assert values(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "TIFF") == (0, 255, 255, 255)


@pytest.mark.parametrize("orientation", [1, 5, 6])
@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_are_turned_and_drafted_alike(orientation: int, channels: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(smooth(515, 709), "JPEG", exif=exif, quality=95)
    bilinear = {"input_size": (64, 48), "interpolation": "bilinear"}  # nothing to be clipped
    colour, other = prepared(3, **bilinear), prepared(channels, **bilinear)
    found, expected = load_input(data, other), load_input(data, colour)
    assert found.shape == (64, 48, channels)
    if channels == 4:
        assert (found[..., 3] == 255).all()
        assert np.array_equal(found[..., :3], expected)
    else:
        luma = np.asarray(Image.fromarray(expected).convert("L")).astype(int)
        assert np.abs(found[..., 0] - luma).max() <= 1  # rounded before or after scaling


def prepared(channels: int, **more: Any) -> Preprocess:
    mean = (0.2, 0.4, 0.6, 0.8)[:channels]
    return Preprocess(**({"mean": mean, "std": (0.5,) * channels} | more))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("view", [View(), View(mirror=True), View(zoom=0.5), View(angle=45)])
def test_inputs_of_one_three_and_four_channels(channels: int, view: View) -> None:
    image = smooth(40, 30)
    found = to_input(image, prepared(channels, input_size=(12, 16)), view)
    assert (found.shape, found.dtype) == ((12, 16, channels), np.uint8)
    assert found.flags.c_contiguous and found.flags.writeable
    if view.zoom < 1 or view.angle:  # the corner is filled with the mean
        assert found[0, 0].tolist() == [51, 102, 153, 204][:channels]


def test_alpha_is_scaled_apart_from_the_colours() -> None:
    """What can't be seen still has the colour that the file holds."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (200, 100, 50, 0)
    pixels[:, 4:] = (200, 100, 50, 255)
    data = encoded(Image.fromarray(pixels), "PNG")
    found = load_input(data, prepared(4, input_size=(4, 4), crop_mode="squash", crop_pct=1.0))
    assert (found[..., :3] == (200, 100, 50)).all()
    assert found[0, 0, 3] < found[0, 3, 3]


@pytest.mark.parametrize("channels", [2, 5, 7])
def test_other_numbers_of_channels_are_refused_before_anything_is_read(
    tmp_path: Path, channels: int
) -> None:
    preprocess = Preprocess(mean=(0.5,) * channels, std=(0.5,) * channels)
    with pytest.raises(
        ConfigError, match=f"4 .with alpha., and the network's input has {channels}"
    ):
        load_input(tmp_path / "absent.png", preprocess)
    with pytest.raises(ConfigError):
        decode(tmp_path / "absent.png", channels=channels)
    with pytest.raises(ConfigError):
        to_input(smooth(8, 8), preprocess)


def test_palettes_with_and_without_transparency() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putpixel((0, 0), 2)
    assert pixel(encoded(image, "PNG"), 1, 1) == (40, 50, 60)
    assert pixel(encoded(image, "PNG", transparency=1), 1, 1) == (255, 255, 255)
    as_bytes = encoded(image, "PNG", transparency=bytes([255, 0, 255]))
    assert pixel(as_bytes, 1, 1) == (255, 255, 255)
    assert pixel(as_bytes, 0, 0) == (70, 80, 90)
    assert pixel(encoded(image, "GIF", transparency=1), 1, 1) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_of_several_frames(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert pixel(data, 4, 4) == (255, 0, 0)


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("JPEG", {"progressive": True})])
def test_truncated_jpegs_are_found_at_every_length(kind: str, options: dict[str, Any]) -> None:
    data = encoded(smooth(120, 90), kind, **options)
    for length in np.linspace(30, len(data) - 3, 40).astype(int):
        for min_size in (None, 1, 20):
            with pytest.raises(ImageError, match=r"truncated|not an image|damaged"):
                decode(data[:length], min_size=min_size)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000"])
def test_half_a_file_is_refused_in_every_format(kind: str) -> None:
    data = encoded(smooth(64, 64), kind)
    decode(data)
    assert reason(data[: len(data) // 2]).split(":")[0] in ("truncated", "damaged")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


def test_decompression_bombs_are_refused_before_decoding() -> None:
    assert reason(png_header(20000, 20000)) == "too large: 400000000 pixels, limit 128000000"
    assert reason(png_header(12000, 11000)) == (
        "too large: 12000 x 11000 pixels, limit 128000000 in all"
    )


def test_a_draft_does_not_lift_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(smooth(400, 300), "JPEG")
    monkeypatch.setattr(images, "PIXEL_LIMIT", 400 * 300)
    decode(data, min_size=1)
    monkeypatch.setattr(images, "PIXEL_LIMIT", 400 * 300 - 1)
    with pytest.raises(ImageError, match="too large: 400 x 300 pixels"):
        decode(data, min_size=1)


def test_a_file_too_large_to_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "film.jpg").write_bytes(bytes(1000))
    monkeypatch.setattr(images, "FILE_LIMIT", 999)
    assert reason(tmp_path / "film.jpg") == "too large: 1000 bytes, limit 999"


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    assert reason(tmp_path / "folder.jpg") == "a folder, not a file"
    assert reason(tmp_path / "absent.jpg") == "file not found"
    (tmp_path / "empty.jpg").touch()
    assert reason(tmp_path / "empty.jpg") == "empty file"
    assert reason(b"") == "empty file"
    assert reason(b"<html>404</html>") == "not an image"
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == "not an image"
    assert "can't be read" in reason(tmp_path / "a\0b.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason(tmp_path / "pipe.jpg") == "not a regular file"


def test_damaged_bytes_end_in_an_image_or_an_image_error() -> None:
    random = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM"):
        data = encoded(smooth(24, 16), kind)
        for _ in range(60):
            damaged = bytearray(data)
            for place in random.integers(0, min(len(data), 200), 4):
                damaged[place] = random.integers(0, 256)
            try:
                assert decode(bytes(damaged), min_size=8).mode == "RGB"
            except ImageError as error:
                assert "\n" not in str(error)


def odd_png() -> bytes:
    """A PNG that Pillow warns of: an animation of no frames."""
    data = encoded(Image.new("RGB", (4, 4), "red"), "PNG")
    return data[:33] + chunk(b"acTL", struct.pack(">II", 0, 0)) + data[33:]


def test_pillows_warnings_are_silent_here_and_only_here() -> None:
    data = odd_png()
    with pytest.warns(UserWarning, match="APNG"):
        Image.open(io.BytesIO(data)).load()
    before = list(warnings.filters)
    assert decode(data).getpixel((0, 0)) == (255, 0, 0)
    assert list(warnings.filters) == before


def test_threads_leave_the_filters_as_they_were() -> None:
    before, data, failures = list(warnings.filters), odd_png(), []

    def work() -> None:
        try:
            for _ in range(50):
                decode(data)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(warnings.filters) == before


def test_pillows_settings_stay() -> None:
    decode(encoded(smooth(20, 20), "JPEG"))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert Image.MAX_IMAGE_PIXELS == 1024 * 1024 * 1024 // 4 // 3


def test_a_path_and_its_bytes_decode_alike(tmp_path: Path) -> None:
    data = encoded(smooth(50, 40), "JPEG")
    (tmp_path / "ä ü\n.JPG").write_bytes(data)
    assert decode(tmp_path / "ä ü\n.JPG").tobytes() == decode(data).tobytes()


def test_importing_it_does_not_import_torch() -> None:
    code = (
        "import sys, bowerbird.data.images, bowerbird.data.sources, bowerbird.data.manifest;"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
