"""A search finds what is best, and an interrupted one goes on. With the real command: test_whole_sweeps.py."""

from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import pytest
from filelock import FileLock
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus

from deepfake.config import CONF
from deepfake.errors import ConfigError, DeepfakeError
from deepfake.sweep import search


class InThisProcess:
    """A launcher whose jobs are a function of their overrides."""

    def __init__(self, job: Callable[[dict[str, str]], float]) -> None:
        self.job, self.launched = job, []

    def launch(self, overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        return [self._run(initial_job_idx + place, given) for place, given in enumerate(overrides)]

    def _run(self, number: int, given: Sequence[str]) -> JobReturn:
        settings = dict(item.split("=", 1) for item in given)
        self.launched.append((number, settings))
        try:
            return JobReturn(_return_value=self.job(settings), status=JobStatus.COMPLETED, overrides=given)
        except DeepfakeError as error:
            return JobReturn(_return_value=error, status=JobStatus.FAILED, overrides=given)


@pytest.fixture
def searching(home: Path, small: list[str]) -> Callable[..., InThisProcess]:
    """Search over the dropout for the highest value of a function of the overrides."""

    def run(job: Callable[[dict[str, str]], float], trials: int, jobs: int = 1, fixed: str = "seed=0") -> InThisProcess:
        made = search.Search({"model.dropout": "interval(0.0, 0.9)"}, trials, jobs, 0, str(home / "searches"))
        made.launcher = InThisProcess(job)
        launched.append(made.launcher)
        made.sweep([*small, fixed])
        return made.launcher

    launched = []
    run.launched = launched
    return run


def near_a_quarter(settings: dict[str, str]) -> float:
    return 1 - abs(float(settings["model.dropout"]) - 0.25)


def test_it_finds_the_maximum(searching: Callable) -> None:
    tried = [near_a_quarter(settings) for _, settings in searching(near_a_quarter, 25).launched]
    assert len(tried) == 25
    assert max(tried) > 0.97


def test_trials_at_a_time_keep_their_numbers(searching: Callable) -> None:
    assert [number for number, _ in searching(near_a_quarter, 5, jobs=2).launched] == [0, 1, 2, 3, 4]


def test_an_interrupted_search_goes_on(searching: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    def interrupted(settings: dict[str, str]) -> float:
        seen.append(settings)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return near_a_quarter(settings)

    with pytest.raises(KeyboardInterrupt):
        searching(interrupted, 5)
    again = searching(near_a_quarter, 5).launched
    assert "2 of 5 trials already" in capsys.readouterr().out
    assert len(again) == 3
    assert again[0] == (3, seen[2])  # what was running comes first
    drawn = [settings["model.dropout"] for settings in seen + [settings for _, settings in again[1:]]]
    assert len(set(drawn)) == 5  # none is drawn twice
    assert searching(near_a_quarter, 5).launched == []
    assert "raise hydra.sweeper.n_trials" in capsys.readouterr().out
    assert len(searching(near_a_quarter, 6).launched) == 1


def test_a_trial_that_fails_is_told_at_the_end(searching: Callable) -> None:
    def failing(settings: dict[str, str]) -> float:
        if float(settings["model.dropout"]) > 0.45:
            raise DeepfakeError("too much")
        return near_a_quarter(settings)

    with pytest.raises(DeepfakeError, match="too much"):
        searching(failing, 10)
    assert len(searching.launched[-1].launched) == 10


def test_other_settings_are_another_search(searching: Callable) -> None:
    searching(near_a_quarter, 2)
    assert len(searching(near_a_quarter, 2, fixed="seed=5").launched) == 2


def test_the_same_search_twice_at_once_is_refused(searching: Callable, home: Path) -> None:
    searching(near_a_quarter, 1)
    (journal,) = (home / "searches").glob("*.journal")
    with FileLock(journal.with_suffix(".lock")), pytest.raises(DeepfakeError, match="going on already"):
        searching(near_a_quarter, 2)


def test_without_a_space_there_is_nothing_to_search(home: Path) -> None:
    with pytest.raises(ConfigError, match="search=optimizer"):
        search.Search(None, 3, 1, 0, str(home)).sweep(["seed=1"])


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("a=interval(0.1,0.5)", optuna.distributions.FloatDistribution(0.1, 0.5)),
        ("a=tag(log,interval(1e-4,1e-2))", optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)),
        ("a=int(interval(1,9))", optuna.distributions.IntDistribution(1, 9)),
        ("a=range(2,9,3)", optuna.distributions.IntDistribution(2, 8, step=3)),
        ("a=range(0.5,1.5,0.5)", optuna.distributions.FloatDistribution(0.5, 1.0, step=0.5)),
        ("a=x,y", optuna.distributions.CategoricalDistribution(["x", "y"])),
        ("a=choice([1,2],[3])", optuna.distributions.CategoricalDistribution(["[1,2]", "[3]"])),
    ],
)
def test_hydras_grammar_and_optunas_distributions(typed: str, expected: object) -> None:
    (override,) = OverridesParser.create().parse_overrides([typed])
    assert search.distribution(override) == expected


@pytest.mark.parametrize("typed", ["a=tag(log,interval(0,1))", "a=interval(3,1)", "a=range(3,3)"])
def test_a_space_that_holds_nothing(typed: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([typed])
    with pytest.raises(ConfigError, match="^a="):
        search.distribution(override)


@pytest.mark.parametrize("path", sorted((CONF / "search").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_ready_space_can_be_drawn_from(path: Path) -> None:
    from omegaconf import OmegaConf

    from deepfake.config import compose

    params = OmegaConf.load(path).hydra.sweeper.params
    parsed = OverridesParser.create().parse_overrides([f"{key}={space}" for key, space in params.items()])
    study = optuna.create_study()
    for _ in range(5):
        trial = study.ask({override.get_key_element(): search.distribution(override) for override in parsed})
        compose([f"{key}={value}" for key, value in trial.params.items()])
