"""What of the server can be reached: the page, its own pictures, the API; no upload, no file of the project."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient

from deepfake.page.gate import MAX_CALL, MAX_UPLOAD, Gate

EXAMPLES = Path("/project/examples")


@pytest.fixture(scope="module")
def client() -> TestClient:
    inner = FastAPI()

    @inner.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE"])
    async def anything(path: str) -> PlainTextResponse:
        return PlainTextResponse("let through")

    return TestClient(Gate(inner, EXAMPLES))


NEEDED = """
 healthz config theme.css assets/index.js gradio_api/info gradio_api/queue/data gradio_api/call/predict/0123
gradio_api/file=/project/examples/1.jpg
"""
NOT_NEEDED = """
gradio_api/file=/etc/passwd gradio_api/file=/tmp/uploads/ab/face.jpg gradio_api/file=http://example.com/
gradio_api/file=/project/examples/../app.py gradio_api/file=/project/examples/%2e%2e/app.py
gradio_api/proxy=https://example.com/ gradio_api/vibe-code monitoring dev/reload detector.json
"""


@pytest.mark.parametrize("path", ["", *NEEDED.split()])
def test_what_the_page_needs_is_let_through(client: TestClient, path: str) -> None:
    assert client.get(f"/{path}").text == "let through"


@pytest.mark.parametrize("path", NOT_NEEDED.split())
def test_the_rest_is_not_there(client: TestClient, path: str) -> None:
    assert client.get(f"/{path}").status_code == 404
    assert client.post(f"/{path}").status_code == 404


def test_pictures_are_sent_and_judged(client: TestClient) -> None:
    assert client.post("/gradio_api/upload", content=b"x").text == "let through"
    assert client.post("/gradio_api/call/predict", json={}).text == "let through"
    assert client.put("/gradio_api/upload", content=b"x").status_code == 404
    assert client.delete("/").status_code == 404


def test_an_upload_says_how_long_it_is_and_is_not_endless(client: TestClient) -> None:
    assert client.post("/gradio_api/upload", content=iter([b"x"])).status_code == 411
    huge = client.post("/gradio_api/upload", content=b"x", headers={"content-length": str(MAX_UPLOAD + 1)})
    assert huge.status_code == 413
    assert "at most 200 MB" in huge.text


def test_so_does_any_other_request(client: TestClient) -> None:
    assert client.post("/gradio_api/call/predict", content=iter([b"{}"])).status_code == 411
    huge = client.post("/gradio_api/queue/join", content=b"{}", headers={"content-length": str(MAX_CALL + 1)})
    assert huge.status_code == 413


def test_what_the_server_trips_over_is_answered_without_a_traceback() -> None:
    async def trip(*_) -> None:
        raise KeyError("/a/path")

    said = TestClient(Gate(trip, EXAMPLES)).post("/gradio_api/call/predict", json={})
    assert (said.status_code, said.text) == (400, "This request is not understood.")
