"""Train, evaluate and register a detector: `python run.py --help` shows the groups, `python run.py -m` sweeps them."""

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from deepfake import quiet, sweep
from deepfake.config import CONF, check_resume, explain, home, is_hydras, validate
from deepfake.console import complain
from deepfake.errors import DeepfakeError

os.environ.setdefault("DEEPFAKE_HOME", str(home()))  # conf/config.yaml and every child process read it
TRACEBACKS = "HYDRA_FULL_ERROR" in os.environ


@hydra.main(config_path=str(CONF), config_name="config", version_base=None)
def main(composed: DictConfig) -> float:
    """Run one job; returns the validation AUC, for sweepers."""
    try:
        config = validate(composed)
        job = HydraConfig.get()
        check_resume(config, job.overrides.task)
        if job.mode == RunMode.MULTIRUN:
            return sweep.run_job(job.overrides.task, Path(job.runtime.output_dir))
        quiet.import_tensorflow()
        from deepfake import experiment

        auc = experiment.run(config)
        sweep.write_result(Path(job.runtime.output_dir), auc)
        return auc
    except DeepfakeError as error:
        complain(error)
        if TRACEBACKS or HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # a sweep goes on with its other jobs, and Hydra then names the one that failed
        sys.exit(1)


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra hands its errors over instead of printing them
    try:
        main()
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(130)
    except DeepfakeError as error:
        if TRACEBACKS:
            raise
        sweep.name_failures(error)
        sys.exit(1)
    except (HydraException, ValueError) as error:
        if TRACEBACKS or not is_hydras(error):
            raise
        complain(explain(error))
        sys.exit(1)
