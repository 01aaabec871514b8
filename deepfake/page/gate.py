"""What of Gradio's server a visitor may reach: what the page needs, and nothing else."""

import os
import re
from pathlib import Path
from typing import Any

from fastapi.responses import PlainTextResponse

MAX_UPLOAD = 200 * 2**20  # bytes of all files that are sent at once
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
        refused = self._refuse(scope) if scope["type"] != "lifespan" else None
        await (refused or self._app)(scope, receive, send)

    def _refuse(self, scope: dict[str, Any]) -> PlainTextResponse | None:
        path, method = scope["path"], scope.get("method")
        if method in ("GET", "HEAD"):
            allowed = READ.fullmatch(path) or self._is_ours(path)
        else:
            allowed = method == "POST" and WRITE.fullmatch(path)
        if not allowed:
            return PlainTextResponse("There is nothing here.", 404)
        if path.startswith("/gradio_api/upload") and method == "POST":
            return _refuse_upload(dict(scope["headers"]).get(b"content-length", b""))
        return None

    def _is_ours(self, path: str) -> bool:
        """Say whether it is one of the page's own pictures."""
        return path.startswith(FILE) and Path(os.path.normpath(path.removeprefix(FILE))).parent == self._folder


def _refuse_upload(length: bytes) -> PlainTextResponse | None:
    if not length.isdigit():
        return PlainTextResponse("Say how long the upload is: Content-Length is missing.", 411)
    if int(length) > MAX_UPLOAD:
        return PlainTextResponse(f"Too much at once: at most {MAX_UPLOAD // 2**20} MB are taken.", 413)
    return None
