"""What a model says of images, of folders of them, and of videos."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deepfake.cli.models import MODEL_HELP, TTA_HELP, load
from deepfake.console import duration, err, number, out, table
from deepfake.errors import DeepfakeError, ImageError

if TYPE_CHECKING:
    from deepfake.detector import Detector, Prediction
    from deepfake.timeline import Timeline

FIELDS = ("path", "p_fake", "verdict", "threshold", "spread", "error", "images", "seconds")
FRAMES_HELP = "Frames of a video that are judged, evenly spread over it."
GROUP_HELP = "Judge the images of a folder together, like frames of one video: a row a folder."
OUT_HELP = "Folder for a plot of each video: P(fake) over time."
ACROSS = 4  # moments in a line of a video's table


@dataclass(frozen=True)
class Judged:
    """A row: an image, a video, or a folder of images.

    Attributes:
        path: Of the file or folder.
        outcome: What the detector says of it, or what is wrong with it.
        images: Number of images or frames that were judged; 0 where something is wrong.
        timeline: Of a video.
    """

    path: Path
    outcome: "Prediction | ImageError"
    images: int
    timeline: "Timeline | None" = None


def predict(
    paths: Annotated[list[Path], typer.Argument(help="Images, videos, or folders of them.")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "champion",
    frames: Annotated[int, typer.Option(help=FRAMES_HELP, min=1, max=1000)] = 32,
    group_by: Annotated[Literal["folder"] | None, typer.Option(help=GROUP_HELP)] = None,
    tta: Annotated[bool, typer.Option("--tta", help=TTA_HELP)] = False,
    to: Annotated[Path | None, typer.Option("--out", help=OUT_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV; a video is a line, and one more for each frame.")] = False,
) -> None:
    """Say of each image, video or folder whether it looks real or fake."""
    files = list(_files(paths))
    if not files:
        raise DeepfakeError(f"no images or videos in {', '.join(map(str, paths))}")
    if to and not any(map(_is_video, files)):
        raise DeepfakeError("--out draws videos, and there are none")
    detector = load(model)
    judged = _judge(files, detector.with_views() if tta else detector, frames)
    judged = _told(_by_folder(judged, detector) if group_by else judged)
    judged = _drawn(judged, to, detector.card.class_names[1]) if to else judged
    if as_json:
        for one in judged:
            print(json.dumps(_row(one) | _frames(one)))
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, FIELDS)
        writer.writeheader()
        for one in judged:
            writer.writerows([_row(one), *_moments(one)])
    else:
        _show(list(judged), detector, tta)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    from deepfake.data import images, video

    for path in paths:
        if path.is_dir():
            suffixes = images.SUFFIXES | video.SUFFIXES
            yield from sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
        elif path.exists():
            yield path
        else:
            raise DeepfakeError(f"{path} is not there")


def _is_video(path: Path) -> bool:
    from deepfake.data.video import SUFFIXES

    return path.suffix.lower() in SUFFIXES


def _judge(files: Sequence[Path], detector: "Detector", frames: int) -> Iterator[Judged]:
    for are_videos, some in groupby(files, _is_video):
        if are_videos:
            yield from (_judge_video(path, detector, frames) for path in some)
            continue
        images = list(some)
        for path, outcome in zip(images, detector.predict_each(images), strict=True):
            yield Judged(path, outcome, int(not isinstance(outcome, ImageError)))


def _judge_video(path: Path, detector: "Detector", frames: int) -> Judged:
    from deepfake import timeline

    try:
        found = timeline.judge(path, detector, frames)
    except ImageError as error:
        return Judged(path, error, 0)
    return Judged(path, found.together, len(found.moments), found)


def _by_folder(judged: Iterable[Judged], detector: "Detector") -> Iterator[Judged]:
    """Judge the images of each folder together; a video stays what it is."""
    folders: dict[Path, list[Judged]] = {}
    for one in judged:
        if _is_video(one.path):
            yield one
        else:
            folders.setdefault(one.path.parent, []).append(one)
    for folder, images in folders.items():
        scores = [one.outcome.p_fake for one in _told(images) if not isinstance(one.outcome, ImageError)]
        nothing = ImageError(f"none of its {len(images)} images can be read")
        yield Judged(folder, detector.judge_together(scores) if scores else nothing, len(scores))


def _told(judged: Iterable[Judged]) -> Iterator[Judged]:
    """Say on the way what is wrong with a file, and what a video's verdict rests on."""
    for one in judged:
        if isinstance(one.outcome, ImageError):
            err.print(f"{one.path}: {one.outcome}", markup=False, style="yellow")
        if one.timeline and not one.timeline.faces:
            err.print(f"{one.path}: no face was found, so its frames are judged whole", markup=False, style="yellow")
        yield one


def _drawn(judged: Iterable[Judged], folder: Path, fake: str) -> Iterator[Judged]:
    """Draw on the way each video into a folder."""
    from deepfake.timeline import plot

    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for one in judged:
        if one.timeline:
            name = one.path.name if one.path.name not in taken else f"{len(taken) + 1}-{one.path.name}"
            taken.add(name)
            plot(one.timeline, one.path.name, fake).savefig(folder / f"{name}.png")
        yield one


def _row(one: Judged) -> dict[str, Any]:
    told = dict.fromkeys(FIELDS) | {"path": str(one.path), "images": one.images}
    if isinstance(one.outcome, ImageError):
        return told | {"error": str(one.outcome)}
    return told | {
        "p_fake": round(one.outcome.p_fake, 6),
        "verdict": one.outcome.verdict,
        "threshold": round(one.outcome.threshold, 6),
        "spread": round(one.outcome.spread, 6),
    }


def _moments(one: Judged) -> list[dict[str, Any]]:
    """Return the rows of a video's frames."""
    moments = one.timeline.moments if one.timeline else []
    return [_row(Judged(one.path, each.prediction, 1)) | {"seconds": round(each.seconds, 3)} for each in moments]


def _frames(one: Judged) -> dict[str, Any]:
    """Return what JSON tells of a video and of nothing else."""
    if not one.timeline:
        return {}
    kept = ("seconds", "p_fake", "verdict", "spread")
    frames = [{key: row[key] for key in kept} for row in _moments(one)]
    return {"sampled": one.timeline.frames, "with_face": one.timeline.faces, "frames": frames}


def _show(judged: Sequence[Judged], detector: "Detector", tta: bool) -> None:
    fake, band = detector.card.class_names[1], detector.card.unsure
    several = any(one.timeline or one.path.is_dir() for one in judged)
    columns = {
        "path" if several else "image": [str(one.path) for one in judged],
        "images": [str(one.images) for one in judged] if several else [],
        f"P({fake.lower()})": [number(_row(one)["p_fake"]) for one in judged],
        "±": [number(_row(one)["spread"]) if tta or one.images > 1 else "" for one in judged] if several or tta else [],
        "verdict": [_row(one)["verdict"] or str(one.outcome) for one in judged],
    }
    shown = {name: cells for name, cells in columns.items() if cells}
    table("", list(shown), list(zip(*shown.values(), strict=True)))
    for one in judged:
        if one.timeline:
            _show_moments(one.path, one.timeline)
    unsure = f", Unsure from {band[0]:.3f} to {band[1]:.3f}" if band else ""
    out.print(f"Threshold {detector.card.threshold:.3f}{unsure}. A probability, not evidence: it can be wrong.")


def _show_moments(path: Path, timeline: "Timeline") -> None:
    """Print the frames of a video, to be read downwards."""
    cells = [
        f"{_time(each.seconds):>8}  {each.prediction.p_fake:.4f}  {each.prediction.verdict}"
        for each in timeline.moments
    ]
    lines = -(-len(cells) // ACROSS)
    width = max(map(len, cells))
    left_out = timeline.frames - len(timeline.moments)
    why = f"; without {left_out} of {timeline.frames} frames, in which no face was found" if left_out else ""
    out.print(f"{path}, frame by frame{why}", markup=False)
    for line in range(lines):
        out.print("".join(f"{cell:<{width}}" for cell in cells[line::lines]).rstrip(), markup=False)
    out.print()


def _time(seconds: float) -> str:
    tenths = round(10 * seconds)
    return f"{duration(tenths // 10)}.{tenths % 10}"
