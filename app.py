"""The page: put in a picture, read whether it looks real or fake. The same file serves here and on a Space."""

import argparse
import os
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.errors import DeepfakeError, told

if TYPE_CHECKING:
    import gradio as gr

    from deepfake.page.models import Models

HERE = Path(__file__).resolve().parent
SESSIONS = 500  # visitors of whom Gradio keeps what they were shown last


def serve(models: "Models", **where: Any) -> tuple["gr.Blocks", str]:
    """Open the page.

    Args:
        models: What it serves, loaded and warm.
        where: `server_name` and `server_port`, as of Gradio's `launch`.

    Returns:
        The page, which serves until it is closed, and its address. `/healthz` answers 200 while it serves.
    """
    from fastapi.middleware import Middleware
    from fastapi.responses import PlainTextResponse
    from fastapi.routing import APIRoute

    from deepfake.page.gate import Gate
    from deepfake.page.layout import CSS, EXAMPLES, THEME, build
    from deepfake.page.uploads import MAX_FILE_SIZE

    page = build(models)
    health = APIRoute("/healthz", lambda: PlainTextResponse("ready"))
    _, url, _ = page.launch(
        **where,
        app_kwargs={"routes": [health], "middleware": [Middleware(Gate, folder=EXAMPLES)]},
        css_paths=CSS,
        theme=THEME,
        max_file_size=MAX_FILE_SIZE,
        prevent_thread_lock=True,
        footer_links=["api"],
        run_history=False,
        state_session_capacity=SESSIONS,
        quiet=True,
    )
    return page, url


def main() -> None:
    """Load the model, open the page and serve it until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a version, alias, run id, best:METRIC, URI or path (default: the champion)")
    everybody = "0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1"  # a Space is asked from outside
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", everybody))
    parser.add_argument("--port", type=int, default=int(os.environ.get("GRADIO_SERVER_PORT", "7860")))
    arguments = parser.parse_args()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1000000"  # statistics for nobody, at a fifth of the page's time
    os.environ["PILLOW_BLOCK_SIZE"] = "64m"  # from 32 MB on, memory goes back to the system when it is free
    warnings.filterwarnings("ignore", module="PIL")  # of damaged pictures, with paths of this machine
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # which deletes what follows
    with tempfile.TemporaryDirectory(prefix="deepfake-uploads-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # what visitors send is deleted with it, at the latest
        from deepfake.page.models import find

        try:
            with told():
                models = find(arguments.model, HERE)
        except DeepfakeError as error:
            sys.exit(f"Error: {error}")
        page, url = serve(models, server_name=arguments.host, server_port=arguments.port)
        print(f"Serving {models.get(None).name} on {url}  (Ctrl-C ends it)", flush=True)
        page.block_thread()


if __name__ == "__main__":
    main()
