"""The runs as rows: which there are, and what can be asked of them."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Metric, Param, RunTag

from deepfake import leaderboard, tracking
from deepfake.errors import DeepfakeError, ModelError, TrackingError

SETTINGS = {"seed": "0", "augmentation.name": "none", "dataset.class_names": "['Real', 'Fake']"}


def row(auc: float | None = 0.9, status: str = "FINISHED", **settings: str) -> dict:
    """A row as `rows` returns it, with `augmentation_name="heavy"` for augmentation.name."""
    params = SETTINGS | {key.replace("_", ".", 1): value for key, value in settings.items()}
    metrics = {} if auc is None else {"validation/auc": auc, "test/auc": auc - 0.1, "test/loss": 1 - auc}
    return {
        "run_id": "0123456789abcdef", "status": status, "seconds": 60.0, "version": None, "alias": None, "job": None,
        "params": params, "metrics": metrics,
    }  # fmt: skip


@pytest.fixture
def record(home: Path) -> Callable[..., str]:
    """Record a finished run in a store of its own, with these tags, params and metrics; returns its id."""
    client = tracking.client()
    experiment = tracking.experiment_id(client, "faces")

    def create(auc: float = 0.9, start: int = 1_000_000, tags: dict | None = None, **params: str) -> str:
        run_id = client.create_run(experiment, start_time=start, run_name="cnn none faces").info.run_id
        client.log_batch(
            run_id,
            [Metric("validation/auc", auc, start, 0)],
            [Param(key, value) for key, value in (SETTINGS | params).items()],
            [RunTag(key, value) for key, value in ({"data.fingerprint": "f1"} | (tags or {})).items()],
        )
        client.set_terminated(run_id, "FINISHED", start + 65_000)
        return run_id

    return create


@pytest.fixture
def sweep(record: Callable[..., str]) -> Callable[..., list[str]]:
    """Record a sweep of two jobs; returns the ids of the sweep, the worse and the better job."""

    def create(start: int = 2_000_000) -> list[str]:
        ids = [record(start=start, tags={"sweep.varied": '["seed"]'})]
        for seed in ("1", "2"):
            tags = {"mlflow.parentRunId": ids[0], "sweep.job": seed, "override.seed": seed, "override.a": "b"}
            ids.append(record(0.5 + int(seed) / 10, start, tags, seed=seed))
        return ids

    return create


def say(run_id: str, scores: np.ndarray, labels: np.ndarray, groups: list[str]) -> None:
    """Record what a run says of its Test images."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["split", "path", "group", "label", "p_fake", "verdict"])
    writer.writerow(["Validation", "v.png", "v.png", "Fake", "0.5", "Fake"])
    for number, (score, label, group) in enumerate(zip(scores, labels, groups, strict=True)):
        writer.writerow(["Test", f"{number}.png", group, ("Real", "Fake")[label], f"{score:.6f}", "Fake"])
    tracking.client().log_text(run_id, text.getvalue(), "predictions.csv")


# ------------------------------------------------------------------------------------------------------------- rows


def test_a_run_outside_a_sweep(record: Callable[..., str]) -> None:
    run_id = record(tags={"command": "run.py seed=0"})
    assert leaderboard.rows() == [
        {
            "run_id": run_id, "name": "cnn none faces", "experiment": "faces", "status": "FINISHED",
            "start": 1_000_000, "seconds": 65.0, "version": None, "alias": None, "sweep": None, "job": None,
            "overrides": {}, "fingerprint": "f1", "command": "run.py seed=0",
            "params": SETTINGS, "metrics": {"validation/auc": 0.9},
        }
    ]  # fmt: skip


def test_the_best_run_comes_first_and_one_without_an_auc_last(record: Callable[..., str]) -> None:
    client = tracking.client()
    unfinished = client.create_run(tracking.experiment_id(client, "faces")).info.run_id
    worse, better = record(0.6), record(0.8)
    assert [found["run_id"] for found in leaderboard.rows()] == [better, worse, unfinished]
    assert leaderboard.rows()[2]["seconds"] is None
    assert len(leaderboard.rows("faces")) == 3
    assert leaderboard.rows("other") == []


def test_the_jobs_of_a_sweep(sweep: Callable[..., list[str]]) -> None:
    parent, worse, better = sweep()
    found = leaderboard.rows()
    assert [row["run_id"] for row in found] == [better, worse]
    assert (found[0]["sweep"], found[0]["job"], found[0]["overrides"]) == (parent, 2, {"a": "b", "seed": "2"})


def test_only_one_sweep(record: Callable[..., str], sweep: Callable[..., list[str]]) -> None:
    record()
    later, earlier = sweep(start=9_000_000), sweep(start=5_000_000)
    assert {row["run_id"] for row in leaderboard.rows(sweep=earlier[0])} == set(earlier[1:])
    assert {row["run_id"] for row in leaderboard.rows(sweep=later[0][:8])} == set(later[1:])
    assert {row["run_id"] for row in leaderboard.rows(sweep="last")} == set(later[1:])


def test_a_sweep_that_has_no_jobs_yet(record: Callable[..., str]) -> None:
    assert leaderboard.rows(sweep=record(tags={"sweep.varied": "[]"})) == []


def test_what_is_no_sweep(record: Callable[..., str]) -> None:
    run_id = record()
    with pytest.raises(TrackingError, match=f"run {run_id} is no sweep"):
        leaderboard.rows(sweep=run_id)
    with pytest.raises(TrackingError, match="no run abc'"):
        leaderboard.rows(sweep="abc'")
    with pytest.raises(TrackingError, match="there is no sweep yet"):
        leaderboard.rows(sweep="last")


def test_a_version_is_named_with_all_its_aliases(record: Callable[..., str]) -> None:
    run_id = record()
    client = tracking.client()
    client.create_registered_model("detector")
    for _ in range(3):
        client.create_model_version("detector", f"runs:/{run_id}/model", run_id)
    client.set_registered_model_alias("detector", "served", "2")
    client.set_registered_model_alias("detector", "champion", "2")
    (found,) = leaderboard.rows()
    assert (found["version"], found["alias"]) == ("2", "champion served")


# ------------------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("seed", "seed"),
        ("dataset.seed", "dataset.seed"),
        ("augmentation", "augmentation.name"),
        ("learning_rate", "optimizer.learning_rate"),
        ("test/auc", "test/auc"),
        ("seconds", "seconds"),
    ],
)
def test_what_a_person_types(typed: str, meant: str) -> None:
    rows = [row(), row(optimizer_learning_rate="0.1", dataset_seed="4")]
    rows[0]["metrics"]["epoch/learning_rate"] = 0.01
    assert leaderboard.full_name(rows, typed) == meant


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("auc", "no such setting or metric; did you mean test/auc or validation/auc?"),
        ("augmentatoin", "did you mean augmentation?"),
        ("learnign_rate", "did you mean optimizer.learning_rate?"),
        ("xyz", "`python -m deepfake runs --csv` has them all"),
        ("prob", "could be augmentation.blur.prob or augmentation.noise.prob: type more"),
        ("metrics", "no such setting or metric"),
    ],
)
def test_names_that_are_none(typed: str, said: str) -> None:
    blurred = {"augmentation_blur.prob": "0.5", "augmentation_noise.prob": "0.5"}
    with pytest.raises(DeepfakeError) as caught:
        leaderboard.full_name([row(optimizer_learning_rate="0.1", **blurred)], typed)
    assert said in str(caught.value)


# ------------------------------------------------------------------------------------------------- filter, sort, group


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        (["augmentation=heavy"], [1, 2]),
        (["augmentation = HEAVY", "seed!=3"], [2]),
        (["test/auc>0.75"], [2]),
        (["test/auc>=0.7"], [0, 2]),
        (["seed<10"], [0, 1]),
        (["seed<=10.0"], [0, 1, 2]),
        (["seed==3"], [1]),
        (["epochs=1e1"], [1]),
        (["epochs!=10"], [0, 2]),
        (["early_stopping=null"], [0]),
        (["early_stopping<8"], [1]),
        (["status=finished"], [0, 1, 2]),
        ([], [0, 1, 2]),
    ],
)
def test_conditions(conditions: list[str], kept: list[int]) -> None:
    rows = [
        row(0.8, trainer_early_stopping="None"),
        row(0.7, augmentation_name="heavy", seed="3", trainer_epochs="10", trainer_early_stopping="5"),
        row(0.9, augmentation_name="heavy", seed="10"),
    ]
    assert leaderboard.keep(rows, conditions) == [rows[number] for number in kept]


@pytest.mark.parametrize("condition", ["augmentation", "test/auc>", "=3", "seed=>3", "seed<>3", ""])
def test_what_is_no_condition(condition: str) -> None:
    with pytest.raises(DeepfakeError, match=r"should be like augmentation=heavy, test/auc>0.7 or seed!=3"):
        leaderboard.keep([], [condition])


def test_a_condition_on_what_no_row_has() -> None:
    with pytest.raises(DeepfakeError, match="did you mean augmentation"):
        leaderboard.keep([row()], ["augmentatoin=heavy"])


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("seed", [1, 0, 2, 3]),
        ("test/auc", [0, 2, 1, 3]),
        ("test/loss", [0, 2, 1, 3]),
        ("seconds", [1, 0, 2, 3]),
        ("early_stopping", [1, 2, 0, 3]),
    ],
)
def test_sorting(name: str, order: list[int]) -> None:
    rows = [
        row(0.9, seed="10", trainer_early_stopping="None"),
        row(0.7, seed="9", trainer_early_stopping="5"),
        row(0.8, seed="10", trainer_early_stopping="20"),
        row(None, seed="11"),
    ]
    rows[1]["seconds"] = 2.0
    assert leaderboard.order(rows, name) == [rows[number] for number in order]


def test_groups_average_the_finished_runs() -> None:
    rows = [
        row(0.7), row(0.9), row(None, "FAILED"),
        row(0.85, augmentation_name="heavy"),
        row(None, "KILLED", augmentation_name="standard"),
    ]  # fmt: skip
    heavy, none, standard = leaderboard.group(rows, ["augmentation"], ["validation/auc", "seconds"])
    assert heavy == {
        "params": {"augmentation.name": "heavy"},
        "runs": 1,
        "metrics": {"validation/auc": 0.85, "seconds": 60.0},
        "sd": {"validation/auc": None, "seconds": None},
    }
    assert (none["runs"], none["metrics"]["validation/auc"]) == (2, pytest.approx(0.8))
    assert none["sd"]["validation/auc"] == pytest.approx(0.02**0.5)
    assert (standard["runs"], standard["metrics"]["validation/auc"]) == (0, None)


def test_groups_can_be_sorted_by_a_setting_or_by_their_size() -> None:
    groups = leaderboard.group([row(seed="2"), row(seed="1"), row(seed="2")], ["seed"])
    assert [found["params"]["seed"] for found in leaderboard.order(groups, "seed")] == ["1", "2"]
    assert [found["runs"] for found in leaderboard.order(groups, "runs")] == [2, 1]


def test_over_seeds_names_what_differs_but_not_what_goes_with_a_choice() -> None:
    rows = [
        row(0.80, seed="1", augmentation_flip="0.0"),
        row(0.82, seed="2", augmentation_flip="0.0"),
        row(0.90, seed="1", augmentation_name="heavy", augmentation_flip="0.5"),
        row(0.70, seed="1", augmentation_name="heavy", augmentation_flip="0.5", trainer_epochs="1"),
    ]
    groups = leaderboard.over_seeds(rows)
    assert [(tuple(found["params"].values()), found["runs"]) for found in groups] == [
        (("heavy", None), 1), (("none", None), 2), (("heavy", "1"), 1),
    ]  # fmt: skip
    assert list(groups[0]["params"]) == ["augmentation.name", "trainer.epochs"]
    rows[2]["params"]["augmentation.flip"] = "0.1"
    assert "augmentation.flip" in leaderboard.over_seeds(rows)[0]["params"]


def test_where_a_run_is_recorded_sets_it_not_apart() -> None:
    rows = [row(0.80, seed="1", tracking_register="True"), row(0.82, seed="2", tracking_register="False")]
    (found,) = leaderboard.over_seeds(rows)
    assert (found["runs"], found["params"]) == (2, {})


def test_nothing_to_sort_or_group() -> None:
    assert leaderboard.order([], "seed") == leaderboard.group([], ["seed"]) == leaderboard.over_seeds([]) == []


def test_a_setting_that_a_run_lacks_differs() -> None:
    assert leaderboard.differing([row(), row(trainer_epochs="3")]) == ["trainer.epochs"]
    assert leaderboard.differing([row(), row(0.1)]) == []


def test_an_operation_is_one_setting() -> None:
    blurred = {"augmentation_blur.prob": "0.5", "augmentation_blur.range": "[0.0, 3.0]"}
    folded = leaderboard.folded(row(augmentation_noise="None", **blurred))
    assert folded["params"] == SETTINGS | {
        "augmentation.blur": "prob 0.5, range [0.0, 3.0]",
        "augmentation.noise": "None",
    }


# --------------------------------------------------------------------------------------------------------- compare


def test_a_run_is_found_by_id_version_or_alias() -> None:
    rows = [row() | {"run_id": "abcdef01"}, row() | {"run_id": "abcdef02", "version": "3", "alias": "champion served"}]
    assert leaderboard.pick(rows, "abcdef01") is rows[0]
    for which in ("abcdef02", "3", "champion", "served"):
        assert leaderboard.pick(rows, which) is rows[1]
    for which, said in [("abcdef", "several runs are"), ("abc", "no run is"), ("4", "no run is 4"), ("", "no run is")]:
        with pytest.raises(TrackingError, match=said):
            leaderboard.pick(rows, which)


@pytest.fixture
def pair(record: Callable[..., str]) -> tuple[str, str]:
    return record(0.6), record(0.8)


def detectors(count: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P(fake) by a worse and by a better detector, and the labels."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, count)
    better = random.normal(labels, 0.8)
    return 1 / (1 + np.exp(-better - random.normal(0, 1.5, count))), 1 / (1 + np.exp(-better)), labels


def compare(ids: tuple[str, str]) -> leaderboard.Interval:
    rows = leaderboard.rows()
    return leaderboard.compare(*(leaderboard.pick(rows, run_id) for run_id in ids))


def test_which_of_two_runs_is_better(pair: tuple[str, str]) -> None:
    worse, better, labels = detectors()
    singly = [f"{number}.png" for number in range(300)]
    say(pair[0], worse, labels, singly)
    say(pair[1], better, labels, singly)
    found = compare(pair)
    assert 0 < found.low < found.difference < found.high
    assert (found.images, found.groups, found.drawn) == (300, 300, "images")
    assert "B is higher" in found.verdict
    assert "over 300 images, drawn one by one: more than chance" in found.verdict
    other = compare(pair[::-1]).verdict
    assert other == found.verdict.replace("B is", "A is")


def test_runs_that_the_images_cannot_tell_apart(pair: tuple[str, str]) -> None:
    _, scores, labels = detectors()
    videos = [f"video {number // 10}" for number in range(300)]
    for run_id in pair:
        say(run_id, scores, labels, videos)
    found = compare(pair)
    assert (found.difference, found.low, found.high, found.groups, found.drawn) == (0, 0, 0, 30, "groups")
    assert "over 300 images in 30 groups, drawn group by group: it holds 0" in found.verdict


def test_too_few_videos_for_an_interval(pair: tuple[str, str]) -> None:
    _, scores, labels = detectors()
    for run_id in pair:
        say(run_id, scores, labels, [f"video {number // 100}" for number in range(300)])
    with pytest.raises(ModelError, match="3 groups of Test are too few"):
        compare(pair)


def test_predictions_that_are_lost(pair: tuple[str, str]) -> None:
    with pytest.raises(TrackingError, match=rf"run {pair[0][:8]} \(finished\) has no predictions.csv"):
        compare(pair)


def test_images_of_other_names(pair: tuple[str, str]) -> None:
    _, scores, labels = detectors()
    for run_id, count in zip(pair, (300, 299), strict=True):
        say(run_id, scores[:count], labels[:count], ["a"] * count)
    with pytest.raises(TrackingError, match="lie under other names"):
        compare(pair)


def test_labels_of_another_meaning(record: Callable[..., str]) -> None:
    pair = record(), record(**{"dataset.class_names": "['Fake', 'Real']"})
    _, scores, labels = detectors()
    for run_id in pair:
        say(run_id, scores, labels, [str(number) for number in range(300)])
    with pytest.raises(TrackingError, match="do not call the same images fake"):
        compare(pair)


def test_other_data(record: Callable[..., str]) -> None:
    with pytest.raises(TrackingError, match="the runs' data differ"):
        compare((record(), record(tags={"data.fingerprint": "f2"})))
