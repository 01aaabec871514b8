"""The embedded data set: faces drawn by this module, and fakes of them made the way a face swap makes them.

A real image is a drawn scene taken with a drawn camera. Its fake is the same scene with another person's face put in as
deepfake pipelines do: rendered at low resolution, warped, colour-matched and blended through a soft mask. What differs
is therefore whether face and surroundings agree; brightness, contrast, sharpness, noise, size and compression of the
whole picture have the same distribution in both classes.
"""

import csv
import tempfile
from copy import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from tqdm import tqdm

from deepfake.errors import DataError

SIDE = 96  # pixels

Array = np.ndarray

# Linear RGB, 0 to 1, of shape (colours, 3, 1, 1): pictures here are planes, (3, SIDE, SIDE).
SKIN = np.array([[0.72, 0.48, 0.37], [0.62, 0.38, 0.27], [0.46, 0.26, 0.16], [0.27, 0.14, 0.085], [0.14, 0.07, 0.045]])
HAIR = np.array([[0.02, 0.015, 0.012], [0.07, 0.035, 0.02], [0.16, 0.08, 0.04], [0.45, 0.30, 0.14], [0.35, 0.34, 0.33]])
IRIS = np.array([[0.06, 0.03, 0.015], [0.15, 0.09, 0.03], [0.10, 0.18, 0.10], [0.12, 0.22, 0.35]])
EYE_WHITE = np.array([0.72, 0.68, 0.66], "f4").reshape(3, 1, 1)
TEETH = np.array([0.70, 0.66, 0.60], "f4").reshape(3, 1, 1)


# ------------------------------------------------------------------------------------------------------ the people


@dataclass(frozen=True)
class Person:
    """One identity. Colours are linear RGB, 0 to 1; lengths are in half heads, from the middle of the face."""

    skin: Array
    hair: Array
    iris: Array
    lips: Array
    width: float
    jaw: float
    eye_x: float
    eye_y: float
    eye_width: float
    eye_height: float
    brow_y: float
    brow_tilt: float
    brow_thickness: float
    nose_length: float
    nose_width: float
    mouth_y: float
    mouth_width: float
    lip_height: float
    smile: float
    hairline: float
    hair_length: float
    beard: float
    freckles: float


def draw_person(rng: Generator) -> Person:
    skin = _between(rng, SKIN)
    return Person(
        skin=skin,
        hair=_between(rng, HAIR),
        iris=_between(rng, IRIS),
        lips=skin * _triple(rng, (0.75, 1.05), (0.4, 0.7), (0.45, 0.75)),
        width=rng.uniform(0.68, 0.80),
        jaw=rng.uniform(0.10, 0.32),
        eye_x=rng.uniform(0.29, 0.35),
        eye_y=rng.uniform(-0.16, -0.06),
        eye_width=rng.uniform(0.13, 0.17),
        eye_height=rng.uniform(0.05, 0.085),
        brow_y=rng.uniform(0.15, 0.21),
        brow_tilt=rng.uniform(-0.15, 0.3),
        brow_thickness=rng.uniform(0.022, 0.05),
        nose_length=rng.uniform(0.34, 0.46),
        nose_width=rng.uniform(0.10, 0.16),
        mouth_y=rng.uniform(0.52, 0.60),
        mouth_width=rng.uniform(0.20, 0.31),
        lip_height=rng.uniform(0.04, 0.085),
        smile=rng.uniform(-0.02, 0.10),
        hairline=rng.uniform(-0.74, -0.5),
        hair_length=float(rng.choice([-0.3, 0.2, 0.2, 0.9, 1.4])) + rng.uniform(-0.1, 0.1),
        beard=max(0.0, rng.uniform(-1.2, 0.6)),
        freckles=rng.uniform(0.02, 0.07),
    )


@dataclass(frozen=True)
class Pose:
    """Where a head stands: centre and half height in shares of the side, roll in radians, turn in half heads."""

    x: float
    y: float
    scale: float
    roll: float
    yaw: float
    pitch: float


def draw_pose(rng: Generator) -> Pose:
    return Pose(
        x=rng.uniform(0.46, 0.54),
        y=rng.uniform(0.44, 0.50),
        scale=rng.uniform(0.34, 0.41),
        roll=rng.normal(0, 0.06),
        yaw=rng.uniform(-0.14, 0.14),
        pitch=rng.uniform(-0.05, 0.05),
    )


@dataclass(frozen=True)
class Light:
    """A lamp in direction `x, y, z` (right, down, to the viewer; unit length) and the light of the room."""

    x: float
    y: float
    z: float
    key: Array
    ambient: Array


def draw_light(rng: Generator) -> Light:
    x, y, z = rng.uniform(-0.9, 0.9), rng.uniform(-0.8, 0.1), rng.uniform(0.5, 1.0)
    norm = (x * x + y * y + z * z) ** 0.5
    warmth = rng.normal(0, 0.06)
    tint = np.array([1 + warmth, 1, 1 - warmth], "f4").reshape(3, 1, 1)
    return Light(x / norm, y / norm, z / norm, tint * rng.uniform(0.55, 0.95), (2 - tint) * rng.uniform(0.2, 0.45))


# ----------------------------------------------------------------------------------------------------- the drawing


class Drawing:
    """A linear RGB picture and the coordinates of one head in it.

    `u, v` are right and down in half heads from the middle of the face; `fu, fv` are the same for what sits on the
    face's curved front, which moves with the turn of the head.
    """

    def __init__(self, pose: Pose, image: Array) -> None:
        x = ((np.arange(SIDE, dtype="f4") / SIDE) - pose.x) * (1 / pose.scale)
        y = ((np.arange(SIDE, dtype="f4")[:, None] / SIDE) - pose.y) * (1 / pose.scale)
        cos, sin = float(np.cos(pose.roll)), float(np.sin(pose.roll))
        self.image = image
        self.u, self.v = x * cos + y * sin, y * cos - x * sin
        front = np.maximum(1 - self.u**2 - self.v**2, 0)
        self.fu, self.fv = self.u - pose.yaw * front, self.v - pose.pitch * front
        self.pixel = 1 / (SIDE * pose.scale)

    def around(self, x: float, y: float, radius: float) -> "Drawing":
        """Return the square part of this drawing around a point of the face; painting there paints here."""
        row, column = divmod(int(np.argmin((self.fu - x) ** 2 + (self.fv - y) ** 2)), SIDE)
        reach = int(radius / self.pixel) + 2
        window = np.s_[..., max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        part = copy(self)
        for name in ("image", "u", "v", "fu", "fv"):
            setattr(part, name, getattr(self, name)[window])
        return part

    def soft(self, inside: Array, edge: float = 1.5) -> Array:
        """Turn a signed distance in half heads into a mask with an edge of `edge` pixels."""
        return np.clip(inside * (1 / (edge * self.pixel)) + 0.5, 0, 1)

    def ellipse(self, x: float, y: float, rx: float, ry: float, edge: float = 1.5, face: bool = True) -> Array:
        u, v = (self.fu, self.fv) if face else (self.u, self.v)
        inside = 1 - ((u - x) * (1 / rx)) ** 2 - ((v - y) * (1 / ry)) ** 2
        return self.soft(inside * (0.5 * min(rx, ry)), edge)

    def paint(self, mask: Array, colour: Array) -> None:
        self.image += (colour - self.image) * mask


def draw_background(rng: Generator) -> Array:
    """A wall or a view out of focus: a gradient of two colours, blurred shapes and a coarse texture."""
    base = rng.uniform(0.05, 0.6) * rng.normal(1, 0.18, 3).clip(0.4, 1.6)
    corners = base * rng.normal(1, 0.2, (2, 2, 3)).clip(0.3, 1.7)
    image = cv2.resize(corners.astype("f4"), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    for _ in range(rng.integers(0, 6)):
        colour = (base * rng.uniform(0.3, 1.7) * rng.normal(1, 0.15, 3)).clip(0.01, 1).tolist()
        x, y, size = (int(n) for n in rng.integers(0, SIDE, 3))
        if rng.random() < 0.5:
            cv2.circle(image, (x, y), size // 4 + 3, colour, -1)
        else:
            cv2.rectangle(image, (x, y), (x + size // 2, y + size), colour, -1)
    image = cv2.GaussianBlur(image, None, rng.uniform(1, 5)).transpose(2, 0, 1)
    return image * (1 + rng.uniform(0.02, 0.12) * texture(rng, 12, 40))


def texture(rng: Generator, *cells: int | tuple[int, int]) -> Array:
    """Smooth noise of about unit variance: random grids of so many cells, enlarged and added up."""
    total = np.zeros((SIDE, SIDE), "f4")
    for cell in cells:
        shape = (cell, cell) if isinstance(cell, int) else cell
        total += cv2.resize(rng.standard_normal(shape, "f4"), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return total * (1 / len(cells) ** 0.5)


def draw_portrait(rng: Generator, person: Person, pose: Pose, light: Light) -> Array:
    """Draw a person before a background; linear RGB float32 of shape (SIDE, SIDE, 3)."""
    drawing = Drawing(pose, draw_background(rng))
    strands = 1 + 0.3 * texture(rng, (5, 40), (9, 70))
    if person.hair_length > 0.5:
        draw_hair_behind(drawing, person, light, strands)
    draw_body(drawing, rng, person, light)
    draw_head(drawing, rng, person, light)
    if person.hair_length > 0:
        draw_hair(drawing, rng, person, light, strands)
    return drawing.image


def draw_body(drawing: Drawing, rng: Generator, person: Person, light: Light) -> None:
    u, v, width = drawing.u, drawing.v, person.width
    side = 0.75 + 0.5 * light.x * u
    neck = drawing.soft(np.minimum(0.55 * width + 0.25 * np.minimum(v - 1, 0) ** 2 - np.abs(u), v - 0.2))
    below_chin = np.clip((v - 0.75) * 1.6, 0.25, 1)  # the chin's shadow
    drawing.paint(neck, (person.skin * (light.ambient + light.key * 0.6)) * (side * below_chin))
    cloth = rng.uniform(0.03, 0.6) * _triple(rng, (0.5, 1.2), (0.5, 1.2), (0.5, 1.2)) * (light.ambient + light.key * 0.7)
    folds = 1 + 0.12 * texture(rng, 6, (30, 12))
    neckline = rng.uniform(1.25, 1.5)
    body = drawing.ellipse(0, 2.35, 1.75, 1.15, face=False) * (1 - drawing.ellipse(0, neckline - 0.35, 0.45, 0.4, face=False))
    drawing.paint(body, cloth * (side * folds))


def draw_head(drawing: Drawing, rng: Generator, person: Person, light: Light) -> None:
    """Skin, ears and features, all lit by `light`."""
    for side in (-1, 1):
        ear = drawing.ellipse(side * person.width * 1.0, 0.02, 0.10, 0.2, face=False)
        drawing.paint(ear, person.skin * (light.ambient + light.key * (0.45 + 0.3 * side * light.x)) * 0.8)
    squared = _head_squared(drawing, person)
    outline = drawing.soft((1 - squared) * (0.5 * person.width))
    drawing.paint(outline, albedo(drawing, rng, person))
    draw_features(drawing, person)
    relief, shine = shade(drawing, person, light, squared)
    drawing.paint(outline, drawing.image * (light.ambient + light.key * relief) + (0.25 * light.key) * shine)


def _head_squared(drawing: Drawing, person: Person) -> Array:
    """The squared radius of the head's outline, which is 1 on it; the jaw narrows towards the chin."""
    narrow = person.width * (1 - person.jaw * np.clip(drawing.v, 0, 1) ** 2)
    return (drawing.u / narrow) ** 2 + drawing.v**2


def albedo(drawing: Drawing, rng: Generator, person: Person) -> Array:
    """The skin's own colour: blotches, fine grain, red cheeks and nose, a beard's shadow."""
    u, v = drawing.fu, drawing.fv
    skin = person.skin * (1 + person.freckles * texture(rng, 10, 28, 64))
    red = _bump(u - 0.38, v - 0.28, 0.2) + _bump(u + 0.38, v - 0.28, 0.2) + _bump(u, v - 0.3, 0.13)
    skin[1:] *= 1 - 0.22 * red
    if person.beard > 0:
        chin = drawing.soft(v - 0.30 - 0.35 * (1 - np.minimum(np.abs(u) * 2.0, 1)) ** 2, edge=8)
        chin *= person.beard * np.clip(0.8 + 0.4 * texture(rng, 64), 0, 1)
        skin += (person.hair - skin) * chin
    return skin


def shade(drawing: Drawing, person: Person, light: Light, squared: Array) -> tuple[Array, Array]:
    """Light an ellipsoid with a brow, eye sockets, a nose, cheeks, lips and a chin; return diffuse and specular parts."""
    u, v = drawing.fu, drawing.fv
    tip = person.eye_y + person.nose_length
    length = np.clip((v - person.eye_y + 0.1) * (1 / (person.nose_length + 0.1)), 0, 1)
    ridge = length * np.clip((tip + 0.06 - v) * 12, 0, 1)
    height = 0.75 * np.sqrt(np.maximum(1 - squared, 0.02))
    height += 0.20 * ridge * np.exp(-((u / (0.06 + 0.06 * length)) ** 2))
    height += 0.05 * _bump(u, v - tip, person.nose_width)
    across = np.abs(u)
    height -= 0.07 * _bump(across - person.eye_x * 0.95, v - person.eye_y, 0.15)
    height += 0.05 * _bump(across - 0.4, v - 0.22, 0.2)
    height += 0.05 * _bump(u * 0.6, v - person.mouth_y, 0.11) + 0.06 * _bump(u, v - 0.88, 0.16)
    slope = 1 / (8 * drawing.pixel)  # Sobel's kernel sums to 8
    nx, ny = cv2.Sobel(height, -1, 1, 0, scale=-slope), cv2.Sobel(height, -1, 0, 1, scale=-slope)
    norm = 1 / np.sqrt(nx * nx + ny * ny + 1)
    towards = nx * light.x + ny * light.y
    relief = np.maximum((towards + light.z) * norm * 0.85 + 0.15, 0)  # wrapped: skin scatters light past the edge
    # Blinn-Phong: the half vector between lamp and viewer, to the 16th power
    shine = np.maximum((towards + light.z + 1) * norm * (1 / (2 + 2 * light.z) ** 0.5), 0)
    for _ in range(4):
        shine = shine * shine
    return relief, shine * 0.5


def draw_features(drawing: Drawing, person: Person) -> None:
    """Eyes, brows, nostrils and mouth, in unlit colours."""
    dark = person.skin * 0.35
    for side in (-1, 1):
        draw_eye(drawing.around(side * person.eye_x, person.eye_y - 0.08, 0.25), person, side, dark)
        draw_nostril(drawing.around(side * person.nose_width, person.eye_y + person.nose_length, 0.15), person, side, dark)
    draw_mouth(drawing.around(0, person.mouth_y, 0.35), person, dark)


def draw_eye(drawing: Drawing, person: Person, side: int, dark: Array) -> None:
    x, y, width, height = side * person.eye_x, person.eye_y, person.eye_width, person.eye_height
    u, v = drawing.fu - x, drawing.fv - y
    arch = height * (1 - (u * (1 / width)) ** 2)
    lid = v + arch  # distance below the upper lid's edge
    drawing.paint(0.5 * np.clip(1 - np.abs(lid + 0.05) * 25, 0, 1) * (arch > 0), dark)  # the fold above the lid
    opening = drawing.soft(np.minimum(lid, 0.8 * arch - v))
    drawing.paint(opening, EYE_WHITE * np.clip(0.45 + lid * 8, 0.4, 1))
    drawing.paint(drawing.ellipse(x, y - 0.2 * height, 0.075, 0.075) * opening, person.iris)
    drawing.paint(drawing.ellipse(x, y - 0.2 * height, 0.035, 0.035) * opening, person.iris * 0.1)
    drawing.paint(drawing.ellipse(x + 0.025, y - 0.2 * height - 0.03, 0.018, 0.018, 1) * opening, np.float32(1))
    drawing.paint(0.85 * np.clip(1.2 - np.abs(lid) * 35, 0, 1) * (arch > -0.01), dark * 0.3)  # lashes
    across = u * (side / (width * 1.35))
    bend = across * across
    brow = v + person.brow_y + 0.06 * (1 - bend) - 0.05 * person.brow_tilt * across - 0.03
    thick = person.brow_thickness * np.clip(1.1 - 0.5 * across - bend * bend, -1, 1)
    drawing.paint(0.8 * drawing.soft(thick - np.abs(brow), 2), person.hair * 0.8 + person.skin * 0.08)


def draw_nostril(drawing: Drawing, person: Person, side: int, dark: Array) -> None:
    nostril = drawing.ellipse(side * person.nose_width * 0.55, person.eye_y + person.nose_length + 0.045, 0.045, 0.028, 2)
    drawing.paint(0.8 * nostril, dark * 0.6)


def draw_mouth(drawing: Drawing, person: Person, dark: Array) -> None:
    u = drawing.fu * (1 / person.mouth_width)
    bow = np.maximum(1 - u * u, 0)
    mouth = bow > 0
    v = drawing.fv - person.mouth_y - person.smile * (0.5 - u * u)  # corners rise with a smile
    cupid = 1 - 0.35 * np.exp(-((u * 5) ** 2))
    drawing.paint(drawing.soft(np.minimum(v + person.lip_height * bow * cupid, -v), 2) * mouth, person.lips * 0.8)
    drawing.paint(drawing.soft(np.minimum(v, 1.25 * person.lip_height * bow - v), 2) * mouth, person.lips)
    gap = max(0.0, person.smile - 0.05)
    if gap > 0:
        drawing.paint(drawing.soft(gap * bow - np.abs(v)) * mouth, TEETH)
    drawing.paint(0.8 * np.clip(1 - np.abs(v + gap * bow) * 45, 0, 1) * mouth, dark * 0.4)


def draw_hair_behind(drawing: Drawing, person: Person, light: Light, strands: Array) -> None:
    mask = drawing.ellipse(0, person.hair_length * 0.5 - 0.35, person.width * 1.3, 0.9 + person.hair_length * 0.5, 3, False)
    drawing.paint(mask, person.hair * (light.ambient + light.key * 0.35) * strands)


def draw_hair(drawing: Drawing, rng: Generator, person: Person, light: Light, strands: Array) -> None:
    u, v, width = drawing.u, drawing.v, person.width
    ragged = 0.03 * texture(rng, (4, 30))
    crown = 1 - (u * (1 / (width * 1.12))) ** 2 - ((v + 0.08) * (1 / 1.1)) ** 2
    parting = rng.uniform(-0.3, 0.3)
    forehead = 1 - ((u - parting * 0.3) * (1 / (width * 0.93))) ** 2 - ((v - 0.45) * (1 / (0.45 - person.hairline))) ** 2
    inside = np.minimum(np.minimum(crown * 0.4, -0.5 * forehead), person.hair_length * 0.9 - v) + ragged
    glow = 0.35 + 0.5 * np.clip(u * light.x - v * 0.5 + 0.2, 0, 1)
    drawing.paint(drawing.soft(inside, 2.5), person.hair * (light.ambient + light.key * glow) * strands)


# ------------------------------------------------------------------------------------------------- camera and swap


def photograph(rng: Generator, scene: Array) -> Array:
    """Take a picture: exposure and white balance, lens blur, sensor noise, tone curve.

    Args:
        rng: Draws the camera.
        scene: Linear RGB planes.

    Returns:
        RGB float32 of shape (SIDE, SIDE, 3), 0 to 1 as displayed.
    """
    gains = 2 ** rng.normal(0, 0.25) * rng.normal(1, 0.04, (3, 1, 1))
    image = np.ascontiguousarray((scene * gains.astype("f4")).transpose(1, 2, 0))
    image = np.maximum(cv2.GaussianBlur(image, None, rng.uniform(0.3, 0.9)), 0)
    grain = 0.01 * 10 ** rng.uniform(0, 0.7)  # shot noise grows with the root of the light
    image += grain * np.sqrt(image + 0.02) * rng.standard_normal(image.shape, "f4")
    image = np.sqrt(np.clip(image, 0, 1))
    return image + rng.uniform(0, 0.6) * (image * image * (3 - 2 * image) - image)


def swap_face(rng: Generator, photo: Array, pose: Pose) -> Array:
    """Put another person's face into a photograph.

    Args:
        rng: Draws the other person and how well the swap is made.
        photo: As `photograph` returns it.
        pose: Where the head stands in it.

    Returns:
        An image like `photo`.
    """
    visible = rng.uniform(0, 1) ** 0.5  # 0 is a perfect swap
    drawing = Drawing(pose, np.zeros((3, SIDE, SIDE), "f4"))
    person = draw_person(rng)
    draw_head(drawing, rng, person, draw_light(rng))
    face = photograph(rng, drawing.image)
    face = warp(rng, generate(rng, face, visible), visible)
    soft = drawing.ellipse(0, 0.20, rng.uniform(0.50, 0.60), rng.uniform(0.60, 0.70), edge=1)
    face = match_colour(rng, face, photo, (soft > 0.5).astype("u1"), visible)
    mask = cv2.GaussianBlur(soft, None, rng.uniform(0.8, 1.5) + 4 * (1 - visible))[..., None]
    return photo + (face - photo) * mask


def generate(rng: Generator, face: Array, visible: float) -> Array:
    """Lose what a generator of low resolution loses."""
    size = int(SIDE * (1 - visible * rng.uniform(0.3, 0.75)))
    small = cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def warp(rng: Generator, face: Array, visible: float) -> Array:
    """Move the face as a swap does whose landmarks are a little off: affine, and slightly elastic."""
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), rng.normal(0, 2 * visible), rng.normal(1, 0.02 * visible))
    matrix[:, 2] += rng.normal(0, 1.0 * visible, 2)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype("f4")
    bend = cv2.resize(rng.normal(0, 0.8 * visible, (5, 5, 2)).astype("f4"), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    (a, b, c), (d, e, f) = matrix.astype("f4")
    return cv2.remap(face, a * x + b * y + c + bend[..., 0], d * x + e * y + f + bend[..., 1], cv2.INTER_CUBIC, None, cv2.BORDER_REFLECT)


def match_colour(rng: Generator, face: Array, photo: Array, region: Array, visible: float) -> Array:
    """Give the face the mean and spread of what it replaces (Reinhard et al. 2001), but for an error."""
    mean, std = cv2.meanStdDev(face, mask=region)
    wanted_mean, wanted_std = cv2.meanStdDev(photo, mask=region)
    error = visible * (rng.normal(0, 0.04) + rng.normal(0, 0.03, 3))
    scale = np.clip(wanted_std / (std + 1e-3), 0.6, 1.5)[:, 0]
    return (face - mean[:, 0].astype("f4")) * scale.astype("f4") + (wanted_mean[:, 0] + error).astype("f4")


def publish(rng: Generator, photo: Array) -> bytes:
    """What happens to any picture on its way: colours changed, shrunk and enlarged, blurred, saved as JPEG."""
    if rng.random() < 0.4:
        size = int(SIDE * rng.uniform(0.6, 0.95))
        photo = cv2.resize(cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.3:
        photo = cv2.GaussianBlur(photo, None, rng.uniform(0.3, 0.7))
    photo = photo * rng.normal(1, 0.04, 3).astype("f4")
    pixels = np.rint(np.clip(photo, 0, 1) * 255).astype("u1")
    quality = int(rng.integers(70, 98))
    return cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


# ---------------------------------------------------------------------------------------------------- the data set


def draw_pair(seed: int, number: int) -> tuple[bytes, bytes]:
    """Draw a real image and a fake of the same scene, taken with different cameras; return two JPEG files."""
    rng = np.random.default_rng((seed, number))
    pose = draw_pose(rng)
    scene = draw_portrait(rng, draw_person(rng), pose, draw_light(rng))
    real = publish(rng, photograph(rng, scene))
    return real, publish(rng, swap_face(rng, photograph(rng, scene), pose))


# --------------------------------------------------------------------------------------------------------- helpers


def _between(rng: Generator, colours: Array) -> Array:
    """A colour between two neighbours of a palette."""
    place = rng.uniform(0, len(colours) - 1)
    low = int(place)
    mixed = colours[low] + (colours[low + 1] - colours[low]) * (place - low)
    return mixed.astype("f4").reshape(3, 1, 1)


def _triple(rng: Generator, *ranges: tuple[float, float]) -> Array:
    return np.array([rng.uniform(*bounds) for bounds in ranges], "f4").reshape(3, 1, 1)


def _bump(x: Array, y: Array, radius: float) -> Array:
    return np.exp((x * x + y * y) * (-1 / radius**2))
