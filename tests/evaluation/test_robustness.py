"""What a person learns of a detector on worn images."""

import csv
import io
import math

import cv2
import numpy as np
import pytest

from deepfake.augmentation import degradation
from deepfake.evaluation import metrics, robustness

SIDE = 32
STEPS = [(kind, strength) for kind, settings in robustness.KINDS.items() for strength in settings.strengths]


@pytest.fixture(scope="module")
def labels():
    return np.arange(150) % 3 % 2  # twice as many Real as Fake


@pytest.fixture(scope="module")
def images(labels):
    """Smooth pictures with grain; a Fake has less of it, and its colours are a little warmer."""
    random = np.random.default_rng(0)
    smooth = [cv2.GaussianBlur(random.normal(0, 200, (SIDE, SIDE, 3)), (0, 0), 4) for _ in labels]
    grain = random.normal(0, 1, (len(labels), SIDE, SIDE, 3)) * random.normal(7 - labels, 0.8)[:, None, None, None]
    warm = random.normal(4 * labels, 5)[:, None, None, None] * np.array([1, 0, -1])
    return (128 + np.array(smooth) + grain + warm).clip(0, 255).astype(np.uint8)


def by_grain(images):
    """A detector that only looks at the highest frequencies."""
    energy = [np.abs(cv2.Laplacian(image, cv2.CV_32F)).mean() for image in images]
    return 1 / (1 + np.exp(np.array(energy, np.float64) / 10 - 2))


def by_colour(images):
    """A detector that only looks at the mean colour."""
    red, _, blue = images.mean(axis=(1, 2)).T
    return 1 / (1 + np.exp(-(red - blue) / 20))


def measure(images, labels, score=by_grain, limit=None, seed=0):
    return robustness.measure(score, images, labels, 0.5, limit=limit, seed=seed)


def aucs(found, kind):
    return [one.metrics["auc"] for one in found.degraded if one.kind == kind]


# -------------------------------------------------------------------------------------------------- the degradations


def test_there_are_six_kinds_at_five_rising_strengths():
    assert list(robustness.KINDS) == ["jpeg", "blur", "downscale", "noise", "brightness", "crop"]
    image = cv2.resize(np.random.default_rng(1).integers(0, 256, (24, 24, 3), np.uint8), (96, 96))
    for kind, settings in robustness.KINDS.items():
        worn = [robustness.degrade(image[None], kind, strength, [0])[0] for strength in settings.strengths]
        changes = [np.abs(one.astype(float) - image).mean() for one in worn]
        assert len(changes) == 5
        assert changes == sorted(set(changes))


@pytest.mark.parametrize(("kind", "strength"), STEPS, ids=[f"{kind} {strength}" for kind, strength in STEPS])
def test_a_degradation_is_that_of_the_augmentation(images, kind, strength):
    image = images[0]
    (worn,) = robustness.degrade(images[:1], kind, strength, [5])
    expected = {
        "jpeg": lambda: degradation.jpeg(image, strength),
        "blur": lambda: degradation.blur(image, strength),
        "downscale": lambda: degradation.downscale(image, strength),
        "noise": lambda: degradation.noise(image, strength, np.random.default_rng(5)),
    }
    if kind in expected:
        assert np.array_equal(worn, expected[kind]())
    elif kind == "brightness":
        changes = [np.clip(image + 255 * share, 0, 255) - image for share in (-strength, strength)]
        assert any(np.abs(worn - (image + change)).max() <= 0.5 + 1e-9 for change in changes)
    else:
        margin = (1 - strength) / 2 * SIDE
        corners = (margin - 0.5 + (np.arange(SIDE) + 0.5) * strength).astype(np.float32)
        exact = cv2.remap(image, *np.meshgrid(corners, corners), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        assert np.abs(worn.astype(int) - exact).max() <= 4  # OpenCV places pixels to 1/32


def test_as_many_images_become_darker_as_brighter():
    grey = np.full((400, 4, 4, 3), 128, np.uint8)
    worn = robustness.degrade(grey, "brightness", 0.1, [(0, row) for row in range(400)])
    assert set(worn.ravel().tolist()) == {102, 154}
    assert np.mean(worn[:, 0, 0, 0] > 128) == pytest.approx(0.5, abs=0.06)


# ------------------------------------------------------------------------------------------------------- the measuring


def test_clean_images_are_measured_as_everywhere_else(images, labels):
    found = measure(images, labels)
    assert found.clean == metrics.compute(labels, by_grain(images), 0.5)
    assert [(one.kind, one.strength) for one in found.degraded] == STEPS


def test_what_leaves_the_images_as_they_are_leaves_the_metrics(images, labels, monkeypatch):
    harmless = {"crop": 1.0, "blur": 0.0, "downscale": 1.0, "noise": 0.0, "brightness": 0.0}
    for kind, strength in harmless.items():
        settings = robustness.KINDS[kind]
        nothing = robustness.Kind(settings.title, settings.unit, (strength,), settings.apply)
        monkeypatch.setitem(robustness.KINDS, kind, nothing)
    found = measure(images, labels)
    assert all(one.metrics == found.clean for one in found.degraded if one.kind in harmless)


def test_degraded_images_are_measured_image_by_image(images, labels):
    found = measure(images, labels, seed=3)
    for one in found.degraded[::7]:
        worn = robustness.degrade(images, one.kind, one.strength, [(3, row) for row in range(len(labels))])
        assert one.metrics == metrics.compute(labels, by_grain(worn), 0.5)


def test_a_detector_that_looks_at_grain_is_lost_without_it_and_one_that_looks_at_colour_is_not(images, labels):
    grain, colour = measure(images, labels), measure(images, labels, by_colour)
    assert grain.clean["auc"] > 0.75
    assert colour.clean["auc"] > 0.65
    for kind in ("blur", "downscale"):
        assert aucs(grain, kind)[-1] < grain.clean["auc"] - 0.1
        assert aucs(colour, kind) == pytest.approx([colour.clean["auc"]] * 5, abs=0.02)
    assert grain.scalar < 0.95 < colour.scalar


def test_the_scalar_is_the_mean_auc_over_the_clean_one(images, labels):
    found = measure(images, labels)
    mean = sum(one.metrics["auc"] for one in found.degraded) / 30
    assert found.scalar == pytest.approx(mean / found.clean["auc"])


def test_the_same_seed_gives_the_same_numbers(images, labels):
    found = measure(images, labels, seed=1)
    assert found == measure(images, labels, seed=1)
    other = measure(images, labels, seed=2)
    assert aucs(found, "noise") != aucs(other, "noise")
    assert aucs(found, "jpeg") == aucs(other, "jpeg")


def test_images_on_the_disk_are_scored_in_batches(tmp_path, images, labels):
    path = tmp_path / "pixels.u8"
    images.tofile(path)
    mapped = np.memmap(path, np.uint8, "r", shape=images.shape)
    sizes = []

    def score(batch):
        sizes.append(len(batch))
        return by_grain(batch)

    assert measure(mapped, labels, score) == measure(images, labels)
    assert max(sizes) <= 64
    assert sum(sizes) == 31 * len(images)


def test_a_limit_takes_the_same_images_of_each_class_from_everywhere(images, labels):
    numbered = images.copy()
    numbered[:, :, :, 0] = np.arange(len(images))[:, None, None]  # red says which image it is, where it is not worn
    batches = []

    def score(batch):
        batches.append(batch[:, 0, 0, 0])
        return by_grain(batch)

    found = measure(numbered, labels, score, limit=20)
    seen = batches[0]
    assert [np.sum(labels[seen] == label) for label in (0, 1)] == [20, 20]
    for label in (0, 1):
        places = np.searchsorted(np.flatnonzero(labels == label), seen[labels[seen] == label])
        assert np.ptp(np.diff(places)) <= 1
    assert found.clean == metrics.compute(labels[seen], by_grain(numbered[seen]), 0.5)
    assert len({batch.shape for batch in batches}) == 1
    assert measure(images, labels, limit=1000) == measure(images, labels)


def test_one_class_alone_has_no_scalar(images, labels):
    found = measure(images[labels == 1], labels[labels == 1], limit=3)
    assert math.isnan(found.scalar)
    figure = robustness.plot(found)
    assert "needs Real and Fake images" in [text.get_text() for text in figure.axes[0].texts]


# ------------------------------------------------------------------------------------------------------ what is written


def test_the_table_has_a_line_for_each_strength(tmp_path, images, labels):
    found = measure(images, labels, limit=10)
    robustness.write_csv(tmp_path / "robustness.csv", found)
    with (tmp_path / "robustness.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [(line["kind"], line["strength"]) for line in lines[:3]] == [("clean", ""), ("jpeg", "90"), ("jpeg", "75")]
    assert len(lines) == 31
    for line, values in zip(lines, [found.clean, *(one.metrics for one in found.degraded)], strict=True):
        assert float(line["auc"]) == pytest.approx(values["auc"], abs=1e-6)
        assert float(line["accuracy_fake"]) == pytest.approx(values["accuracy_fake"], abs=1e-6)


def test_the_plot_has_a_panel_for_each_kind_from_clean_to_strongest(images, labels):
    found = measure(images, labels, limit=30)
    figure = robustness.plot(found)
    figure.savefig(io.BytesIO(), format="png")
    assert f"{found.scalar:.1%}" in figure.get_suptitle()
    assert [axes.get_title() for axes in figure.axes] == [
        "JPEG", "Blur", "Downscaling", "Noise", "Brightness", "Cropping",
    ]  # fmt: skip
    for axes, kind in zip(figure.axes, robustness.KINDS, strict=True):
        strengths = [f"{strength:g}" for strength in robustness.KINDS[kind].strengths]
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["clean", *strengths]
        line = axes.lines[-1]
        assert list(line.get_ydata()) == [found.clean["auc"], *aucs(found, kind)]
        low, high = axes.get_ylim()
        assert low < min(line.get_ydata()) < max(line.get_ydata()) < high
