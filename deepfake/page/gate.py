"""What of Gradio's server a visitor may reach: what the page needs, and nothing else."""

import logging
import os
import re
from pathlib import Path
from typing import Any

from fastapi.responses import PlainTextResponse

MAX_UPLOAD = 200 * 2**20  # bytes of all files that are sent at once
MAX_CALL = 2**20  # bytes of any other request, which but names files and a model
# Gradio also serves every upload by its path, fetches addresses, and has pages for developers.
READ = re.compile(
    r"/|/(healthz|config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|pwa_icon)|/(assets|static)/.*"
    r"|/gradio_api/(info|openapi\.json|app_id|startup-events|upload_progress|queue/data|(heartbeat|call)/.*)"
)
WRITE = re.compile(r"/gradio_api/(upload|queue/join|cancel|reset|(run|api|call)/.*)/?")
FILE = "/gradio_api/file="


class Gate:
    """ASGI middleware that answers 404 to what the page does not need."""

    def __init__(self, app: Any, folder: Path) -> None:
        self._app, self._folder = app, folder

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif refused := self._refuse(scope):
            await refused(scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass a request on; where Gradio trips over it, say so, without a traceback."""
        begun = False

        async def answer(message: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception as error:
            logging.getLogger(__name__).warning("a request was not understood: %s", type(error).__name__)
            if not begun:
                await PlainTextResponse("This request is not understood.", 400)(scope, receive, send)

    def _refuse(self, scope: dict[str, Any]) -> PlainTextResponse | None:
        path, method = scope["path"], scope.get("method")
        if method in ("GET", "HEAD"):
            allowed = bool(READ.fullmatch(path)) or self._is_ours(path)
        else:
            allowed = method == "POST" and bool(WRITE.fullmatch(path))
        if not allowed:
            return PlainTextResponse("There is nothing here.", 404)
        if method == "POST":
            length = dict(scope["headers"]).get(b"content-length", b"")
            return _refuse_length(length, MAX_UPLOAD if path.startswith("/gradio_api/upload") else MAX_CALL)
        return None

    def _is_ours(self, path: str) -> bool:
        """Say whether it is one of the page's own pictures."""
        return path.startswith(FILE) and Path(os.path.normpath(path.removeprefix(FILE))).parent == self._folder


def _refuse_length(length: bytes, most: int) -> PlainTextResponse | None:
    if not length.isdigit():
        return PlainTextResponse("Say how long the request is: Content-Length is missing.", 411)
    if int(length) > most:
        return PlainTextResponse(f"Too much at once: at most {most // 2**20} MB are taken.", 413)
    return None
