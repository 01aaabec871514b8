"""The benchmarks: what is measured against what, and what it should reach."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from tests.benchmarks import growth, ours, peers_albumentations, peers_keras, peers_torch
from tests.benchmarks.duel import Contestant, NotMeasured, Rounds, compete, once
from tests.benchmarks.pictures import write_folder
from tests.benchmarks.report import Row, Target, number

PROJECT = Path(__file__).resolve().parent.parent.parent
STANDARD = ("augmentation=standard",)
RATE = "images/s"


@dataclass(frozen=True)
class Setting:
    """Where and how thoroughly to measure.

    Attributes:
        scratch: Folder for images, caches and runs.
        out: Folder of the report.
        images: Number of Train images.
        rounds: Rounds that count.
        quick: Whether to leave out what takes minutes.
    """

    scratch: Path
    out: Path
    images: int
    rounds: int
    quick: bool

    @property
    def faces(self) -> Path:
        """The folder of images, drawn on first use."""
        return write_folder(self.scratch / "faces", self.images)

    @property
    def logs(self) -> Path:
        """The file to which contestants print."""
        return self.scratch / "contestants.log"

    def compete(self, *contestants: Contestant) -> list[Rounds]:
        """Let contestants take turns."""
        return compete(list(contestants), self.rounds, logs=self.logs)


@dataclass(frozen=True)
class Comparison:
    """A row to be: a peer, in one or more ways of doing it of which the fastest counts, and the target.

    Attributes:
        what: What is measured.
        against: The peer.
        peers: Its ways.
        target: The ratio to reach.
    """

    what: str
    against: str
    peers: list[Contestant]
    target: Target


def epochs(setting: Setting) -> Iterator[Row]:
    """An epoch of training, against three others' ways, all in turns."""
    root = setting.faces
    generator, dataset, torch = peers_keras.generator_epochs, peers_keras.dataset_epochs, peers_torch.epochs
    comparisons = [
        Comparison(
            "epoch from a folder of JPEGs",
            "Keras `ImageDataGenerator`, float32 `fit`",
            [Contestant("as it is", generator, (root,), ("scipy",))],
            Target(4, at_least=True),
        ),
        Comparison(
            "epoch from a folder of JPEGs",
            "`image_dataset_from_directory`, Keras `Random*` layers, float32 `fit`",
            [
                Contestant("decoding in each epoch", dataset, (root, False)),
                Contestant("decoded images cached in memory", dataset, (root, True)),
            ],
            Target(3, at_least=True),
        ),
        Comparison(
            "epoch from a folder of JPEGs",
            "PyTorch, bfloat16, DataLoader with OpenCV in 2 processes",
            [
                Contestant("channels last", torch, (root, True), ("torch",)),
                Contestant("channels first", torch, (root, False), ("torch",)),
            ],
            Target(2, at_least=True),
        ),
    ]
    outcomes = _compete(setting, Contestant("ours", ours.epochs, (root, STANDARD)), comparisons)
    inside = [Rounds([speed for speed, _ in outcome.results], outcome.absent) for outcome in outcomes]
    yield from _compare("epochs", inside, [replace(c, what=f"inside an {c.what}") for c in comparisons], RATE)
    whole = [Rounds([setting.images / spent for _, spent in outcome.results], outcome.absent) for outcome in outcomes]
    yield from _compare("epochs", whole, [replace(c, what=f"whole {c.what}") for c in comparisons], RATE)


def input_standard(setting: Setting) -> Iterator[Row]:
    """The training batches alone, `augmentation=standard`."""
    root, flow = setting.faces, peers_keras.generator_batches
    comparison = Comparison(
        "batches alone, `augmentation=standard`",
        "Keras `ImageDataGenerator`",
        [Contestant("as it is", flow, (root, 1), ("scipy",))],
        Target(15, at_least=True),
        (Contestant("two threads", flow, (root, 2), ("scipy",)),),
    )
    contestant = Contestant("ours", ours.batches, (root, "standard", False, 5))
    yield from _compare("input-standard", _compete(setting, contestant, [comparison]), [comparison], RATE)


def input_heavy(setting: Setting) -> Iterator[Row]:
    """The training batches alone, `augmentation=heavy`, from decoded images in memory."""
    root, needs = setting.faces, ("albumentations",)
    comparison = Comparison(
        "batches alone, `augmentation=heavy`, from memory",
        "Albumentations in 2 processes",
        [
            Contestant("PyTorch DataLoader", peers_albumentations.loader_batches, (root,), (*needs, "torch")),
            Contestant("pool of processes", peers_albumentations.pool_batches, (root,), needs),
        ],
        Target(1, at_least=True),
    )
    contestant = Contestant("ours", ours.batches, (root, "heavy", True, 1))
    yield from _compare("input-heavy", _compete(setting, contestant, [comparison]), [comparison], RATE)


def step(setting: Setting) -> Iterator[Row]:
    """A training step, against its convolutions and matrix products timed alone."""
    for dtype in ("float32", "bfloat16"):
        overrides = ("augmentation=none", f"trainer.precision={dtype}")
        mine, kernels = setting.compete(
            Contestant("ours", ours.epochs, (setting.faces, overrides)),
            Contestant("kernels", peers_keras.kernels, (dtype, 20)),
        )
        batch = ours.configure(setting.faces).trainer.batch_size
        times = {
            "ours": [1000 * batch / speed for speed, _ in mine.results],
            "kernels": [1000 * seconds for seconds in kernels.results],
        }
        yield _row(
            "step",
            f"training step in {dtype}",
            "the sum of its convolution and matrix-product kernels alone",
            "ms",
            times,
            Target(1.35, at_least=False),
            absent=mine.absent or kernels.absent,
        )


def cache(setting: Setting) -> Iterator[Row]:
    """Loading a data set for the second time."""
    [loads] = setting.compete(Contestant("loads", ours.loads, (setting.faces, setting.scratch)))
    times = {"again": [again for _, again in loads.results], "first": [first for first, _ in loads.results]}
    what = f"loading {setting.images + 16:,} images again"
    target = Target(0.1, at_least=False)
    yield _row("cache", what, "loading them for the first time", "s", times, target, absent=loads.absent)


def whole_run(setting: Setting) -> Iterator[Row]:
    """`python run.py` on the embedded data set: what it takes outside training and evaluation."""
    home, report = setting.scratch / "home_of_runs", setting.scratch / "timed_run.json"
    runs = []
    for _ in range(1 + (1 if setting.quick else 3)):  # the first run draws the data set and makes the database
        seconds = _seconds_of(["-m", "tests.benchmarks.timed_run", str(report)], home)
        parts = json.loads(report.read_text())
        runs.append({"outside": seconds - sum(parts.values()), "whole": seconds, **parts})
    what = "`python run.py`, outside training and evaluation"
    outside = [run["outside"] for run in runs]
    for name, chosen, target in (
        (", first run: draws its data set", runs[:1], None),
        (", later runs", runs[1:], Target(15, at_least=False)),
    ):
        parts = {key: median(run[key] for run in chosen) for key in chosen[0]}
        spent = "{whole:.1f} s in all, {training:.1f} s of training, {evaluation:.1f} s of evaluation".format(**parts)
        note = f"{'1 run' if len(chosen) == 1 else f'{len(chosen)} runs'}; {spent}"
        yield Row("run", what + name, "", "s", parts["outside"], target=target, note=note, rounds={"outside": outside})


def start(setting: Setting) -> Iterator[Row]:
    """What needs no TensorFlow answers at once."""
    home = setting.scratch / "home_of_runs"
    for name, arguments, code in (
        ("python run.py --help", ["--help"], 0),
        ("python run.py --cfg job", ["--cfg", "job"], 0),
        ("python run.py augmentation=hevy", ["augmentation=hevy"], 1),
    ):
        times = [_seconds_of(["run.py", *arguments], home, code) for _ in range(1 + setting.rounds)][1:]
        yield _row("start", f"`{name}`", "", "s", {"ours": times}, Target(1.5, at_least=False))


def predict(setting: Setting) -> Iterator[Row]:
    """Judging a single image."""
    detector, repeats = _detector(setting), 50 if setting.quick else 200
    mine, bare = setting.compete(
        Contestant("ours", ours.predict_array, (detector, repeats)),
        Contestant("bare", peers_keras.call_model, (detector, repeats)),
    )
    times = {"ours": [1000 * seconds for seconds in mine.results], "bare": [1000 * s for s in bare.results]}
    what, against = "`Detector.predict` of an array of 128 px", "the bare model in a `tf.function`"
    target = Target(1.5, at_least=False)
    yield _row("predict", what, against, "ms", times, target, absent=mine.absent or bare.absent)


def predict_folder(setting: Setting) -> Iterator[Row]:
    """Judging a folder."""
    detector, count = _detector(setting), 512
    files = sorted((setting.faces / "Train").rglob("*.jpg"))
    paths = (files * (count // len(files) + 1))[:count]
    comparison = Comparison(
        f"`Detector.predict_each` of {count} JPEGs",
        "one `Detector.predict` after another",
        [Contestant("one by one", ours.predict_singly, (detector, paths))],
        Target(3, at_least=True),
    )
    contestant = Contestant("ours", ours.predict_each, (detector, paths))
    yield from _compare("predict-folder", _compete(setting, contestant, [comparison]), [comparison], RATE)


def memory(setting: Setting) -> Iterator[Row]:
    """The memory that training on a large data set takes."""
    images, steps = 100_000, 100 if setting.quick else 300
    file = setting.scratch / "sparse.u8"
    held = once(ours.peak_memory, file, images, steps, logs=setting.logs) / 1e9
    size = file.stat().st_size / 1e9
    file.unlink()
    what = f"most memory held in {steps} steps on {images:,} images ({size:.1f} GB of pixels)"
    yield _row("memory", what, "", "GB", {"ours": [held]}, Target(2, at_least=False), note="1 run")


def growth_of_time(setting: Setting) -> Iterator[Row]:
    """How time grows with the number of images; draws performance_growth.png."""
    measured = growth.measure(setting.scratch, setting.logs, growth.SIZES[1] if setting.quick else growth.SIZES[-1])
    setting.out.mkdir(parents=True, exist_ok=True)
    growth.draw(measured).savefig(setting.out / "performance_growth.png")
    for name, times in measured.items():
        note = "1 run; " + ", ".join(f"{images:,} images {number(seconds)} s" for images, seconds in times.items())
        what = f"time of {name}: the power of the number of images to which it grows"
        yield Row("growth", what, "", "", growth.exponent(times), note=note, rounds={name: list(times.values())})


BENCHMARKS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "epochs": epochs,
    "input-standard": input_standard,
    "input-heavy": input_heavy,
    "step": step,
    "cache": cache,
    "run": whole_run,
    "start": start,
    "predict": predict,
    "predict-folder": predict_folder,
    "memory": memory,
    "growth": growth_of_time,
}


def _compete(setting: Setting, contestant: Contestant, comparisons: list[Comparison]) -> list[Rounds]:
    """Let ours and all ways of all peers take turns."""
    return setting.compete(contestant, *(peer for comparison in comparisons for peer in comparison.peers))


def _compare(benchmark: str, outcomes: list[Rounds], comparisons: list[Comparison], unit: str) -> Iterator[Row]:
    """Make a row of each comparison of what `_compete` gave."""
    mine, *theirs = outcomes
    for comparison in comparisons:
        ways, theirs = theirs[: len(comparison.peers)], theirs[len(comparison.peers) :]
        present = {c.name: way for c, way in zip(comparison.peers, ways, strict=True) if not way.absent}
        times = {"ours": mine.results}
        absent = mine.absent or ("" if present else ways[0].absent)
        if not absent:
            best = max(present, key=lambda name: present[name].result)
            times |= {best: present[best].results}
        notes = [f"{name} {number(way.result)} {unit}" for name, way in present.items()] if len(present) > 1 else []
        note = "; ".join(notes)
        yield _row(benchmark, comparison.what, comparison.against, unit, times, comparison.target, note, absent)


def _row(
    benchmark: str,
    what: str,
    against: str,
    unit: str,
    times: dict[str, list[float]],
    target: Target,
    note: str = "",
    absent: str = "",
) -> Row:
    """Make a row of the medians of ours, which stands first in `times`, and of the peer, if there is one."""
    if absent:
        return Row(benchmark, what, against, unit, target=target, absent=absent)
    ours_median, *peer_median = (median(values) for values in times.values())
    peer = peer_median[0] if peer_median else None
    return Row(benchmark, what, against, unit, ours_median, peer, target, note, rounds=times)


def _detector(setting: Setting) -> Path:
    folder = setting.scratch / "detector"
    if not folder.is_dir():
        once(ours.write_detector, folder, logs=setting.logs)
    return folder


def _seconds_of(arguments: list[str], home: Path, code: int = 0) -> float:
    """Time a Python command, run in the project with a home of its own."""
    environment = os.environ | {"DEEPFAKE_HOME": str(home)}
    started = time.perf_counter()
    process = subprocess.run([sys.executable, *arguments], cwd=PROJECT, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if process.returncode != code:
        raise NotMeasured(f"`python {' '.join(arguments)}` ended with {process.returncode}: {process.stderr[-400:]}")
    return seconds
