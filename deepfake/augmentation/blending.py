"""Self-blended images: a real face, blended with a slightly changed copy of itself, as a fake to learn from.

Shiohara & Yamasaki 2022, "Detecting Deepfakes with Self-Blended Images" (arXiv:2204.08376). Such a fake shows what
most face swaps share whatever made them: two parts that do not quite agree in colour, sharpness and place, and the
seam between them. The paper's mask is the hull of the face's landmarks. Here the picture is taken to show a face in its
middle, and the mask is the hull of points on a deformed ellipse there: a whole face, or the part around eyes or mouth.
"""

import cv2
import numpy as np

from deepfake.augmentation import photometric

RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)  # of the blend: the paper's
ELASTIC_ALPHA, ELASTIC_SIGMA = 50.0, 7.0  # of the mask's elastic deformation, in pixels of a picture of 256
MASK_SIDE = 256

# The regions that are swapped: how often, and the ranges of centre x, centre y, half width and half height, in sides.
_REGIONS = (
    (0.65, (0.45, 0.55), (0.46, 0.58), (0.24, 0.40), (0.30, 0.46)),  # the face
    (0.15, (0.45, 0.55), (0.58, 0.75), (0.20, 0.36), (0.14, 0.26)),  # mouth and chin
    (0.15, (0.45, 0.55), (0.30, 0.45), (0.25, 0.40), (0.10, 0.20)),  # eyes
    (0.05, (0.40, 0.60), (0.40, 0.65), (0.10, 0.20), (0.12, 0.25)),  # nose
)


def self_blend(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Make a fake of a real image.

    What is pasted is softer than what surrounds it, if it differs at all: face swaps are made at a resolution below
    that of the picture. The paper lets either be the softer one.

    Args:
        image: A face in the middle of the picture, RGB, uint8 (H, W, 3), square.
        rng: Source of randomness.

    Returns:
        The real image, and the fake, each uint8 (H, W, 3). Half of the time it is the real image, and with it the
        surroundings of the fake, that is changed in colour and sharpness, so that these tell nothing alone.
    """
    if rng.random() < 0.5:
        source, target = _soft(_coloured(image, rng), rng), image
    else:
        source, target = image, _sharp(_coloured(image, rng), rng)
    side = len(image)
    moved = _move(side, rng)
    source = cv2.warpAffine(source, moved, (side, side), borderMode=cv2.BORDER_REFLECT_101)
    alpha = cv2.warpAffine(mask(side, rng), moved, (side, side)) * rng.choice(RATIOS)
    fake = target + alpha[..., None] * (source.astype(np.float32) - target)
    return target, (fake + 0.5).astype(np.uint8)


def mask(side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw where a face is replaced: the hull of points on a deformed ellipse, elastically warped, with a soft edge.

    Args:
        side: Of the picture, in pixels.
        rng: Source of randomness.

    Returns:
        float32 (side, side), 0 outside to 1 inside.
    """
    region = _REGIONS[rng.choice(len(_REGIONS), p=[region[0] for region in _REGIONS])]
    x, y, half_width, half_height = (MASK_SIDE * rng.uniform(*ends) for ends in region[1:])
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radii = 1 + sum(rng.normal(0, 0.09 / k) * np.cos(k * angles + rng.uniform(0, 2 * np.pi)) for k in (1, 2, 3, 4))
    points = np.stack([x + half_width * radii * np.cos(angles), y + half_height * radii * np.sin(angles)], axis=1)
    points = np.clip(points, 0.08 * MASK_SIDE, 0.92 * MASK_SIDE)  # what surrounds the face stays
    inside = np.zeros((MASK_SIDE, MASK_SIDE), np.float32)
    cv2.fillConvexPoly(inside, cv2.convexHull(points.astype(np.float32)).round().astype(np.int32), 1.0)
    inside = _soften(_soften(_elastic(inside, rng), rng.uniform(1, 10)), rng.uniform(0.5, 8))
    return cv2.resize(inside / max(inside.max(), 1e-3), (side, side), interpolation=cv2.INTER_AREA)


def _move(side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the paper's small affine map: 3 % of the side in x, 1.5 % in y, a scale of 0.95 to 1.05 about the middle."""
    scale, centre = rng.uniform(0.95, 1.05), (side - 1) / 2
    across, down = side * rng.uniform(-0.03, 0.03), side * rng.uniform(-0.015, 0.015)
    return np.array([[scale, 0, centre * (1 - scale) + across], [0, scale, centre * (1 - scale) + down]])


def _elastic(inside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move each place by a smooth random field (Simard, Steinkraus & Platt 2003)."""
    side = len(inside)
    field = cv2.GaussianBlur(rng.uniform(-1, 1, (side, side, 2)).astype(np.float32), (0, 0), ELASTIC_SIGMA)
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).astype(np.float32)
    return cv2.remap(  # type: ignore[call-overload]  # the second map may be None
        inside, places + ELASTIC_ALPHA * field, None, cv2.INTER_LINEAR
    )


def _soften(inside: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(inside, (0, 0), sigma)


def _coloured(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change tint, brightness, contrast and saturation a little."""
    tint = rng.uniform(-20, 20, 3) if rng.random() < 0.3 else np.zeros(3)
    contrast, brightness = rng.uniform(-0.1, 0.1, 2)
    saturation = rng.uniform(-0.2, 0.2)
    linear = (1 + contrast) * ((1 + saturation) * np.eye(3) - saturation * photometric.GREY)
    return photometric.recolour(image, np.column_stack([linear, tint + 255 * brightness]))


def _soft(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shrink to between all and a third of the side, and enlarge again."""
    side = len(image)
    small = max(8, round(side / rng.uniform(1, 3)))
    return cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), (side, side))


def _sharp(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add some of what a blur takes away."""
    amount = rng.uniform(0, 0.8)
    return cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), 1.0), -amount, 0)
