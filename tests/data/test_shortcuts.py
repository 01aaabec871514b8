"""What tells the label without a look at the face is found, and what is only a difference of the pictures is not."""

import io
import re
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from deepfake.data import synthetic
from deepfake.data.images import read
from deepfake.data.portraits import Light, Person, Pose, draw_portrait
from deepfake.data.shortcuts import Report, find
from deepfake.data.traits import NAMES, measure

CLASSES = ("Real", "Fake")
EXIF = Image.Exif()
EXIF[0x010F] = "Maker"

Pixels = np.ndarray


def encode(pixels: Pixels, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def inspect(files: list[bytes], labels: np.ndarray, groups: list[str] | None = None) -> Report:
    """Do with files what the audit does with a folder of them."""
    pictures = [read(content) for content in files]
    traits = np.stack([measure(content, picture) for content, picture in zip(files, pictures, strict=True)])
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
    thumbnails = np.stack([cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA) for picture in grey])
    return find(traits, thumbnails, labels, groups or [f"{number}.jpg" for number in range(len(files))], CLASSES)


def to_pixels(photo: np.ndarray) -> Pixels:
    return np.rint(np.clip(photo, 0, 1) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photos() -> list[Pixels]:
    """Photographs of drawn people, from the same camera; the second half will be called Fake."""

    def take(number: int) -> Pixels:
        rng = np.random.default_rng((1, number))
        return to_pixels(synthetic.photograph(rng, draw_portrait(rng, Person(rng), Pose(rng), Light(rng))))

    return [take(number) for number in range(280)]


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.repeat((0, 1), 140)


@pytest.fixture(scope="module")
def swaps() -> tuple[list[Pixels], list[Pixels]]:
    """Photographs, and the same ones with another face put in."""

    def make(number: int) -> tuple[Pixels, Pixels]:
        rng = np.random.default_rng((2, number))
        pose = Pose(rng)
        photo = synthetic.photograph(rng, draw_portrait(rng, Person(rng), pose, Light(rng)))
        return to_pixels(photo), to_pixels(synthetic.swap_face(rng, photo, pose))

    reals, fakes = zip(*[make(number) for number in range(150)], strict=True)
    return list(reals), list(fakes)


def resized(pixels: Pixels) -> Pixels:
    return cv2.resize(pixels, (94, 94), interpolation=cv2.INTER_AREA)


def framed(pixels: Pixels) -> Pixels:
    return cv2.copyMakeBorder(pixels[3:-3, 3:-3], 3, 3, 3, 3, cv2.BORDER_CONSTANT)


def marked(pixels: Pixels) -> Pixels:
    """Lay a ring over the lower right corner that is seen through: 12 of 96 pixels, a third of the way to white."""
    ring = cv2.circle(np.zeros(pixels.shape, np.uint8), (86, 86), 5, (255, 255, 255), 2)
    return np.where(ring > 0, pixels + (255.0 - pixels) * 0.35, pixels).astype(np.uint8)


def darkened(pixels: Pixels) -> Pixels:
    """Leave black in the shadows, as most cameras do."""
    return cv2.subtract(pixels, (40, 40, 40, 0))


# What is done to Real, what to some or all of Fake, and what then tells the label.
CASES = {
    "another format": (encode, lambda pixels: encode(pixels, "PNG"), ("file format",)),
    "another size": (encode, lambda pixels: encode(resized(pixels)), ("width",)),
    "another quality": (
        lambda pixels: encode(pixels, quality=75),
        lambda pixels: encode(pixels, quality=90),
        ("JPEG quality",),
    ),
    "no EXIF": (lambda pixels: encode(pixels, exif=EXIF), encode, ("metadata",)),
    "a black frame": (encode, lambda pixels: encode(framed(pixels)), ("border level", "border spread", "bottom edge")),
    "a watermark": (encode, lambda pixels: encode(marked(pixels)), ("bottom right corner",)),
    "brighter by 3": (
        lambda pixels: encode(darkened(pixels), "PNG"),
        lambda pixels: encode(darkened(pixels) + 3, "PNG"),
        ("share of black",),
    ),
}


@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize(("real", "fake", "names"), CASES.values(), ids=CASES)
def test_what_tells_the_label_is_found(
    photos: list[Pixels],
    labels: np.ndarray,
    real: Callable[[Pixels], bytes],
    fake: Callable[[Pixels], bytes],
    names: tuple[str, ...],
    share: float,
) -> None:
    changed = (labels == 1) & (np.arange(280) % 10 < share * 10)
    report = inspect([(fake if other else real)(photo) for photo, other in zip(photos, changed, strict=True)], labels)
    (shortcut,) = report.shortcuts
    assert shortcut.name in names
    assert shortcut.name in shortcut.text
    assert shortcut.auc == pytest.approx(0.5 + share / 2, abs=0.12)
    assert shortcut.auc == (report.by_trait | report.by_place)[shortcut.name]


def test_the_sentence_has_the_numbers(photos: list[Pixels], labels: np.ndarray) -> None:
    files = [encode(photo, "PNG" if label else "JPEG") for photo, label in zip(photos, labels, strict=True)]
    assert [shortcut.text for shortcut in inspect(files, labels).shortcuts] == [
        "file format tells the label: JPEG in 100% of Real and 0% of Fake, PNG in 0% of Real and 100% of Fake"
    ]


def test_traits_of_one_cause_are_one_shortcut(photos: list[Pixels], labels: np.ndarray) -> None:
    files = [encode(resized(photo) if label else photo) for photo, label in zip(photos, labels, strict=True)]
    assert [shortcut.text for shortcut in inspect(files, labels).shortcuts] == [
        "width tells the label: 96 in 100% of Real and 0% of Fake, 94 in 0% of Real and 100% of Fake; so does height"
    ]


def test_one_size_between_two_others_is_found(photos: list[Pixels], labels: np.ndarray) -> None:
    sides = [96 if label else (92, 100)[number % 2] for number, label in enumerate(labels)]
    files = [encode(cv2.resize(photo, (side, side))) for photo, side in zip(photos, sides, strict=True)]
    report = inspect(files, labels)
    assert report == inspect(files, labels)  # the same data, the same report
    assert report.shortcuts[0].name == "width"
    assert report.by_trait["width"] == 1.0


def test_fakes_that_were_jpegs_before_are_found(photos: list[Pixels], labels: np.ndarray) -> None:
    again = [read(encode(photo, quality=60)) if label else photo for photo, label in zip(photos, labels, strict=True)]
    assert "block grid" in [shortcut.name for shortcut in inspect([encode(p, "PNG") for p in again], labels).shortcuts]


def test_photographs_alike_in_both_classes_are_fit(photos: list[Pixels], labels: np.ndarray) -> None:
    report = inspect([encode(photo) for photo in photos], labels)
    assert report.shortcuts == []
    assert report.note == ""
    assert report.classifier_auc < 0.65
    assert list(report.by_trait) == sorted(NAMES, key=lambda name: -report.by_trait[name])
    assert report.by_trait["file format"] == report.by_trait["width"] == 0.5


def test_faces_that_are_blurred_are_what_a_detector_is_for(photos: list[Pixels], labels: np.ndarray) -> None:
    face = cv2.ellipse(np.zeros((96, 96, 1)), (48, 46), (26, 34), 0, 0, 360, 1, -1)
    blurred = [np.where(face, cv2.GaussianBlur(photo, None, 1), photo) for photo in photos]
    files = [encode(blurred[i] if label else photos[i]) for i, label in enumerate(labels)]
    report = inspect(files, labels)
    assert report.by_trait["noise"] > 0.65
    assert report.shortcuts == []


def test_what_differs_alike_in_both_classes_tells_nothing(photos: list[Pixels], labels: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    kinds = [
        lambda pixels: encode(pixels, "PNG"),
        lambda pixels: encode(resized(pixels), quality=60),
        lambda pixels: encode(framed(marked(pixels)), exif=EXIF),
        encode,
    ]
    assert inspect([kinds[rng.integers(4)](photo) for photo in photos], labels).shortcuts == []


@pytest.mark.parametrize("seed", range(5))
def test_chance_is_no_shortcut_in_twenty_images_of_each_class(photos: list[Pixels], seed: int) -> None:
    rng = np.random.default_rng(seed)
    files = [encode(photos[row], quality=int(rng.integers(60, 95))) for row in rng.permutation(280)[:40]]
    assert inspect(files, np.repeat((0, 1), 20)).shortcuts == []


def test_twenty_images_of_each_class_are_enough_for_what_all_have(photos: list[Pixels]) -> None:
    files = [encode(photo) for photo in photos[:20]] + [encode(photo, "PNG") for photo in photos[20:40]]
    assert [shortcut.name for shortcut in inspect(files, np.repeat((0, 1), 20)).shortcuts] == ["file format"]


def test_the_drawn_data_set_is_fit() -> None:
    pairs = [synthetic.draw_pair(0, number) for number in range(200)]
    files, groups = [file for pair in pairs for file in pair], [f"scene-{number}" for number in range(200)]
    report = inspect(files, np.tile((0, 1), 200), list(np.repeat(groups, 2)))
    assert report.shortcuts == []
    assert set(report.within_groups) == {"red", "green", "blue", "saturation", "darkest fifth"}


def test_face_swaps_are_fit(swaps: tuple[list[Pixels], list[Pixels]]) -> None:
    assert inspect_swaps(*swaps).shortcuts == []


def test_face_swaps_brighter_than_their_sources_are_not(swaps: tuple[list[Pixels], list[Pixels]]) -> None:
    reals, fakes = swaps
    report = inspect_swaps(reals, [cv2.add(fake, (3, 3, 3, 0)) for fake in fakes])
    assert [shortcut.name for shortcut in report.shortcuts] == ["darkest fifth"]
    assert "of 150 groups it is higher in Fake, by 4.0 grey levels in the middle" in report.shortcuts[0].text
    assert max(report.by_trait["red"], report.by_trait["green"]) < 0.6  # between scenes, it is nothing


def test_face_swaps_of_another_colour_are_not(swaps: tuple[list[Pixels], list[Pixels]]) -> None:
    reals, fakes = swaps
    warmer = [cv2.subtract(cv2.add(fake, (6, 0, 0, 0)), (0, 0, 15, 0)) for fake in fakes]  # as bright as before
    text = inspect_swaps(reals, warmer).shortcuts[0].text
    assert "tells the label within groups: in 100% of 150 groups it is higher in" in text
    assert {"red", "blue", "saturation"} <= set(re.findall(r"\w+", text))


def inspect_swaps(reals: list[Pixels], fakes: list[Pixels]) -> Report:
    groups = [f"video-{number}" for number in range(len(reals))]
    return inspect([encode(photo) for photo in [*reals, *fakes]], np.repeat((0, 1), len(reals)), groups * 2)


def test_what_tells_the_video_does_not_tell_the_label(photos: list[Pixels], labels: np.ndarray) -> None:
    videos = np.arange(280) // 14
    sides = 60 + np.random.default_rng(5).permutation(20)[videos]
    files = [encode(cv2.resize(photo, (side, side))) for photo, side in zip(photos, sides, strict=True)]
    assert inspect(files, labels, [f"video-{number}" for number in videos]).shortcuts == []


def test_a_trait_is_ranked_as_scikit_learn_ranks_it(photos: list[Pixels], labels: np.ndarray) -> None:
    pixels = [cv2.add(photo, (25, 0, 0, 0)) if label else photo for photo, label in zip(photos, labels, strict=True)]
    red = [measure(b"", photo)[NAMES.index("red")] for photo in pixels]
    found = inspect([encode(photo, "PNG") for photo in pixels], labels).by_trait["red"]
    assert found == pytest.approx(roc_auc_score(labels, red))


@pytest.mark.parametrize("fakes", [0, 1, 9])
def test_too_few_images_say_so(photos: list[Pixels], fakes: int) -> None:
    report = inspect([encode(photo) for photo in photos[: 30 + fakes]], np.repeat((0, 1), (30, fakes)))
    assert (report.shortcuts, report.by_trait, report.images) == ([], {}, 0)
    assert report.note.startswith(f"30 of Real and {fakes} of Fake")


def test_of_many_images_some_of_every_group_are_looked_at() -> None:
    rng = np.random.default_rng(6)
    traits = rng.normal(size=(6400, len(NAMES))).astype(np.float32)
    thumbnails = rng.integers(0, 256, (6400, 64, 64), np.uint8)
    groups = [f"video-{number % 800}" for number in range(6400)]
    traits[:, NAMES.index("file format")] = labels = rng.permutation(6400) % 2
    report = find(traits, thumbnails, labels, groups, CLASSES)
    assert report.images == 6000
    assert [shortcut.name for shortcut in report.shortcuts] == ["file format"]
