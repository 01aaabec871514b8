"""What a sweep is going to do is known before it begins."""

import re
from pathlib import Path

import pytest

from deepfake import leaderboard, tracking
from deepfake.config import compose
from deepfake.errors import ConfigError
from deepfake.sweep import plan


def test_every_combination_is_a_job() -> None:
    planned = plan.expand(["augmentation=none,heavy", "trainer.epochs=3", "seed=1,2"])
    assert planned.varied == ["augmentation", "seed"]
    assert [job.chosen for job in planned.jobs] == [
        {"augmentation": "none", "seed": "1"},
        {"augmentation": "none", "seed": "2"},
        {"augmentation": "heavy", "seed": "1"},
        {"augmentation": "heavy", "seed": "2"},
    ]
    assert {job.config.trainer.epochs for job in planned.jobs} == {3}
    assert planned.jobs[2].config.augmentation.name == "heavy"


def test_what_is_typed_wins_over_the_configured_space() -> None:
    planned = plan.expand(["seed=1,2"], spaces=["seed=range(0,9)", "model.dropout=0.1,0.2"])
    assert [job.chosen for job in planned.jobs[:2]] == [
        {"seed": "1", "model.dropout": "0.1"},
        {"seed": "1", "model.dropout": "0.2"},
    ]


def test_a_new_key_is_named_without_its_plus() -> None:
    (first, _) = plan.expand(["+augmentation.jpeg={prob:1.0,range:[50,90]},{prob:0.5,range:[50,90]}"]).jobs
    assert first.chosen == {"augmentation.jpeg": "{prob:1.0,range:[50,90]}"}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["seed=1,2", "model.dropout=0.5,3"], r"^job 1 \(seed=1 model.dropout=3\): model.dropout=3: should be less"),
        (["model=cnn,cn"], r"^job 1 \(model=cn\): model=cn: no such choice"),
        (["model.dropout=interval(0,1)"], "does not support sweep type"),
        (["seed=1,,2"], "seed"),
    ],
)
def test_a_mistake_in_any_job_is_found_before_the_first_begins(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan.expand(overrides)


def test_of_a_search_only_what_is_fixed_is_known() -> None:
    planned = plan.expand(["model.dropout=interval(0.1,0.6)", "seed=choice(1,2)", "trainer.epochs=3"], trials=7)
    assert planned.varied == ["model.dropout", "seed"]
    assert planned.trials == 7
    (example,) = planned.jobs
    assert example.overrides == ["trainer.epochs=3"]


def test_a_finished_run_makes_a_job_needless(finished_run: dict, small: list[str]) -> None:
    same = plan.done(compose([*small, "trainer.profile=true", "dataset.cache_limit=3"]))
    assert same.info.run_id == finished_run["run_id"]
    for other in ("seed=9", "trainer.epochs=3", "augmentation=none", "tracking.experiment=another", "dataset.limit=9"):
        assert plan.done(compose([*small, other])) is None


def test_other_images_or_other_code_make_a_job_needed(
    finished_run: dict, small: list[str], make_faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"Train": 48, "Validation": 24, "Test": 24}
    moved = make_faces(tmp_path / "moved", counts)
    assert plan.done(compose([*small, f"dataset.root={moved}"])).info.run_id == finished_run["run_id"]
    (moved / "Test" / "Real" / "0000.png").unlink()
    assert plan.done(compose([*small, f"dataset.root={moved}"])) is None
    monkeypatch.setattr(tracking, "code_hash", lambda: "0")
    assert plan.done(compose(small)) is None


def test_a_job_goes_on_where_it_was_killed(home: Path, small: list[str]) -> None:
    from deepfake.data.dataset import load

    config = compose(small)
    with pytest.raises(KeyboardInterrupt), tracking.run(config, load(config.dataset)) as record:
        raise KeyboardInterrupt
    assert plan.done(config) is None  # without a checkpoint there is nothing to go on with
    record.checkpoint.parent.mkdir()
    record.checkpoint.touch()
    assert plan.done(config).info.run_id == record.id


def test_how_long_a_job_will_take(finished_run: dict, small: list[str]) -> None:
    past = leaderboard.rows()
    config = compose([*small, "trainer.epochs=6"])
    row = next(row for row in past if row["run_id"] == finished_run["run_id"])
    assert plan.estimate(config, [row]) == pytest.approx(3 * row["seconds"])
    assert plan.estimate(config, []) is None
    assert plan.estimate(compose([*small, "dataset.image_size=64"]), past) is None


def test_a_dry_run_says_what_would_be_run(
    finished_run: dict, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan.show(plan.expand([*small, "seed=0,9"]))
    shown = capsys.readouterr().out
    assert f"finished: run {finished_run['run_id'][:8]}" in shown
    assert re.search(r"1 of 2 jobs to be run, about \d+:\d\d one after another", shown)
    plan.show(plan.expand(["model.dropout=interval(0,1)", "model=cnn", "seed=3", "tracking.experiment=none"], trials=7))
    shown = capsys.readouterr().out
    assert "A search of 7 trials over model.dropout, how long they take no run tells yet." in shown
