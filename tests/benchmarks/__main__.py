"""Measure the project's speed: `python -m tests.benchmarks`, from the repository root; `--help` tells the options."""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.duel import NotMeasured
from tests.benchmarks.suite import BENCHMARKS, PROJECT, Setting

BUSY = 0.5  # load average from which a machine is not quiet


def main() -> int:
    """Run the chosen benchmarks and write the report; 1 if one could not be run."""
    options = _options()
    scratch = Path(tempfile.mkdtemp(prefix="benchmarks-", dir=options.scratch))
    _prepare_environment(scratch)
    setting = Setting(
        scratch, options.out.resolve(), options.images, 3 if options.quick else options.rounds, options.quick
    )
    about = {"rounds": setting.rounds, "images": setting.images, "quick": setting.quick}
    if os.getloadavg()[0] > BUSY:
        print(f"load average {os.getloadavg()[0]:.1f}: other work disturbs what is measured", file=sys.stderr)
    failed = False
    try:
        for name in options.only or BENCHMARKS:
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                rows = list(BENCHMARKS[name](setting))
            except NotMeasured as reason:
                rows, failed = [report.Row(name, name, "", "", absent=str(reason))], True
            report.write(setting.out, rows, list(BENCHMARKS), about)  # after each, so that an interruption loses one
            for row in rows:
                print(f"  {report.table_row(row)}", flush=True)
        if failed and setting.logs.is_file():
            shutil.copy(setting.logs, setting.out / "contestants.log")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"written: {setting.out}/performance.json and .md", file=sys.stderr)
    return int(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="3 rounds, and no epoch of 100,000 images")
    parser.add_argument("--images", type=int, default=1920, help="Train images, a multiple of 32 (default: 1920)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default: 5)")
    parser.add_argument("--out", type=Path, default=PROJECT / "docs", help="folder of the report (default: docs)")
    parser.add_argument("--scratch", type=Path, help="folder on a disk with 6 GB free (default: the system's)")
    options = parser.parse_args()
    if options.images < 160 or options.images % 32:
        parser.error("--images should be a multiple of 32, at least 160")
    return options


def _prepare_environment(scratch: Path) -> None:
    """Set what all contestants inherit."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ["DEEPFAKE_HOME"] = str(scratch / "home")
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else it asks the network for a newer version, and warns


if __name__ == "__main__":
    sys.exit(main())
