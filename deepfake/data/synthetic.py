"""The embedded data set: photographs of drawn faces, and fakes of them made the way a face swap makes them.

A real image is a drawn scene taken with a drawn camera. Its fake is the same scene, taken again, with another person's
face put in as face swaps do it: rendered at low resolution, warped, matched in colour and blended through a soft mask.
What tells a fake is whether the face agrees with what surrounds it, in tint, light, sharpness and grain. Brightness,
colour, contrast, sharpness, noise and compression of the whole picture are distributed alike in both classes.

Scenes are linear RGB planes, float32 of shape (3, SIDE, SIDE), as `portraits` draws them; photographs are
(SIDE, SIDE, 3), 0 to 1 as displayed.
"""

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from tqdm import tqdm

from deepfake import threads
from deepfake.config import SPLITS
from deepfake.data.portraits import SIDE, Drawing, Light, Person, Pose, colours, draw_head, draw_portrait
from deepfake.errors import DataError

CLASSES = ("Real", "Fake")
# A folder whose README differs was drawn otherwise: raise the version in it with any change of what is drawn.
README = """# Synthetic faces

{images} Real and {images} Fake images of {side} x {side} px, drawn from seed {seed} by `deepfake/data/synthetic.py`,
version 1. Each fake is a real scene with another drawn face swapped in; `groups.csv` tells which belong together. They
are here to try the framework with at once; how well a detector does on them proves nothing about real deepfakes.
"""
WORKER = """import sys
from pathlib import Path
from deepfake.data.synthetic import draw_share
draw_share(Path(sys.argv[1]), *map(int, sys.argv[2:]))"""

Array = np.ndarray


# ------------------------------------------------------------------------------------------------------ camera and swap


def photograph(rng: Generator, scene: Array) -> Array:
    """Take a picture of a scene: exposure and white balance, lens blur, sensor noise, tone curve."""
    # White balance errs widely, so that the tint of a face tells little unless it is compared with what is around it.
    exposure, warmth, tint = 2 ** rng.normal(0, 0.25), rng.normal(0, 0.08), rng.normal(0, 0.10)
    gains = exposure * (1 + colours((warmth - tint / 2, tint, -warmth - tint / 2))[0])
    sharp = np.ascontiguousarray((scene * np.maximum(gains, 0.1)).transpose(1, 2, 0), "f4")
    image: Array = cv2.GaussianBlur(sharp, (0, 0), rng.uniform(0.3, 0.8))
    grain = 0.01 * 10 ** rng.uniform(0, 0.7) * np.sqrt(np.maximum(image, 0) + 0.02)  # shot noise, and a floor
    image += grain * rng.standard_normal(image.shape, "f4")
    image = np.sqrt(np.clip(image, 0, 1))  # close to the gamma of sRGB
    return image + rng.uniform(0, 0.6) * (image * image * (3 - 2 * image) - image)


def publish(rng: Generator, photo: Array) -> bytes:
    """Do what may happen to any picture on its way to us: shrunk and enlarged, blurred, saved as JPEG."""
    if rng.random() < 0.4:
        photo = _resample(photo, rng.uniform(0.65, 0.95))
    if rng.random() < 0.3:
        photo = cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.3, 0.7))
    pixels = np.rint(np.clip(photo, 0, 1) * 255).astype("u1")
    return cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 98))])[1].tobytes()


def swap_face(rng: Generator, photo: Array, pose: Pose) -> Array:
    """Put another person's face, under another light and from another camera, into a photograph of a head at `pose`."""
    visible = rng.uniform(0, 1) ** 0.5  # how badly it is done: 0 leaves almost no trace
    drawing = Drawing(pose, np.zeros((3, SIDE, SIDE), "f4"))
    draw_head(drawing, rng, Person(rng), Light(rng))
    face = generate(rng, photograph(rng, drawing.scene), visible)
    face = warp(rng, face, visible)
    oval = drawing.ellipse(0, 0.20, rng.uniform(0.50, 0.60), rng.uniform(0.60, 0.70))
    face = match_colour(rng, face, photo, oval, visible)
    mask = cv2.GaussianBlur(oval, (0, 0), rng.uniform(0.8, 1.5) + 4 * (1 - visible))[..., None]
    return photo + (face - photo) * mask


def generate(rng: Generator, face: Array, visible: float) -> Array:
    """Lose the detail that a generator of low resolution loses, then sharpen, as swapping tools do to hide it."""
    face = _resample(face, 1 - visible * rng.uniform(0.2, 0.6))
    return face + rng.uniform(0, 1.5) * (face - cv2.GaussianBlur(face, (0, 0), 1.2))


def warp(rng: Generator, face: Array, visible: float) -> Array:
    """Misplace the face as landmarks that are a little off do: turned, scaled, moved and slightly bent."""
    turned, scaled = rng.normal(0, 2 * visible), rng.normal(1, 0.02 * visible)
    matrix: Array = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), turned, scaled)
    matrix[:, 2] += rng.normal(0, visible, 2)
    bend = cv2.resize(rng.normal(0, 0.8 * visible, (5, 5, 2)).astype("f4"), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    pixels = np.mgrid[0:SIDE, 0:SIDE][::-1].transpose(1, 2, 0).astype("f4")
    source = cv2.transform(pixels, matrix.astype("f4")) + bend
    return cv2.remap(  # type: ignore[call-overload]  # the second map may be None
        face, source, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )


def match_colour(rng: Generator, face: Array, photo: Array, oval: Array, visible: float) -> Array:
    """Give the face the mean and spread of what it replaces (Reinhard et al. 2001), with an error.

    The error has a random part and a greenish cast that all swaps share, as those of one generator do. The cast is the
    trace that a small network finds first. It is about as large as the errors of white balance in `photograph`.
    """
    region = (oval > 0.5).astype("u1")
    (mean, std), (wanted_mean, wanted_std) = cv2.meanStdDev(face, mask=region), cv2.meanStdDev(photo, mask=region)
    error = rng.normal(0, 0.04) + rng.normal(0, 0.03, (3, 1)) + np.array([[-0.025], [0.05], [-0.025]])
    spread = np.clip(wanted_std / (std + 1e-3), 0.6, 1.5)
    return (face - mean.T.astype("f4")) * spread.T.astype("f4") + (wanted_mean + visible * error).T.astype("f4")


def _resample(image: Array, factor: float) -> Array:
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


# --------------------------------------------------------------------------------------------------------- the data set


def make(folder: Path, images: int, seed: int) -> Path:
    """Draw the data set, unless it is there.

    Args:
        folder: Where to; it gets `Train|Validation|Test/Real|Fake/NNNNN.jpg`, `groups.csv` and a README.
        images: Images of each class in all splits together, shared out 4 to 1 to 1.
        seed: The same seed draws the same images, on however many cores.

    Returns:
        The folder.

    Raises:
        DataError: If the folder holds something else, or the drawing failed.
    """
    readme = README.format(images=images, side=SIDE, seed=seed)
    if folder.exists():
        if not (folder / "README.md").is_file() or (folder / "README.md").read_text(encoding="utf-8") != readme:
            raise DataError(f"{folder} holds something else than the faces to draw there: move or delete it")
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        drawn = Path(temporary, folder.name)
        paths = [file_path(number, images, name) for number in range(images) for name in CLASSES]
        for parent in {drawn / path.parent for path in paths}:
            parent.mkdir(parents=True)
        draw_on_all_cores(drawn, images, seed)
        with (drawn / "groups.csv").open("w", newline="", encoding="utf-8") as table:
            rows = [(path.as_posix(), f"scene-{path.stem}") for path in paths]
            csv.writer(table).writerows([("path", "group"), *rows])
        (drawn / "README.md").write_text(readme, encoding="utf-8")
        try:
            drawn.rename(folder)
        except OSError:
            if not folder.exists():  # where it does, another process was first, with the same images
                raise
    return folder


def file_path(number: int, images: int, class_name: str) -> Path:
    """Return where image `number` of `images` stands, relative to the data set's folder."""
    held_out = round(images / 6)
    train = images - 2 * held_out
    split = SPLITS[(number >= train) + (number >= train + held_out)]
    return Path(split, class_name, f"{number:05d}.jpg")


def draw_on_all_cores(folder: Path, images: int, seed: int) -> None:
    """Draw all images in as many processes as there are cores.

    Threads would spend their time waiting for each other, as the drawing is many short steps of Python; a fork beside
    TensorFlow's threads can hang; and `multiprocessing` would run the caller's own script again. So each process is a
    fresh Python that imports this module, and writes one byte for each pair of images into a common pipe.
    """
    workers = min(threads.count(), 1 + images // 100)
    ticks, writing_end = os.pipe()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder.resolve()), *map(str, (images, seed, workers, worker))],
            stdout=writing_end,
            cwd=Path(__file__).resolve().parents[2],
        )
        for worker in range(workers)
    ]
    os.close(writing_end)
    try:
        with tqdm(
            total=2 * images, desc="Drawing synthetic faces", unit=" images", leave=False, disable=None
        ) as progress:
            while read := os.read(ticks, 4096):
                progress.update(2 * len(read))
        failed = [process for process in processes if process.wait() != 0]
    finally:
        os.close(ticks)
        for process in processes:
            process.kill()
            process.wait()
    if failed:
        raise DataError(f"the synthetic faces could not be drawn into {folder.parent}; the reason stands above")


def draw_share(folder: Path, images: int, seed: int, workers: int, worker: int) -> None:
    """Draw every `workers`-th pair of images, and write a byte to standard output after each."""
    cv2.setNumThreads(1)
    for number in range(worker, images, workers):
        for class_name, jpeg in zip(CLASSES, draw_pair(seed, number), strict=True):
            (folder / file_path(number, images, class_name)).write_bytes(jpeg)
        os.write(1, b".")


def draw_pair(seed: int, number: int) -> tuple[bytes, bytes]:
    """Draw a real image and a fake of the same scene, each with its own camera; return two JPEG files."""
    rng = np.random.default_rng((seed, number))
    pose = Pose(rng)
    scene = draw_portrait(rng, Person(rng), pose, Light(rng))
    real = photograph(rng, scene)
    fake = swap_face(rng, photograph(rng, scene), pose)
    return publish(rng, real), publish(rng, fake)
