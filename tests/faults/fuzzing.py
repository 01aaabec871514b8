"""Hypothesis by the clock: a property is tried on ever new examples until the time is up."""

import faulthandler
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

Case = TypeVar("Case")
SECONDS = float(os.environ.get("FUZZ_SECONDS", "4"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))  # of the first round; the next ones count on
HANG = 120  # seconds for one example: longer, and the process ends
LAST = Path(tempfile.gettempdir(), "deepfake-fuzz")  # where the last example lies if the process dies of it


def examples(check: Callable[[Case], None], strategy: SearchStrategy[Case], seconds: float = SECONDS) -> int:
    """Try a property until the time is up; the same examples each time, and more of them the longer it takes.

    Args:
        check: Raises where the property does not hold; Hypothesis then shows the smallest example it finds.
        strategy: Makes the examples.
        seconds: How long; at least one round of 50 is made.

    Returns:
        How many were tried; printed as well, which `pytest -s` shows.
    """
    LAST.mkdir(exist_ok=True)
    last, trace = LAST / f"{os.getpid()}.case", LAST / f"{os.getpid()}.hang"
    count, start = 0, time.monotonic()

    def counted(case: Case) -> None:
        nonlocal count
        count += 1
        last.write_bytes(case if isinstance(case, bytes) else repr(case).encode(errors="backslashreplace"))
        faulthandler.dump_traceback_later(HANG, exit=True, file=traced)
        try:
            check(case)
        finally:
            faulthandler.cancel_dump_traceback_later()

    options = settings(max_examples=50, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    with trace.open("w") as traced:
        for number in itertools.count(SEED):
            seed(number)(options(given(strategy)(counted)))()
            if time.monotonic() - start >= seconds:
                break
    for file in (last, trace):
        file.unlink()
    print(f"{check.__name__}: {count} examples, none of which broke it, in {time.monotonic() - start:.0f} s")
    return count
