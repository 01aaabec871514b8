"""What an image file gives away besides the face: how it was saved, its levels, sharpness, noise and border.

The first traits are those of the file, `CONTAINER`: nothing about a face explains them. The others, `PICTURE`, are of
the picture as a whole, and a manipulated face may well change them a little.
"""

from io import BytesIO

import cv2
import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from deepfake.data.images import FORMATS

CONTAINER = (
    "file format",
    "width",
    "height",
    "aspect ratio",
    "JPEG quality",
    "chroma subsampling",
    "progressive",
    "metadata",
    "colour mode",
)
PICTURE = (
    "bytes",
    "bytes per pixel",
    "red",
    "green",
    "blue",
    "saturation",
    "darkest level",
    "lightest level",
    "share of black",
    "share of white",
    "contrast",
    "sharpness",
    "noise",
    "block grid",
    "border level",
    "border spread",
    "flattest side",
)
NAMES = CONTAINER + PICTURE
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I")
SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
METADATA = ("EXIF", "a colour profile", "text or other data")  # one bit each
BOUND = 256  # pixels: noise and grid are looked for in the middle of larger pictures
SCALE = 128  # pixels: sharpness and the histogram are measured on a square of this side
NOISE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)  # blind to slopes and edges
LUMA = 3688  # sum of the luma quantisation table that libjpeg scales, ITU-T T.81 annex K


def measure(content: bytes, pixels: np.ndarray) -> np.ndarray:
    """Measure the traits of one image file.

    Args:
        content: The file's bytes.
        pixels: What `images.read` makes of them, shape (H, W, 3), uint8 RGB.

    Returns:
        Shape (len(NAMES),), float32, in the order of `NAMES`, all finite. Levels, spreads and noise are in grey levels,
        0 to 255; shares are 0 to 1; codes, and what a format does not have, are -1 where unknown.
    """
    height, width = pixels.shape[:2]
    kind, *coding = _header(content)
    container = [kind, width, height, width / height, *coding]
    size = [len(content), len(content) / (width * height)]
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    down, across = _middle(height), _middle(width)
    inside = [*_levels(pixels[down, across]), *_texture(grey[down, across])]
    return np.array([*container, *size, *inside, *_border(grey)], np.float32)


def describe(name: str, value: float) -> str:
    """Say a value of one of `CONTAINER` in words.

    Args:
        name: The trait.
        value: As `measure` returned it.

    Returns:
        Such as `JPEG`, `256`, `quality 90`, `4:2:0` or `EXIF`.
    """
    code = int(value)
    if name == "metadata":
        return " and ".join(word for bit, word in enumerate(METADATA) if code >> bit & 1) or "none"
    if name == "progressive":
        return ("not progressive", "progressive")[code]
    words = {"file format": FORMATS, "chroma subsampling": SAMPLINGS, "colour mode": MODES}.get(name)
    if words is not None:
        return words[code] if code >= 0 else "none or another"
    if name == "JPEG quality":
        return f"quality {value:.0f}" if value >= 0 else "no JPEG"
    return f"{value:g}" if name != "aspect ratio" else f"{value:.3g}"


def _header(content: bytes) -> tuple[float, ...]:
    """Return the codes of format, JPEG quality, chroma subsampling, progressive, metadata and colour mode."""
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            jpeg = image if isinstance(image, JpegImageFile) else None  # also MPO, a JPEG with more pictures behind it
            return (
                FORMATS.index("JPEG" if jpeg else str(image.format)),
                _jpeg_quality(jpeg.quantization) if jpeg else -1,
                get_sampling(jpeg) if jpeg else -1,
                int(bool(image.info.get("progressive") or image.info.get("interlace"))),
                _metadata(image),
                MODES.index(image.mode) if image.mode in MODES else -1,
            )
    except Exception:  # the pixels could be read, so whatever is odd about the header is only not known
        return -1, -1, -1, 0, 0, -1


def _jpeg_quality(tables: dict[int, list[int]]) -> float:
    """Estimate the quality, 1 to 100, from how coarse the luma table is beside libjpeg's."""
    table = tables[min(tables)]
    if max(table) == 1:
        return 100
    scale = 100 * sum(table) / LUMA
    return (200 - scale) / 2 if scale < 100 else 5000 / scale


def _metadata(image: Image.Image) -> int:
    info = image.info
    segments = {name for name, _ in getattr(image, "applist", [])}  # of a JPEG
    other = "xmp" in info or "comment" in info or bool(segments - {"APP0", "APP1", "APP2", "APP14"})
    other |= image.format == "PNG" and any(isinstance(value, str) for value in info.values())
    return ("exif" in info) + 2 * ("icc_profile" in info) + 4 * other


def _middle(side: int) -> slice:
    """Cut off about a sixteenth at both ends, where a frame would stand, but not through the grid of a JPEG."""
    margin = (side // 16 + 4) // 8 * 8
    return slice(margin, side - margin)


def _levels(pixels: np.ndarray) -> list[float]:
    """Return the means of red, green and blue, saturation, both ends of the histogram, and how much lies there."""
    sample = cv2.resize(pixels, (SCALE, SCALE), interpolation=cv2.INTER_NEAREST)  # averaging would move the ends
    red, green, blue = cv2.split(sample)
    saturation = cv2.mean(cv2.max(cv2.max(red, green), blue))[0] - cv2.mean(cv2.min(cv2.min(red, green), blue))[0]
    counts = cv2.calcHist([sample.reshape(len(sample), -1)], [0], None, [256], [0, 256]).ravel()
    shares = np.cumsum(counts) / counts.sum()
    return [*cv2.mean(pixels)[:3], saturation, *np.searchsorted(shares, (0.005, 0.995)), shares[0], 1 - shares[254]]


def _texture(grey: np.ndarray) -> list[float]:
    """Return contrast, sharpness, noise (Immerkaer 1996), and how far an 8 x 8 grid, as of a JPEG, stands out."""
    small = cv2.resize(grey, (SCALE, SCALE), interpolation=cv2.INTER_AREA)
    sharpness = np.log1p(_spread(cv2.Laplacian(small, cv2.CV_16S)) ** 2)
    top, left = (max(side - BOUND, 0) // 16 * 8 for side in grey.shape)  # the middle, cut where the grid is
    part = grey[top : top + BOUND, left : left + BOUND]
    noise = cv2.norm(cv2.filter2D(part, cv2.CV_16S, NOISE), cv2.NORM_L1) / part.size * (np.pi / 2) ** 0.5 / 6
    return [_spread(grey), sharpness, noise, _block_grid(part)]


def _block_grid(grey: np.ndarray) -> float:
    """Compare the steps between columns 7 and 8, 15 and 16 ... with all steps: 1 without a grid, more with one."""
    if grey.shape[1] < 9:
        return 1.0
    steps = cv2.reduce(cv2.absdiff(grey[:, 1:], grey[:, :-1]), 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()
    return float((steps[7::8].mean() + 0.1) / (steps.mean() + 0.1))


def _border(grey: np.ndarray) -> list[float]:
    """Return how much brighter the outermost pixels are than all, their spread, and the spread of the flattest side."""
    sides = [np.ascontiguousarray(side) for side in (grey[:1], grey[-1:], grey[:, :1].T, grey[:, -1:].T)]
    outermost = np.concatenate(sides, axis=1)
    level = cv2.mean(outermost)[0] - cv2.mean(grey)[0]
    return [level, _spread(outermost), min(_spread(side) for side in sides)]


def _spread(values: np.ndarray) -> float:
    return cv2.meanStdDev(values)[1].item()
