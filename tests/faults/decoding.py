"""Decode a data set in a process of its own, `python -m tests.faults.decoding ROOT CACHE`, and print it as JSON."""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deepfake.data.cache import Decoded, Geometry, decode
from deepfake.data.index import scan
from deepfake.errors import DataError

GEOMETRY = Geometry(24, "squash")
NOBODY = 65534


def start(root: Path, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Begin to decode a data set into a folder of caches."""
    command = [sys.executable, "-m", "tests.faults.decoding", str(root), str(folder), *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, cwd=Path(__file__).resolve().parents[2])


def outcome(process: subprocess.Popen[bytes], seconds: float = 300) -> dict:
    """Wait for what it found; whoever crashes or hangs has failed."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


def decoded(root: Path, folder: Path) -> Decoded:
    """Decode a data set in this process."""
    return decode(root, scan(root, ["Real", "Fake"]), GEOMETRY, folder, limit=1.0)


def digest(found: Decoded) -> str:
    """Sum up all that a cache holds."""
    told = json.dumps([[f.path, f.label, f.split] for f in found.files] + [found.hashes, found.unreadable])
    return hashlib.sha256(
        b"".join([told.encode(), bytes(found.images), bytes(found.thumbnails), bytes(found.traits)])
    ).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--uid", type=int, help="Whose rights to take, once everything is imported.")
    parser.add_argument("--largest", type=int, help="Bytes that a file may have that is written.")
    parser.add_argument("--wait-for", type=Path, help="A file; the decoding begins as soon as it is there.")
    told = parser.parse_args()
    if told.uid is not None:
        with tempfile.TemporaryDirectory() as folder:  # imports what is imported late, and may not be readable then
            decoded(told.root, Path(folder))
        os.setgroups([])
        os.setgid(told.uid)
        os.setuid(told.uid)
    if told.largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (told.largest, told.largest))
    opened = []  # by `open`, whose mode is told without the b; not those that are mapped, or opened to write
    sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" and args[1] == "r" else None)
    while told.wait_for and not told.wait_for.exists():
        time.sleep(0.01)
    try:
        found = decoded(told.root, told.folder)
    except DataError as error:
        print(json.dumps({"error": str(error)}))
        return
    pixels = (found.place / "pixels.u8").stat()
    summary = {
        "paths": [file.path for file in found.files],
        "unreadable": dict(found.unreadable),
        "digest": digest(found),
        "written": [pixels.st_ino, pixels.st_mtime_ns],
        "opened": sum(Path(str(path)).is_relative_to(told.root) for path in opened),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
