"""Drawn people: a head under a light before a background, as a scene of linear light. No camera yet, and no fakes.

Scenes are linear RGB planes, float32 of shape (3, SIDE, SIDE).
"""

from copy import copy

import cv2
import numpy as np
from numpy.random import Generator

SIDE = 96  # pixels, width and height of every image

Array = np.ndarray


def colours(*rgb: tuple[float, float, float] | Array) -> Array:
    return np.array(rgb, "f4").reshape(-1, 3, 1, 1)


# Linear RGB, 0 to 1, from light to dark.
SKIN = colours((0.72, 0.48, 0.37), (0.62, 0.38, 0.27), (0.46, 0.26, 0.16), (0.27, 0.14, 0.085), (0.14, 0.07, 0.045))
HAIR = colours((0.35, 0.34, 0.33), (0.45, 0.30, 0.14), (0.16, 0.08, 0.04), (0.07, 0.035, 0.02), (0.02, 0.015, 0.012))
IRIS = colours((0.12, 0.22, 0.35), (0.10, 0.18, 0.10), (0.15, 0.09, 0.03), (0.06, 0.03, 0.015))
EYE_WHITE, TEETH, GLINT = colours((0.72, 0.68, 0.66), (0.70, 0.66, 0.60), (1, 1, 1))


# ---------------------------------------------------------------------------------------------------- people and places


class Person:
    """One identity. Lengths are in half heads, heights are measured down from the middle of the face."""

    def __init__(self, rng: Generator) -> None:
        tone = rng.uniform(0, 1)
        self.skin = _between(SKIN, tone)
        self.hair = _between(HAIR, rng.uniform(tone**2, 1))
        self.iris = _between(IRIS, rng.uniform(tone, 1))
        self.lips = self.skin * colours(rng.uniform((0.75, 0.4, 0.45), (1.05, 0.7, 0.75)))[0]
        self.width, self.jaw = rng.uniform(0.68, 0.80), rng.uniform(0.10, 0.32)
        self.eye_x, self.eye_y = rng.uniform(0.29, 0.35), rng.uniform(-0.16, -0.06)
        self.eye_width, self.eye_height = rng.uniform(0.13, 0.17), rng.uniform(0.05, 0.085)
        self.brow_height, self.brow_tilt = rng.uniform(0.15, 0.21), rng.uniform(-0.15, 0.3)
        self.brow_thickness = rng.uniform(0.022, 0.05)
        self.nose_y, self.nose_width = self.eye_y + rng.uniform(0.34, 0.46), rng.uniform(0.10, 0.16)
        self.mouth_y, self.mouth_width = rng.uniform(0.52, 0.60), rng.uniform(0.20, 0.31)
        self.lip_height, self.smile = rng.uniform(0.04, 0.085), rng.uniform(-0.02, 0.10)
        self.hair_length = rng.uniform(-0.1, 0.1) + float(rng.choice([-0.3, 0.2, 0.2, 0.9, 1.4]))  # negative: none
        self.hairline, self.parting = rng.uniform(-0.74, -0.5), rng.uniform(-0.1, 0.1)
        self.beard = max(0.0, rng.uniform(-1.2, 0.6)) * (self.hair_length < 0.5)
        self.blotches = rng.uniform(0.02, 0.07)


class Pose:
    """Where a head stands: centre and half height in shares of the side, roll in radians, turn in half heads."""

    def __init__(self, rng: Generator) -> None:
        self.x, self.y, self.scale = rng.uniform(0.46, 0.54), rng.uniform(0.44, 0.50), rng.uniform(0.34, 0.41)
        self.roll, self.yaw, self.pitch = rng.normal(0, 0.06), rng.uniform(-0.14, 0.14), rng.uniform(-0.05, 0.05)


class Light:
    """A lamp of colour `key` in direction `x, y, z` (right, down, to the viewer; unit length), and the room's light."""

    def __init__(self, rng: Generator) -> None:
        x, y, z = rng.uniform((-0.9, -0.8, 0.5), (0.9, 0.1, 1.0)).tolist()
        length = (x * x + y * y + z * z) ** 0.5
        self.x, self.y, self.z = x / length, y / length, z / length
        warmth = rng.normal(0, 0.06)
        self.key = rng.uniform(0.55, 0.95) * colours((1 + warmth, 1, 1 - warmth))[0]
        self.ambient = rng.uniform(0.2, 0.45) * colours((1 - warmth, 1, 1 + warmth))[0]


class Drawing:
    """A scene, and the coordinates of one head in it.

    `u, v` are right and down in half heads from the middle of the face; `fu, fv` are the same for what sits on the
    face's curved front, which moves as the head turns; `pixel` is the size of a pixel in half heads.
    """

    def __init__(self, pose: Pose, scene: Array) -> None:
        x = (np.arange(SIDE, dtype="f4") / SIDE - pose.x) * (1 / pose.scale)
        y = (np.arange(SIDE, dtype="f4")[:, None] / SIDE - pose.y) * (1 / pose.scale)
        cos, sin = float(np.cos(pose.roll)), float(np.sin(pose.roll))
        self.scene, self.pixel = scene, 1 / (SIDE * pose.scale)
        self.u, self.v = x * cos + y * sin, y * cos - x * sin
        front = np.maximum(1 - self.u**2 - self.v**2, 0)
        self.fu, self.fv = self.u - pose.yaw * front, self.v - pose.pitch * front

    def around(self, x: float, y: float, radius: float) -> "Drawing":
        """Return the part of this drawing around a point of the face; what is painted there is painted here."""
        row, column = divmod(int(np.argmin((self.fu - x) ** 2 + (self.fv - y) ** 2)), SIDE)
        reach = int(radius / self.pixel) + 2
        window = np.s_[..., max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        part = copy(self)
        for name in ("scene", "u", "v", "fu", "fv"):
            setattr(part, name, getattr(self, name)[window])
        return part

    def soft(self, inside: Array, edge: float = 1.5) -> Array:
        """Turn a signed distance in half heads into a mask, 0 to 1, with an edge of `edge` pixels."""
        return np.clip(inside * (1 / (edge * self.pixel)) + 0.5, 0, 1)

    def ellipse(self, x: float, y: float, rx: float, ry: float, edge: float = 1.5) -> Array:
        """Return the mask of an ellipse on the face's front."""
        return self.soft(_inside(self.fu - x, self.fv - y, rx, ry), edge)

    def paint(self, mask: Array, colour: Array) -> None:
        """Lay a colour, one or one a pixel, over the scene where `mask` is 1."""
        self.scene += (colour - self.scene) * mask


# -------------------------------------------------------------------------------------------------------------- drawing


def draw_portrait(rng: Generator, person: Person, pose: Pose, light: Light) -> Array:
    """Draw a person before a background."""
    drawing = Drawing(pose, draw_background(rng))
    strands = 1 + 0.3 * texture(rng, (5, 40), (9, 70))
    if person.hair_length > 0.5:
        draw_hair_behind(drawing, person, light, strands)
    draw_body(drawing, rng, person, light)
    draw_head(drawing, rng, person, light)
    if person.hair_length > 0:
        draw_hair(drawing, rng, person, light, strands)
    return drawing.scene


def draw_background(rng: Generator) -> Array:
    """A wall or a view out of focus: a gradient, blurred shapes and a coarse texture."""
    base = rng.uniform(0.05, 0.6) * rng.normal(1, 0.18, 3).clip(0.4, 1.6)
    corners = base * rng.normal(1, 0.2, (2, 2, 3)).clip(0.3, 1.7)
    image = cv2.resize(corners.astype("f4"), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    for _ in range(rng.integers(0, 6)):
        colour = (base * rng.uniform(0.3, 1.7) * rng.normal(1, 0.15, 3)).clip(0.01, 1).tolist()
        x, y, size = rng.integers(0, SIDE, 3).tolist()
        if rng.random() < 0.5:
            cv2.circle(image, (x, y), size // 4 + 3, colour, -1)
        else:
            cv2.rectangle(image, (x, y), (x + size // 2, y + size), colour, -1)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(1, 5)).transpose(2, 0, 1)
    return image * (1 + rng.uniform(0.02, 0.12) * texture(rng, (12, 12), (40, 40)))


def draw_body(drawing: Drawing, rng: Generator, person: Person, light: Light) -> None:
    """Draw the neck, in the chin's shadow, and clothes."""
    u, v = drawing.u, drawing.v
    side = 0.75 + 0.5 * light.x * u
    under_chin = np.clip((v - 0.75) * 1.6, 0.25, 1)
    neck = np.minimum(0.55 * person.width + 0.25 * np.minimum(v - 1, 0) ** 2 - np.abs(u), v - 0.2)
    drawing.paint(drawing.soft(neck), person.skin * (light.ambient + light.key * 0.6) * (side * under_chin))
    cloth = rng.uniform(0.03, 0.6) * colours(rng.uniform(0.5, 1.2, 3))[0] * (light.ambient + light.key * 0.7)
    neckline = -_inside(u, v - rng.uniform(0.9, 1.15), 0.45, 0.4)
    body = drawing.soft(np.minimum(_inside(u, v - 2.35, 1.75, 1.15), neckline))
    drawing.paint(body, cloth * (side * (1 + 0.12 * texture(rng, (6, 6), (30, 12)))))


def draw_hair_behind(drawing: Drawing, person: Person, light: Light, strands: Array) -> None:
    """Draw the long hair that falls behind neck and shoulders."""
    half = person.hair_length * 0.5
    mask = drawing.soft(_inside(drawing.u, drawing.v - half + 0.35, person.width * 1.3, 0.9 + half), 3)
    drawing.paint(mask, person.hair * (light.ambient + light.key * 0.35) * strands)


def draw_hair(drawing: Drawing, rng: Generator, person: Person, light: Light, strands: Array) -> None:
    """Draw the hair on the head: a cap with a ragged edge that leaves the face free."""
    u, v, width = drawing.u, drawing.v, person.width
    crown = _inside(u, v + 0.08, width * 1.12, 1.1)
    forehead = _inside(u - person.parting, v - 0.45, width * 0.93, 0.45 - person.hairline)
    inside = np.minimum(np.minimum(crown, -1.3 * forehead), person.hair_length * 0.9 - v) + 0.03 * texture(rng, (4, 30))
    glow = 0.35 + 0.5 * np.clip(u * light.x - v * 0.5 + 0.2, 0, 1)
    drawing.paint(drawing.soft(inside, 2.5), person.hair * (light.ambient + light.key * glow) * strands)


def draw_head(drawing: Drawing, rng: Generator, person: Person, light: Light) -> None:
    """Draw ears, skin and features, and light them."""
    u, v = drawing.u, drawing.v
    for side in (-1, 1):
        ear = drawing.soft(_inside(u - side * person.width, v - 0.02, 0.10, 0.20))
        drawing.paint(ear, person.skin * (0.8 * light.ambient + light.key * (0.36 + 0.24 * side * light.x)))
    narrowing = person.width * (1 - person.jaw * np.clip(v, 0, 1) ** 2)
    squared = (u / narrowing) ** 2 + v**2  # of the radius: 1 on the outline
    outline = drawing.soft((1 - squared) * (0.5 * person.width))
    drawing.paint(outline, albedo(drawing, rng, person))
    draw_features(drawing, person)
    diffuse, shine = shade(drawing, person, light, squared)
    drawing.paint(outline, drawing.scene * (light.ambient + light.key * diffuse) + light.key * shine)


def albedo(drawing: Drawing, rng: Generator, person: Person) -> Array:
    """Return the skin's own colour, unlit: blotches, red cheeks and nose, a beard."""
    u, v = drawing.fu, drawing.fv
    skin = person.skin * (1 + person.blotches * texture(rng, (10, 10), (28, 28), (64, 64)))
    skin[1:] *= 1 - 0.22 * (_bump(np.abs(u) - 0.38, v - 0.28, 0.2) + _bump(u, v - 0.3, 0.13))
    if person.beard > 0:
        chin = drawing.soft(v - 0.30 - 0.35 * (1 - np.minimum(np.abs(u) * 2, 1)) ** 2, edge=8)
        chin *= person.beard * np.clip(0.85 + 0.25 * texture(rng, (48, 48), (90, 90)), 0, 1)
        skin += (person.hair - skin) * chin
    return skin


def shade(drawing: Drawing, person: Person, light: Light, squared: Array) -> tuple[Array, Array]:
    """Light an ellipsoid with nose, eye sockets, cheeks, lips and chin; return the diffuse and the specular part."""
    u, v, across = drawing.fu, drawing.fv, np.abs(drawing.fu)
    down_nose = np.clip((v - person.eye_y + 0.1) * (1 / (person.nose_y - person.eye_y + 0.1)), 0, 1)
    ridge = down_nose * np.clip((person.nose_y + 0.06 - v) * 12, 0, 1) * np.exp(-((u / (0.06 + 0.06 * down_nose)) ** 2))
    height = 0.75 * np.sqrt(np.maximum(1 - squared, 0.02)) + 0.20 * ridge
    height += 0.05 * _bump(u, v - person.nose_y, person.nose_width) + 0.05 * _bump(across - 0.4, v - 0.22, 0.2)
    height -= 0.07 * _bump(across - person.eye_x * 0.95, v - person.eye_y, 0.15)
    height += 0.05 * _bump(u * 0.6, v - person.mouth_y, 0.11) + 0.06 * _bump(u, v - 0.88, 0.16)
    slope = -1 / (8 * drawing.pixel)  # the weights of Sobel's kernel add up to 8
    nx, ny = cv2.Sobel(height, -1, 1, 0, scale=slope), cv2.Sobel(height, -1, 0, 1, scale=slope)
    norm = 1 / np.sqrt(nx * nx + ny * ny + 1)
    towards = (nx * light.x + ny * light.y + light.z) * norm
    diffuse = np.maximum(towards * 0.85 + 0.15, 0)  # wrapped: skin scatters light past the edge of the shadow
    shine = np.maximum((towards + norm) * (1 / (2 + 2 * light.z) ** 0.5), 0)  # Blinn's half vector, to the 16th power
    for _ in range(4):
        shine = shine * shine
    return diffuse, 0.12 * shine


def draw_features(drawing: Drawing, person: Person) -> None:
    """Draw eyes, brows, nostrils and mouth, in unlit colours."""
    dark = person.skin * 0.3
    for side in (-1, 1):
        draw_eye(drawing.around(side * person.eye_x, person.eye_y - 0.08, 0.25), person, side, dark)
        x, y = side * person.nose_width * 0.55, person.nose_y + 0.045
        nose = drawing.around(x, y, 0.1)
        nose.paint(0.8 * nose.ellipse(x, y, 0.045, 0.028, 2), dark * 0.7)
    draw_mouth(drawing.around(0, person.mouth_y, 0.35), person, dark)


def draw_eye(drawing: Drawing, person: Person, side: int, dark: Array) -> None:
    """Draw an eye and its brow; `side` is -1 for the left of the picture, 1 for the right."""
    x, y, height = side * person.eye_x, person.eye_y, person.eye_height
    u, v = drawing.fu - x, drawing.fv - y
    arch = height * (1 - (u * (1 / person.eye_width)) ** 2)
    lid = v + arch  # distance below the upper lid's edge
    drawing.paint(0.5 * np.clip(1 - np.abs(lid + 0.05) * 25, 0, 1) * (arch > 0), dark)  # the fold above the lid
    opening = drawing.soft(np.minimum(lid, 0.8 * arch - v))
    drawing.paint(opening, EYE_WHITE * np.clip(0.45 + lid * 8, 0.4, 1))
    y -= 0.2 * height
    drawing.paint(drawing.ellipse(x, y, 0.075, 0.075) * opening, person.iris)
    drawing.paint(drawing.ellipse(x, y, 0.035, 0.035) * opening, person.iris * 0.1)
    drawing.paint(drawing.ellipse(x + 0.025, y - 0.03, 0.018, 0.018, 1) * opening, GLINT)
    drawing.paint(0.85 * np.clip(1.2 - np.abs(lid) * 35, 0, 1) * (arch > -0.01), dark * 0.3)  # lashes
    outwards = u * (side / (person.eye_width * 1.35))
    bend = outwards * outwards
    brow = v + person.brow_height + 0.03 - 0.06 * bend - 0.05 * person.brow_tilt * outwards
    thickness = person.brow_thickness * np.clip(1.1 - 0.5 * outwards - bend * bend, -1, 1)
    drawing.paint(0.8 * drawing.soft(thickness - np.abs(brow), 2), person.hair * 0.8 + person.skin * 0.08)


def draw_mouth(drawing: Drawing, person: Person, dark: Array) -> None:
    """Draw lips and, in a wide smile, teeth."""
    u = drawing.fu * (1 / person.mouth_width)
    v = drawing.fv - person.mouth_y - person.smile * (0.5 - u * u)  # corners rise with a smile
    bow = np.maximum(1 - u * u, 0)
    between_corners = bow > 0
    cupid = 1 - 0.35 * np.exp(-((u * 5) ** 2))
    upper = drawing.soft(np.minimum(v + person.lip_height * bow * cupid, -v), 2)
    lower = drawing.soft(np.minimum(v, 1.25 * person.lip_height * bow - v), 2)
    drawing.paint(upper * between_corners, person.lips * 0.8)
    drawing.paint(lower * between_corners, person.lips)
    gap = max(0.0, person.smile - 0.05)
    if gap > 0:
        drawing.paint(drawing.soft(gap * bow - np.abs(v)) * between_corners, TEETH)
    drawing.paint(0.8 * np.clip(1 - np.abs(v + gap * bow) * 45, 0, 1) * between_corners, dark * 0.4)


def texture(rng: Generator, *grids: tuple[int, int]) -> Array:
    """Return smooth noise of about unit variance: random grids of so many rows and columns, enlarged and added up."""
    total = np.zeros((SIDE, SIDE), "f4")
    for grid in grids:
        total += cv2.resize(rng.standard_normal(grid, "f4"), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return total * (1 / len(grids) ** 0.5)


def _between(colours: Array, place: float) -> Array:
    """Return the colour at `place`, 0 to 1, of a palette."""
    low, part = divmod(place * (len(colours) - 1), 1)
    return colours[int(low)] * (1 - part) + colours[min(int(low) + 1, len(colours) - 1)] * part


def _inside(x: Array, y: Array, rx: float, ry: float) -> Array:
    """Return about the signed distance to an ellipse's outline, positive inside."""
    return (1 - (x * (1 / rx)) ** 2 - (y * (1 / ry)) ** 2) * (0.5 * min(rx, ry))


def _bump(x: Array, y: Array, radius: float) -> Array:
    return np.exp((x * x + y * y) * (-1 / radius**2))
