"""`python run.py` with a clock on its training and its evaluation.

`python -m tests.benchmarks.timed_run REPORT [OVERRIDES]` writes the seconds that each of the two took, as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any


def main(report: Path, overrides: list[str]) -> None:
    """Do what run.py does.

    Args:
        report: The file to write.
        overrides: Command line of run.py.
    """
    import run
    from deepfake import quiet

    quiet.import_tensorflow()
    from deepfake import experiment
    from deepfake.training import fit

    seconds: dict[str, float] = {}
    _clock(fit, "train", seconds)
    _clock(experiment, "_evaluate", seconds)
    sys.argv = ["run.py", *overrides]
    run.main()
    report.write_text(json.dumps({"training": seconds["train"], "evaluation": seconds["_evaluate"]}))


def _clock(module: ModuleType, name: str, seconds: dict[str, float]) -> None:
    function: Callable[..., Any] = getattr(module, name)

    @wraps(function)
    def clocked(*args: Any, **options: Any) -> Any:
        started = time.perf_counter()
        result = function(*args, **options)
        seconds[name] = time.perf_counter() - started
        return result

    setattr(module, name, clocked)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
