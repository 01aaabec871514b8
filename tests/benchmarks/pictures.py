"""JPEG files like photographs, in the usual layout, made on the spot: what they show does not matter to speed."""

import os
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np

SIDE, QUALITY = 256, 90
CLASSES = ("Real", "Fake")


def picture(number: int) -> bytes:
    """Draw a smooth random picture with some grain.

    Args:
        number: Which one; the same number gives the same picture.

    Returns:
        A JPEG file of 256 x 256 px, of about the size of a photograph's.
    """
    rng = np.random.default_rng(number)
    image = np.full((SIDE, SIDE, 3), 128, np.float32)
    for cells, strength in ((3, 60), (12, 30), (48, 12), (SIDE, 4)):
        coarse = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def write_folder(root: Path, train: int, held_out: int = 8, distinct: int | None = None) -> Path:
    """Fill a folder with labelled pictures, as many Real as Fake, unless it is there.

    Args:
        root: The folder; it gets Train, Validation and Test, each with Real and Fake.
        train: Images in Train; even.
        held_out: Images in Validation, and in Test; even.
        distinct: Number of different files; the others are hard links to them. None: all differ.

    Returns:
        The folder.
    """
    if root.is_dir():
        return root
    partial = root.with_name(f"{root.name}.partial")
    places = [
        (partial / split / name, number)
        for split, count in (("Train", train), ("Validation", held_out), ("Test", held_out))
        for name in CLASSES
        for number in range(count // 2)
    ]
    for folder in {folder for folder, _ in places}:
        folder.mkdir(parents=True)
    originals = partial.with_suffix(".originals")
    originals.mkdir()
    files = [originals / f"{number}.jpg" for number in range(min(distinct or len(places), len(places)))]
    for number, file in enumerate(files):
        file.write_bytes(picture(number))
    for (folder, number), file in zip(places, cycle(files), strict=False):
        os.link(file, folder / f"{number:06d}.jpg")
    partial.rename(root)
    return root
