"""TensorFlow without its start-up chatter, which would bury the lines that a person should read, and without delay."""

import atexit
import gc
import os
import sys
import tempfile
from pathlib import Path

from deepfake import threads


def import_tensorflow() -> None:
    """Import TensorFlow; what its C++ code writes to the terminal meanwhile is shown only if the import fails."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    threads.bound_tensorflow()
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        gc.disable()  # nothing that an import makes is garbage, and looking for it takes long: now, later, at the end
        try:
            import tensorflow

            if not any(Path("/dev").glob("nvidia*")):  # that there is no GPU is no news; that one fails would be
                tensorflow.config.list_physical_devices("GPU")
        except BaseException:
            chatter.seek(0)
            os.write(terminal, chatter.read())
            raise
        finally:
            gc.freeze()
            gc.enable()
            os.dup2(terminal, 2)
            os.close(terminal)
    atexit.register(gc.freeze)
