"""What a person reads of a detector on several data sets."""

import csv
import io
from statistics import fmean

import numpy as np
import pytest
from scipy.special import expit, logit

from deepfake.evaluation import metrics, sets
from deepfake.evaluation.bootstrap import intervals


def videos(seed=0, count=40, frames=5, swapped=False):
    """Labels, scores and groups of frames; with `swapped`, each video is there as Real and as Fake."""
    random = np.random.default_rng(seed)
    part = np.repeat(np.arange(count), frames)
    labels = np.tile(np.arange(frames) % 2, count) if swapped else part % 2
    logits = 2 * labels - 1 + random.normal(0, 1, count)[part] + random.normal(0, 1, len(part))
    return labels, 1 / (1 + np.exp(-logits)), [f"video {number}" for number in part]


def singly(labels, scores, _):
    return labels, scores, [f"Real/{number}.png" for number in range(len(labels))]


def drawn(figure):
    figure.savefig(io.BytesIO(), format="png")
    (axes,) = figure.axes
    return axes


def test_images_of_unknown_groups_are_measured_one_by_one():
    labels, scores, paths = singly(*videos())
    row = sets.measure("Test", labels, scores, paths, 0.4)
    assert (row.name, row.images, row.groups, row.threshold) == ("Test", 200, None, 0.4)
    assert row.metrics == metrics.compute(labels, scores, 0.4)
    assert row.intervals == intervals(labels, scores, 0.4, paths)
    assert row.by_group is row.by_group_intervals is None


def test_a_video_is_judged_by_the_mean_log_odds_of_its_frames():
    labels, scores, groups = videos()
    row = sets.measure("Test", labels, scores, groups, 0.4)
    assert (row.images, row.groups) == (200, 40)
    pooled = expit(logit(scores).reshape(40, 5).mean(axis=1))
    assert row.by_group == pytest.approx(metrics.compute(np.arange(40) % 2, pooled, 0.4))
    assert row.by_group["auc"] > row.metrics["auc"]
    low, high = row.by_group_intervals["auc"]
    assert low < row.by_group["auc"] < high
    width, alone = np.diff(row.intervals["auc"]), np.diff(intervals(*singly(*videos())[:2], 0.4, range(200))["auc"])
    assert width > 1.2 * alone  # frames of one video are less than so many images


def test_a_video_that_is_there_with_another_face_as_well_is_two_halves_of_one_group():
    labels, scores, groups = videos(swapped=True)
    row = sets.measure("Test", labels, scores, groups, 0.4)
    assert row.groups == 40
    halves = [(group, label) for group in dict.fromkeys(groups) for label in (0, 1)]
    pooled = [
        fmean(logit(s) for s, g, own in zip(scores, groups, labels, strict=True) if (g, own) == (group, label))
        for group, label in halves
    ]
    halved, pooled = np.array([label for _, label in halves]), expit(pooled)
    assert row.by_group == pytest.approx(metrics.compute(halved, pooled, 0.4))
    whole = intervals(halved, pooled, 0.4, [group for group, _ in halves])
    assert row.by_group_intervals == {name: pytest.approx(ends) for name, ends in whole.items()}
    assert np.diff(whole["auc"]) < np.diff(intervals(halved, pooled, 0.4, range(80))["auc"])  # both rise and fall alike


def test_a_frame_that_is_sure_counts_for_more_and_an_order_of_frames_for_nothing():
    labels, scores, groups = videos()
    scores[:5] = [0.02, 0.5, 0.5, 0.5, 0.5]  # of a Real video: on average 0.404, and 0.315 by its log-odds
    row = sets.measure("Test", labels, scores, groups, 0.4)
    order = np.random.default_rng(0).permutation(200)
    mixed = sets.measure("Test", labels[order], scores[order], [groups[place] for place in order], 0.4)
    assert mixed.by_group == pytest.approx(row.by_group)
    scores[:5] = 0.404
    assert sets.measure("Test", labels, scores, groups, 0.4).by_group["accuracy_real"] < row.by_group["accuracy_real"]


def test_a_detector_that_knows_nothing_is_at_chance_on_every_set():
    random = np.random.default_rng(1)
    for labels, _, groups in (videos(), videos(swapped=True)):
        row = sets.measure("Test", labels, random.random(200), groups, 0.4)
        for low, high in (row.intervals["auc"], row.by_group_intervals["auc"]):
            assert low < 0.5 < high


def test_the_table_has_a_line_for_each_set(tmp_path):
    _, scores, paths = singly(*videos(2))
    rows = [
        sets.measure("Test", *singly(*videos()), 0.4),
        sets.measure("c\udce9leb, df", *videos(1), 0.4),
        sets.measure("fakes", np.ones(200, int), scores, paths, 0.4),
    ]
    sets.write_csv(tmp_path / "sets.csv", rows)
    with (tmp_path / "sets.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines] == ["Test", "c\udce9leb, df", "fakes"]
    assert [(line["images"], line["groups"]) for line in lines] == [("200", ""), ("200", "40"), ("200", "")]
    assert {line["threshold"] for line in lines} == {"0.400000"}
    for line, row in zip(lines, rows, strict=True):
        for name in ("auc", "average_precision", "eer", "balanced_accuracy", "accuracy_real", "accuracy_fake"):
            cells = [float(line[column] or "nan") for column in (name, f"{name}_low", f"{name}_high")]
            assert cells == pytest.approx([row.metrics[name], *row.intervals[name]], abs=1e-6, nan_ok=True)
    assert float(lines[1]["group_auc"]) == pytest.approx(rows[1].by_group["auc"], abs=1e-6)
    assert float(lines[1]["group_auc_low"]) == pytest.approx(rows[1].by_group_intervals["auc"][0], abs=1e-6)
    assert lines[0]["group_auc"] == lines[0]["group_auc_high"] == lines[2]["auc"] == lines[2]["auc_low"] == ""
    assert float(lines[2]["accuracy_fake_low"]) <= float(lines[2]["accuracy_fake"])


def test_the_plot_shows_each_set_with_its_interval_and_its_groups():
    rows = [sets.measure("Test", *singly(*videos()), 0.4), sets.measure("celeb_df", *videos(1), 0.4)]
    axes = drawn(sets.plot(rows))
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        "Test\n200 images",
        "celeb_df\n200 images in 40 groups",
    ]
    texts = [text.get_text() for text in axes.texts]
    assert len(texts) == 3
    low, high = rows[1].by_group_intervals["auc"]
    assert texts[2] == f"{rows[1].by_group['auc']:.3f}  ({low:.3f} to {high:.3f})"
    chance, bar, point = axes.lines[:3]
    assert list(chance.get_xdata()) == [0.5, 0.5]
    assert tuple(bar.get_xdata()) == rows[0].intervals["auc"]
    assert list(point.get_xdata()) == [rows[0].metrics["auc"]]
    assert axes.get_ylim() == (1.5, -0.5)  # the first is at the top
    assert axes.get_xlim()[0] < 0.5 < high < axes.get_xlim()[1]


@pytest.mark.parametrize("count", [1, 20])
def test_long_and_odd_names_leave_room_for_the_plot(count):
    name = "/data/downloads/celeb_df_v2/$a$_\udce9/frames_cropped_to_128_pixels_margin_1.3"
    figure = sets.plot([sets.measure(name, *videos(), 0.4)] * count)
    axes = drawn(figure)
    label = axes.get_yticklabels()[0].get_text().split("\n")[0]
    assert label.startswith("/data/")
    assert label.endswith("128_pixels_margin_1.3")
    assert len(label) == sets.LETTERS
    box, page = axes.get_window_extent(), figure.bbox
    assert box.width > 0.45 * page.width
    for text in (*axes.get_yticklabels(), *axes.texts):
        extent = text.get_window_extent()
        assert page.x0 <= extent.x0 < extent.x1 <= page.x1


def test_a_set_of_one_class_or_of_few_images_is_on_the_plot():
    labels, scores, paths = singly(*videos())
    few = sets.measure("few", labels[:12], scores[:12], paths[:12], 0.4)
    fakes = sets.measure("fakes", labels[labels == 1], scores[labels == 1], paths[:100], 0.4)
    axes = drawn(sets.plot([fakes, few]))
    assert axes.get_yticklabels()[0].get_text() == "fakes\n100 images, one class only"
    assert [text.get_text() for text in axes.texts] == [f"{few.metrics['auc']:.3f}"]
