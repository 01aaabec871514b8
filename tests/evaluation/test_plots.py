"""What a person sees of a run and of a detector's scores."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from deepfake.evaluation import metrics, plots

NAMES = ["Real", "Fake"]


@pytest.fixture
def judged():
    random = np.random.default_rng(7)
    labels = np.repeat([0, 1], [120, 80])
    return labels, 1 / (1 + np.exp(-random.normal(3 * labels - 1.5, 1.5)))


def png(figure):
    """The figure as the PNG file that is logged, decoded."""
    assert isinstance(figure, Figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB"))


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def words(figure):
    """Every text on a page or chart, apart from the ticks."""
    return [text.get_text() for text in figure.texts + [text for axes in figure.axes for text in axes.texts]]


def test_curves_have_a_panel_for_each_quantity_and_name_the_last_values():
    figure = plots.curves(
        {
            "loss": [0.7, 0.5, 0.25],
            "val_loss": [0.7, 0.6, 0.5],
            "accuracy": [0.5, 0.7, 0.9],
            "val_accuracy": [0.5, 0.6, 0.8],
            "val_auc": [0.5, 0.7, 0.875],
            "learning_rate": [1e-3, 1e-3, 1e-4],
        }
    )
    assert [axes.get_title() for axes in figure.axes] == ["Loss", "Accuracy", "AUC", "Learning rate"]
    assert legend(figure.axes[0]) == ["Train 0.25", "Validation 0.5"]
    assert legend(figure.axes[2]) == ["Validation 0.875"]
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "linear", "linear", "log"]
    assert list(figure.axes[0].lines[0].get_xdata()) == [1, 2, 3]
    assert {axes.get_xlabel() for axes in figure.axes} == {"Epoch"}
    height, width, _ = png(figure).shape
    assert 600 < height < width < 1400


@pytest.mark.parametrize(
    "history",
    [
        {"loss": [0.7], "val_auc": [0.5]},
        {"loss": [0.7], "learning_rate": [0.0]},
        {"loss": [0.7, np.nan], "learning_rate": [1e-3, 0.0]},
        {"loss": [0.7, 0.6, 0.5], "val_loss": [0.7], "accuracy": []},
    ],
    ids=["one epoch", "rate of zero", "diverged", "uneven"],
)
def test_curves_of_a_short_or_odd_history(history):
    figure = plots.curves(history)
    assert figure.axes[0].get_title() == "Loss"
    assert figure.axes[0].lines[0].get_marker() == "o"
    assert (png(figure) < 100).any()


def test_curves_of_a_run_without_an_epoch_say_so():
    figure = plots.curves({})
    assert "no epoch has ended" in words(figure)
    png(figure)


def test_roc_names_the_auc_and_marks_the_threshold(judged):
    labels, scores = judged
    values = metrics.compute(labels, scores, 0.3)
    figure = plots.roc(labels, scores, 0.3)
    (axes,) = figure.axes
    assert axes.get_title() == "ROC"
    assert f"AUC {values['auc']:.3f}, EER {values['eer']:.3f}" in legend(axes)
    marked = axes.lines[-1]
    assert marked.get_label() == "Threshold 0.300"
    assert marked.get_xydata()[0] == pytest.approx([1 - values["accuracy_real"], values["accuracy_fake"]])
    assert png(figure).shape == (528, 638, 3)


def test_precision_recall_names_the_average_precision_and_marks_the_threshold(judged):
    labels, scores = judged
    values = metrics.compute(labels, scores, 0.3)
    figure = plots.precision_recall(labels, scores, 0.3)
    (axes,) = figure.axes
    assert axes.get_xlabel().startswith("Recall")
    assert axes.get_ylabel().startswith("Precision")
    assert f"AP {values['average_precision']:.3f}" in legend(axes)
    assert axes.lines[-1].get_label() == f"Threshold 0.300, F1 {values['f1']:.3f}"
    assert axes.lines[-1].get_xydata()[0] == pytest.approx([values["recall"], values["precision"]])
    assert png(figure).shape == (528, 638, 3)


def test_confusion_counts_rows_of_true_classes():
    labels = np.array([0] * 4 + [1] * 5)
    scores = np.array([0.1, 0.2, 0.3, 0.6, 0.9, 0.9, 0.5, 0.4, 0.2])
    figure = plots.confusion(labels, scores, 0.5, NAMES)
    (axes,) = figure.axes
    assert words(figure) == ["3", "75.0%", "1", "25.0%", "2", "40.0%", "3", "60.0%"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == NAMES
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Called", "True class")
    assert axes.get_ylim() == (2, 0)  # Real, the first row, is at the top
    png(figure)


def test_histogram_shows_each_class_in_its_colour_and_the_threshold(judged):
    labels, scores = judged
    figure = plots.histogram(labels, scores, 0.3, NAMES)
    (axes,) = figure.axes
    found = int(np.sum(scores[labels == 1] >= 0.3))
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[1:] == [f"Fake: {found} of 80 right ({found / 80:.1%})", "Threshold 0.300"]
    assert texts[0].startswith("Real: ")
    for filled in axes.patches[::2]:
        assert filled.get_data().values.sum() == pytest.approx(100)
    assert axes.get_xlim() == pytest.approx((0, 1), abs=0.02)
    assert axes.lines[0].get_xdata()[0] == 0.3
    png(figure)


@pytest.mark.parametrize("labels", [[], [0], [1], [1, 1, 1], [0, 1]])
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_few_images_or_one_class_still_give_pictures(labels, score):
    labels = np.array(labels, int)
    scores = np.full(len(labels), score)
    for figure in (
        plots.roc(labels, scores, 0.5),
        plots.precision_recall(labels, scores, 0.5),
        plots.confusion(labels, scores, 0.5, NAMES),
        plots.histogram(labels, scores, 0.5, NAMES),
    ):
        assert (png(figure) < 200).any()


def test_curves_over_thresholds_of_one_class_say_what_they_need():
    for draw in (plots.roc, plots.precision_recall):
        assert "needs Real and Fake images" in words(draw(np.ones(3, int), np.array([0.2, 0.5, 0.9]), 0.5))


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (8, 1), (9, 2), (64, 8)])
def test_a_sheet_shows_every_picture_with_its_caption(count, rows):
    images = np.zeros((count, 128, 128, 3), np.uint8)
    captions = [f"Fake {number}" for number in range(count)]
    figure = plots.sheet(images, captions, "Most wrong Test images")
    assert words(figure) == ["Most wrong Test images", *captions]
    picture = png(figure)
    assert rows * 128 < picture.shape[0] < rows * 128 + rows * 30 + 100
    assert np.count_nonzero((picture == 0).all(axis=2)) == pytest.approx(count * 128 * 128, rel=0.03)


def test_a_sheet_keeps_the_pixels_of_its_pictures():
    noise = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), np.uint8)
    drawn = png(plots.sheet(noise, ["noise"], "Augmented Train images"))
    corners = np.argwhere((drawn == noise[0, 0, 0]).all(axis=2))
    assert any(np.array_equal(drawn[y : y + 128, x : x + 128], noise[0]) for y, x in corners)


@pytest.mark.parametrize("side", [16, 32, 100])
def test_small_pictures_are_enlarged_to_at_least_110_pixels(side):
    drawn = png(plots.sheet(np.full((1, side, side, 3), (255, 0, 0), np.uint8), ["red"], "Small"))
    red = (drawn == (255, 0, 0)).all(axis=2)
    assert red.any(axis=0).sum() >= 110
    assert red.any(axis=0).sum() == red.any(axis=1).sum()


def test_large_pictures_are_shrunk():
    drawn = png(plots.sheet(np.full((8, 512, 512, 3), (255, 0, 0), np.uint8), ["red"] * 8, "Large"))
    assert drawn.shape[1] < 2200


def test_long_captions_are_broken_and_dollar_signs_are_not_mathematics():
    caption = "$a__b$/long_path_to_some_video_frame_0123.jpg\nReal 0.99"
    figure = plots.sheet(np.zeros((1, 128, 128, 3), np.uint8), [caption], "Most wrong")
    text = words(figure)[1]
    assert text.replace("\n", "") == caption.replace("\n", "")
    assert max(map(len, text.split("\n"))) < 22
    png(figure)


def test_a_sheet_without_pictures_says_so():
    figure = plots.sheet(np.zeros((0, 128, 128, 3), np.uint8), [], "Most wrong Test images")
    assert words(figure) == ["Most wrong Test images", "none to show"]
    png(figure)
