"""Train, evaluate and register a detector: `python run.py --help` shows the groups, `python run.py -m` sweeps them."""

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from deepfake import quiet, threads
from deepfake.config import CONF, check_resume, explain, home, is_expected, validate
from deepfake.console import complain
from deepfake.errors import DeepfakeError, JobError, told
from deepfake.sweep import record

os.environ["DEEPFAKE_HOME"] = str(home())  # conf/config.yaml and every child process read it
TRACEBACKS = "HYDRA_FULL_ERROR" in os.environ


@hydra.main(config_path=str(CONF), config_name="config", version_base=None)
def main(composed: DictConfig) -> float:
    """Run one job; returns the validation AUC, for sweepers."""
    from deepfake.sweep import job

    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return job.run(validate(composed))
    try:
        config = validate(composed)
        check_resume(config, HydraConfig.get().overrides.task)
        quiet.import_tensorflow()
        from deepfake import experiment

        auc = experiment.run(config)
        job.write_result(Path(HydraConfig.get().runtime.output_dir), auc)
    except DeepfakeError as error:
        if TRACEBACKS:
            raise
        complain(error)
        sys.exit(1)
    return auc


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra hands its errors over instead of printing them
    try:
        with told(), record.concluded():
            main()
    except KeyboardInterrupt:
        complain("interrupted")
        threads.leave(130)
    except JobError:
        sys.exit(1)  # its sweep has named it
    except Exception as error:
        if TRACEBACKS or not is_expected(error):
            raise
        complain(explain(error))
        sys.exit(1)
