"""A video, judged frame by frame and as a whole. Each frame is judged for itself: nothing looks at how they follow."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from deepfake.console import duration
from deepfake.data.faces import Framing, closer
from deepfake.data.video import sample
from deepfake.detector import Detector, Prediction

LETTERS = 70  # of a video's name on its plot


@dataclass(frozen=True)
class Moment:
    """A frame.

    Attributes:
        seconds: When it is shown, from the start of the video.
        prediction: What the detector says of it.
    """

    seconds: float
    prediction: Prediction


@dataclass(frozen=True)
class Timeline:
    """What a detector says of a video.

    Attributes:
        together: Of the frames together, as of `Detector.judge_together`.
        moments: The frames that were judged, in their order, at least one.
        frames: Number of frames that were looked at.
        faces: Number of those in which a face was found. They alone are judged; all are, and whole, where it is 0.
    """

    together: Prediction
    moments: list[Moment]
    frames: int
    faces: int


def judge(path: Path, detector: Detector, count: int) -> Timeline:
    """Judge a video.

    In each frame, the largest face is cut out as faces lay in the detector's training pictures. Frames are read one at
    a time, and only what the model sees of them is kept.

    Args:
        path: The file.
        detector: Judges the frames. If its card tells no framing, all frames are judged whole.
        count: Number of frames, evenly spread over the video.

    Returns:
        What was found.

    Raises:
        ImageError: If it is not a video that can be read.
    """
    framing = Framing(**detector.card.framing) if detector.card.framing else None
    times, close, whole = [], {}, {}
    for number, frame in enumerate(sample(path, count)):
        times.append(frame.seconds)
        face = closer(frame.pixels, framing) if framing else None
        if face is not None:
            close[number] = detector.prepare(face)
        elif not close:  # whole frames are wanted only as long as there is no face
            whole[number] = detector.prepare(frame.pixels)
    seen = close or whole
    predictions = detector.predict_many(list(seen.values()))
    moments = [Moment(times[number], found) for number, found in zip(seen, predictions, strict=True)]
    together = detector.judge_together([found.p_fake for found in predictions])
    return Timeline(together, moments, len(times), len(close))


def plot(timeline: Timeline, title: str, fake: str) -> Figure:
    """Draw P(fake) over time.

    Args:
        timeline: Of the video.
        title: The video's name.
        fake: Name of the positive class.

    Returns:
        A point for each frame, in the colour of the side of the threshold it is on, and the video's own P(fake), with
        the threshold and the band of Unsure.
    """
    from deepfake.evaluation import plots

    together = timeline.together
    times = [moment.seconds for moment in timeline.moments]
    scores = [moment.prediction.p_fake for moment in timeline.moments]
    colors = [plots.FAKE if score >= together.threshold else plots.REAL for score in scores]
    figure = plots.blank(8.4, 4)
    axes = figure.add_subplot(ylim=(-0.02, 1.02))
    plots.dress(axes, "", "Time", f"P({fake.lower()})")
    name = title.encode("utf-8", "replace").decode()  # of a name that is not valid UTF-8, no glyph can be drawn
    name = name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
    axes.set_title(name, fontweight="bold", color=plots.INK, parse_math=False)
    if together.unsure:
        axes.axhspan(*together.unsure, color="#EEEEEE", zorder=0, label="Unsure")
    axes.axhline(together.threshold, linestyle="--", color=plots.INK, label=f"Threshold {together.threshold:.3f}")
    label = f"All together {together.p_fake:.3f}: {together.verdict}"
    axes.axhline(together.p_fake, color=plots.CURVE, linewidth=2, label=label)
    axes.plot(times, scores, color=plots.PALE, linewidth=0.8)
    axes.scatter(times, scores, color=colors, s=22, zorder=3, label="A frame")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 1.5, 3, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: duration(seconds)))
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure
