"""A search with Optuna: each trial is a job of a sweep, and where the search was interrupted, it goes on.

Hydra's own plugin is made for Optuna 2, whose stores no longer work with today's SQLAlchemy; with its store in memory a
search cannot go on. Here the trials lie in Optuna's journal file, one for each search.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper

from deepfake.config import parse
from deepfake.console import out
from deepfake.errors import ConfigError, DeepfakeError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

INSTEAD_OF = "instead_of"  # attribute of a trial: the number of the interrupted one that it repeats


class Search(Sweeper):
    """Maximise what the jobs return, their AUC on Validation.

    The sampler is the Tree-structured Parzen Estimator (Bergstra et al. 2011).

    Args:
        params: The search space: overrides whose values are `interval`, `range`, `choice` or `glob`.
        n_trials: Number of trials, those of an interrupted search counted.
        n_jobs: Trials at a time, for launchers that run several.
        seed: Of the sampler.
        folder: Where the journals lie.
    """

    def __init__(self, params: Mapping[str, Any] | None, n_trials: int, n_jobs: int, seed: int, folder: str) -> None:
        self.params, self.n_trials, self.n_jobs = params or {}, n_trials, n_jobs
        self.seed, self.folder = seed, Path(folder)

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Take what Hydra gives."""
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that are left.

        Args:
            arguments: The overrides that were typed; those with a space are searched over, the others hold for all.

        Raises:
            ConfigError: If there is no space.
            DeepfakeError: If the same search is going on already, or what the last job that failed raised.
        """
        parsed = parse([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        space = {key: distribution(item) for key, item in parsed.items() if item.is_sweep_override()}
        fixed = [str(item.input_line) for item in parsed.values() if not item.is_sweep_override()]
        if not space:
            raise ConfigError(
                "there is nothing to search over: choose a space, like search=optimizer, or type one, "
                "like 'optimizer.learning_rate=tag(log,interval(1e-4,1e-2))'"
            )
        failed = None
        with self._study(space, fixed) as study:
            while (left := self.n_trials - count_done(study)) > 0:
                for result in self._launch(study, space, fixed, min(self.n_jobs, left)):
                    failed = result if result.status == JobStatus.FAILED else failed
        if failed:
            _ = failed.return_value  # raises what the job raised

    def _launch(
        self, study: "Study", space: dict[str, "BaseDistribution"], fixed: list[str], jobs: int
    ) -> Sequence[JobReturn]:
        trials = [study.ask(space) for _ in range(jobs)]  # their numbers follow each other
        overrides = [[*fixed, *(f"{key}={value}" for key, value in trial.params.items())] for trial in trials]
        results = self.launcher.launch(overrides, initial_job_idx=trials[0].number)
        for trial, result in zip(trials, results, strict=True):
            if result.status == JobStatus.COMPLETED:
                study.tell(trial, result.return_value)
                best = f"best {study.best_value:.4f}, trial {study.best_trial.number}"
                out.print(f"Trial {trial.number}: validation AUC {result.return_value:.4f}  [dim]({best})[/dim]")
            else:
                study.tell(trial, state=_state().FAIL)
        return results

    @contextmanager
    def _study(self, space: dict[str, "BaseDistribution"], fixed: list[str]) -> Iterator["Study"]:
        """Open the journal of this very search: of this space, these settings, these images and this code."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        from deepfake.config import compose, result_hash
        from deepfake.data.dataset import load
        from deepfake.tracking import code_hash

        settings = compose(fixed)
        same = [sorted(map(str, space.items())), result_hash(settings), load(settings.dataset).fingerprint, code_hash()]
        name = hashlib.sha256(json.dumps(same).encode()).hexdigest()[:16]
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / f"{name}.lock", timeout=0):
                storage = JournalStorage(JournalFileBackend(str(self.folder / f"{name}.journal")))
                study = optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
                # another stream than before the interruption, or the first trials would be drawn again
                study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.trials))
                _repeat_interrupted(study)
                if done := count_done(study):
                    more = "" if done < self.n_trials else "; for more of them, raise hydra.sweeper.n_trials"
                    out.print(f"This search has {done} of {self.n_trials} trials already{more}.")
                yield study
        except Timeout:
            raise DeepfakeError(f"this very search is going on already ({self.folder}/{name}.journal)") from None


def distribution(override: Override) -> "BaseDistribution":
    """Turn a sweep in Hydra's grammar into the distribution that Optuna draws from.

    Args:
        override: With `interval` (of floats, or of integers by `int(...)`; logarithmic by `tag(log, ...)`), `range`,
            `choice` or `glob`.

    Returns:
        The distribution; a choice is drawn as it is typed.

    Raises:
        ConfigError: If it holds nothing, or `log` is asked for of a range that reaches zero.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep: Any = override.value()  # what it is, Hydra tells only by these questions
    try:
        if override.is_interval_sweep():
            whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
            return (IntDistribution if whole else FloatDistribution)(sweep.start, sweep.end, log="log" in sweep.tags)
        if override.is_range_sweep():
            values = list(sweep.range())
            kind = IntDistribution if isinstance(values[0], int) else FloatDistribution
            return kind(values[0], values[-1], step=sweep.step)
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{override.input_line}: {error}") from error


def count_done(study: "Study") -> int:
    """Return the number of trials that have ended, one that was interrupted and its repetition counted as one."""
    trials = study.get_trials(deepcopy=False)
    repeated = sum(INSTEAD_OF in trial.user_attrs for trial in trials)
    return sum(trial.state.is_finished() for trial in trials) - repeated


def _repeat_interrupted(study: "Study") -> None:
    """Put again at the head of the queue what was running when the search was interrupted."""
    for trial in study.get_trials(deepcopy=False, states=(_state().RUNNING,)):
        study.tell(trial.number, state=_state().FAIL)
        study.enqueue_trial(trial.params, user_attrs={INSTEAD_OF: trial.number})


def _state() -> Any:
    from optuna.trial import TrialState

    return TrialState
