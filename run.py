"""Train, evaluate and register a detector: `python run.py --help` shows the groups, `python run.py -m` sweeps them."""

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from deepfake import quiet
from deepfake.config import CONF, explain, home, validate
from deepfake.console import complain
from deepfake.errors import ConfigError, DeepfakeError

os.environ.setdefault("DEEPFAKE_HOME", str(home()))  # conf/config.yaml and every child process read it
TRACEBACKS = "HYDRA_FULL_ERROR" in os.environ


@hydra.main(config_path=str(CONF), config_name="config", version_base=None)
def main(composed: DictConfig) -> float:
    """Run one job; returns the validation AUC, for sweepers."""
    try:
        config = validate(composed)
        if config.resume:
            _refuse_overrides()
        quiet.import_tensorflow()
        from deepfake import experiment

        return experiment.run(config)
    except DeepfakeError as error:
        complain(error)
        if TRACEBACKS or HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # a sweep goes on with its other jobs, and Hydra then names the one that failed
        sys.exit(1)


def _refuse_overrides() -> None:
    extra = [override for override in HydraConfig.get().overrides.task if not override.startswith("resume=")]
    if extra:
        raise ConfigError(f"resume takes its settings from the run it continues; remove {' '.join(extra)}")


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra hands its errors over instead of printing them
    try:
        main()
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(130)
    except DeepfakeError:
        if TRACEBACKS:
            raise
        sys.exit(1)
    except (HydraException, ValueError) as error:
        group_given_a_value = str(error).startswith("Config group override")  # Hydra's own ValueError
        if TRACEBACKS or not (isinstance(error, HydraException) or group_given_a_value):
            raise
        complain(explain(error))
        sys.exit(1)
