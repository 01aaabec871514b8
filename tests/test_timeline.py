"""A video with a face in it, judged frame by frame and as a whole."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.special import expit, logit

from deepfake import registry, timeline
from deepfake.config import PROJECT
from deepfake.data import faces
from deepfake.data.faces import Framing
from deepfake.data.images import read
from deepfake.data.video import sample
from deepfake.detector import UNSURE, Detector

FRAMING = Framing(size=0.6, x=0.5, y=0.5, found=1)
EXAMPLES = PROJECT / "deepfake" / "page" / "examples"
FACE, SIDE = read(EXAMPLES / "1-real.jpg"), 200


@pytest.fixture(scope="module")
def detector(finished_run: dict) -> Detector:
    """One that knows how faces lay in its training, and is unsure of nothing: what it says is not the point here."""
    found = Detector.load(registry.fetch(f"runs:/{finished_run['run_id']}/model"))
    return Detector(found.model, replace(found.card, framing=vars(FRAMING), unsure=None))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[bool]], Path]:
    """Write a video of ten frames a second, in each of which there is a face in a room, or the room alone."""

    def write(with_face: Sequence[bool]) -> Path:
        path = tmp_path_factory.mktemp("film") / "film.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (640, 360))
        for number, there in enumerate(with_face):
            room = np.full((360, 640, 3), np.linspace(90, 150, 640)[None, :, None], np.uint8)
            if there:
                left = 100 + 5 * number
                room[80 : 80 + SIDE, left : left + SIDE] = cv2.resize(FACE, (SIDE, SIDE))
            writer.write(room[..., ::-1])
        writer.release()
        return path

    return write


def test_the_verdict_is_that_of_the_pooled_log_odds_of_its_faces(film: Callable, detector: Detector) -> None:
    path = film([True] * 30)
    found = timeline.judge(path, detector, 6)
    singly = []
    for frame in sample(path, 6):
        face = faces.find(frame.pixels)[0]
        singly.append(detector.predict(faces.crop(frame.pixels, face, FRAMING)))
    assert [moment.prediction.p_fake for moment in found.moments] == pytest.approx([one.p_fake for one in singly])
    assert [moment.seconds for moment in found.moments] == pytest.approx([0.2, 0.7, 1.2, 1.7, 2.2, 2.7])
    scores = np.array([one.p_fake for one in singly])
    assert found.together.p_fake == pytest.approx(expit(logit(scores).mean()))
    assert found.together.spread == pytest.approx(scores.std(), abs=1e-6)
    assert found.together.verdict == ("Fake" if found.together.p_fake >= detector.card.threshold else "Real")
    assert (found.frames, found.faces) == (6, 6)


def test_frames_without_a_face_are_left_out(film: Callable, detector: Detector) -> None:
    found = timeline.judge(film([False] * 10 + [True] * 10 + [False] * 10), detector, 6)
    assert (found.frames, found.faces) == (6, 2)
    assert [moment.seconds for moment in found.moments] == pytest.approx([1.2, 1.7])


def test_where_no_frame_has_a_face_they_are_judged_whole(film: Callable, detector: Detector) -> None:
    path = film([False] * 30)
    found = timeline.judge(path, detector, 6)
    assert (found.frames, found.faces, len(found.moments)) == (6, 0, 6)
    expected = [detector.predict(frame.pixels).p_fake for frame in sample(path, 6)]
    assert [moment.prediction.p_fake for moment in found.moments] == pytest.approx(expected)


def test_a_detector_that_knows_no_framing_sees_whole_frames(film: Callable, detector: Detector) -> None:
    path = film([True] * 30)
    found = timeline.judge(path, Detector(detector.model, replace(detector.card, framing=None)), 2)
    expected = [detector.predict(frame.pixels).p_fake for frame in sample(path, 2)]
    assert [moment.prediction.p_fake for moment in found.moments] == pytest.approx(expected)


def test_views_and_unsure_are_as_for_pictures(film: Callable, detector: Detector) -> None:
    unsure = Detector(detector.model, replace(detector.card, unsure=(0, 1))).with_views()
    found = timeline.judge(film([True] * 10), unsure, 2)
    assert {found.together.verdict, *(moment.prediction.verdict for moment in found.moments)} == {UNSURE}
    assert all(moment.prediction.spread for moment in found.moments)


def test_the_plot_shows_each_frame_the_whole_and_what_verdicts_rest_on(film: Callable, detector: Detector) -> None:
    half = Detector(detector.model, replace(detector.card, unsure=(0.3, 0.6)))
    found = timeline.judge(film([True] * 10), half, 5)
    figure = timeline.plot(found, "a $very$ long name \udce9 " * 6, "Fake")
    figure.savefig(io.BytesIO())
    (axes,) = figure.axes
    shown = axes.collections[0].get_offsets()
    assert shown.tolist() == pytest.approx(
        np.array([(moment.seconds, moment.prediction.p_fake) for moment in found.moments])
    )
    heights = [line.get_ydata()[0] for line in axes.lines[:2]]
    assert heights == [half.card.threshold, found.together.p_fake]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "Unsure"
    assert f"{found.together.p_fake:.3f}: {found.together.verdict}" in labels[2]
    assert axes.title.get_window_extent().width < figure.bbox.width
    assert [tick.get_text() for tick in axes.get_xticklabels()][-1].startswith("0:0")
