"""What a file gives away besides the face, in numbers that are compared with other ways to get them."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from deepfake.data.images import read
from deepfake.data.traits import CONTAINER, NAMES, describe, measure

CLOUDS = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (96, 128, 3)), None, 3)
PHOTO = np.clip(128 + 400 * CLOUDS, 1, 254).round().astype(np.uint8)
MODES = {  # what each format can hold
    "JPEG": ["1", "L", "RGB", "CMYK"],
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "WEBP": ["L", "LA", "P", "RGB", "RGBA"],
    "BMP": ["1", "L", "P", "RGB", "RGBA"],
    "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"],
    "GIF": ["1", "L", "P", "RGB", "RGBA"],
}
EXIF = Image.Exif()
EXIF[0x010F] = "Maker"
PARAMETERS = PngImagePlugin.PngInfo()
PARAMETERS.add_text("parameters", "a portrait, steps: 20")


def encode(pixels: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


def traits_of(content: bytes) -> dict[str, float]:
    return dict(zip(NAMES, measure(content, read(content)).tolist(), strict=True))


def in_words(content: bytes, name: str) -> str:
    return describe(name, traits_of(content)[name])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_format_and_size(kind: str) -> None:
    content = encode(PHOTO, kind)
    found = traits_of(content)
    assert in_words(content, "file format") == kind
    assert (found["width"], found["height"], found["bytes"]) == (128, 96, len(content))
    assert found["aspect ratio"] == pytest.approx(4 / 3)
    assert found["bytes per pixel"] == pytest.approx(len(content) / (128 * 96))


@pytest.mark.parametrize("quality", [20, 50, 75, 85, 90, 95, 98, 100])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality: int) -> None:
    assert in_words(encode(PHOTO, "JPEG", quality=quality), "JPEG quality") == f"quality {quality}"


@pytest.mark.parametrize(
    ("options", "name", "words"),
    [
        ({}, "progressive", "not progressive"),
        ({"progressive": True}, "progressive", "progressive"),
        ({"subsampling": 0}, "chroma subsampling", "4:4:4"),
        ({"subsampling": 2}, "chroma subsampling", "4:2:0"),
        ({}, "metadata", "none"),
        ({"exif": EXIF}, "metadata", "EXIF"),
        ({"exif": EXIF, "icc_profile": b"x" * 200}, "metadata", "EXIF and a colour profile"),
        ({"comment": b"made with care"}, "metadata", "text or other data"),
    ],
)
def test_how_a_jpeg_was_saved(options: dict, name: str, words: str) -> None:
    assert in_words(encode(PHOTO, "JPEG", **options), name) == words


def test_what_a_generator_writes_into_a_png_is_metadata() -> None:
    assert in_words(encode(PHOTO, "PNG", pnginfo=PARAMETERS), "metadata") == "text or other data"
    assert in_words(encode(PHOTO, "PNG"), "metadata") == "none"


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA"])
def test_the_colour_mode_is_the_files_own(mode: str) -> None:
    assert in_words(encode(Image.fromarray(PHOTO).convert(mode), "PNG"), "colour mode") == mode


def test_a_picture_without_jpeg_tables_has_no_quality() -> None:
    content = encode(PHOTO, "PNG")
    assert in_words(content, "JPEG quality") == "no JPEG"
    assert in_words(content, "chroma subsampling") == "none or another"


def test_width_and_height_are_those_of_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    found = traits_of(encode(PHOTO, "JPEG", exif=exif))
    assert (found["width"], found["height"]) == (96, 128)


def test_levels_are_those_of_the_picture() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (128, 128, 3), np.uint8)
    found, inside = traits_of(encode(pixels, "PNG")), pixels[8:-8, 8:-8].astype(float)
    assert [found[name] for name in ("red", "green", "blue")] == pytest.approx(inside.mean(axis=(0, 1)), abs=1e-3)
    assert found["saturation"] == pytest.approx(np.ptp(inside, axis=2).mean(), abs=1)
    assert found["darkest level"] == pytest.approx(np.quantile(inside, 0.005), abs=1)
    assert found["lightest level"] == pytest.approx(np.quantile(inside, 0.995), abs=1)
    assert found["share of black"] == pytest.approx(1 / 256, abs=1e-3)
    assert found["contrast"] == pytest.approx(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[8:-8, 8:-8].std(), abs=1e-3)


def test_a_picture_brighter_by_three_levels_holds_no_black() -> None:
    dark = cv2.subtract(PHOTO, (100, 100, 100, 0))
    before, after = traits_of(encode(dark, "PNG")), traits_of(encode(dark + 3, "PNG"))
    assert before["share of black"] > 0.1
    assert after["share of black"] == 0
    assert after["darkest level"] == before["darkest level"] + 3


def test_noise_is_measured_in_grey_levels() -> None:
    noise = np.random.default_rng(2).normal(128, 5, (200, 200)).round()
    assert traits_of(encode(noise.astype(np.uint8), "PNG"))["noise"] == pytest.approx(5, rel=0.05)


def test_a_blurred_picture_is_less_sharp() -> None:
    sharp, blurred = traits_of(encode(PHOTO, "PNG")), traits_of(encode(cv2.GaussianBlur(PHOTO, None, 2), "PNG"))
    assert blurred["sharpness"] < sharp["sharpness"] - 0.5


def test_a_png_that_was_a_jpeg_before_shows_its_grid() -> None:
    assert traits_of(encode(PHOTO, "PNG"))["block grid"] == pytest.approx(1, abs=0.05)
    assert traits_of(encode(read(encode(PHOTO, "JPEG", quality=30)), "PNG"))["block grid"] > 1.3


def test_a_frame_is_seen_at_the_border_and_nowhere_else() -> None:
    framed = cv2.copyMakeBorder(PHOTO[3:-3, 3:-3], 3, 3, 3, 3, cv2.BORDER_CONSTANT)
    plain, found = traits_of(encode(PHOTO, "PNG")), traits_of(encode(framed, "PNG"))
    assert (found["border spread"], found["flattest side"]) == (0, 0)
    assert plain["flattest side"] > 5
    assert found["border level"] == pytest.approx(-cv2.cvtColor(framed, cv2.COLOR_RGB2GRAY).mean(), abs=0.01)
    for name in ("red", "darkest level", "share of black", "contrast", "sharpness", "noise", "block grid"):
        assert found[name] == plain[name], name


def test_bars_at_two_sides_are_flat() -> None:
    letterbox = PHOTO.copy()
    letterbox[:6] = letterbox[-6:] = 0
    assert traits_of(encode(letterbox, "PNG"))["flattest side"] == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (7, 9), (33, 16), (600, 500)])
@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes])
def test_any_picture_can_be_measured(shape: tuple[int, int], kind: str, mode: str) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (*shape, 3), np.uint8)
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    content = encode(deep if mode == "I;16" else Image.fromarray(pixels).convert(mode), kind)
    found = measure(content, read(content))
    assert found.shape == (len(NAMES),)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert all(describe(name, value) for name, value in zip(CONTAINER, found, strict=False))


def test_a_header_that_cannot_be_read_is_unknown() -> None:
    found = dict(zip(NAMES, measure(b"", PHOTO), strict=True))
    assert describe("file format", found["file format"]) == "none or another"
    assert (found["width"], found["bytes"]) == (128, 0)
