"""What a hostile visitor sends: every file gets a verdict or one clear line, and the page goes on as before."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.page.mutations import SECRET, hostile, pictures, png

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = 6
META = {"_type": "gradio.FileData"}
VERDICTS = ("Real", "Fake", "Unsure")
UNREADABLE = re.compile(
    r"This file cannot be judged: (an empty file|not an image; .+|(more than )?\d+ megapixels; at most \d+ are read"
    r"|\d+ pixels long; at most \d+ are read|an image in too many pieces; save it anew|floating-point pixels, .+"
    r"|a damaged or incomplete image \(\w+\))\."
)
TRACE = re.compile(r'Traceback|File "|site-packages')


@dataclass(frozen=True)
class Server:
    """A page that runs as a process of its own, so that its memory, its output and its files can be looked at."""

    url: str
    process: subprocess.Popen
    folder: Path

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60)

    def is_well(self) -> bool:
        return self.process.poll() is None and httpx.get(f"{self.url}/healthz", timeout=10).text == "ready"

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def uploads(self) -> list[Path]:
        (folder,) = self.folder.glob("deepfake-uploads-*")
        return [Path(place, name) for place, _, names in os.walk(folder) for name in names]  # some go meanwhile

    def memory(self, what: str) -> float:
        """Return megabytes: `VmRSS`, those in use now, or `VmHWM`, the most so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{what}:\s+(\d+) kB", status)[1]) / 1024


@pytest.fixture(scope="module")
def server(
    finished_run: dict, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The champion's page, as `python app.py` serves it."""
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/healthz"), 90)
        yield Server(f"http://127.0.0.1:{port}", process, folder)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def wait_for(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.2)


def send(client: httpx.Client, name: str, content: bytes) -> httpx.Response:
    return client.post("/gradio_api/upload", files={"files": (name, content)})


def ask(client: httpx.Client, data: list, api: str = "predict") -> tuple[str, str]:
    """Ask for an answer; return how it ended, `complete` or `error`, and what was said."""
    event = client.post(f"/gradio_api/call/{api}", json={"data": data}).json()["event_id"]
    end = client.get(f"/gradio_api/call/{api}/{event}").text.strip().rpartition("event: ")[2]
    kind, _, said = end.partition("\ndata: ")
    return kind, said


def judge(client: httpx.Client, name: str, content: bytes) -> str:
    """Send a file and ask for the verdict on it; return the verdict or the one line that says what is wrong."""
    sent = send(client, name, content)
    assert sent.status_code == 200, sent.text
    kind, said = ask(client, [{"path": sent.json()[0], "meta": META}])
    told = json.loads(said)
    assert SECRET not in said
    return told[0]["verdict"] if kind == "complete" else told["error"]


def judge_all(server: Server, files: list[tuple[str, bytes]]) -> list[str]:
    """Do so with several clients at once."""
    with server.client() as client, ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(lambda file: judge(client, *file), files))


def jpeg(note: bytes) -> bytes:
    """Make a picture whose file is unlike others by what is noted behind it."""
    file = BytesIO()
    Image.new("RGB", (64, 64), "grey").save(file, "JPEG")
    return file.getvalue() + note


def test_metadata_is_neither_told_nor_written_down(server: Server) -> None:
    with server.client() as client:
        for name, content in pictures():
            assert judge(client, f"whole.{name}", content) in VERDICTS
    assert server.uploads() == []
    assert SECRET not in server.log()


@pytest.mark.slow
def test_two_thousand_damaged_files_get_a_verdict_or_one_clear_line(server: Server) -> None:
    for _ in range(3):
        judge_all(server, pictures() * 10)
    before, written = server.memory("VmRSS"), len(server.log())
    said = judge_all(server, list(hostile(2000)))
    refused = [line for line in said if line not in VERDICTS]
    assert [line for line in refused if not UNREADABLE.fullmatch(str(line))] == []
    assert len(refused) > 300
    assert len(said) - len(refused) > 300
    assert server.is_well()
    assert server.uploads() == []
    assert not TRACE.search(server.log()[written:])
    assert SECRET not in server.log()
    assert server.memory("VmRSS") < before + 150
    assert server.memory("VmHWM") < before + 300


def test_a_file_that_is_too_large_is_refused(server: Server) -> None:
    with server.client() as client:
        refused = send(client, "large.png", bytes(20 * 2**20 + 1))
        assert refused.status_code == 413
        assert "exceeded maximum allowed size" in refused.text
    with server.client() as client:
        assert send(client, "just right.png", bytes(20 * 2**20)).status_code == 200


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(server: Server) -> None:
    before, start = server.memory("VmHWM"), time.monotonic()
    with server.client() as client:
        assert "51 megapixels; at most 50" in judge(client, "51.png", png(7141, 7142))
        assert "more than 178 megapixels" in judge(client, "bomb.png", png(60_000, 60_000, rows=9))
        assert "pixels long" in judge(client, "long.png", png(1, 49_000_000, rows=9))
    assert time.monotonic() - start < 3
    assert server.memory("VmHWM") < before + 100


@pytest.mark.slow
def test_pictures_of_almost_too_many_pixels_are_judged_and_their_memory_returns(server: Server) -> None:
    before, content = server.memory("VmRSS"), png(7000, 7000)
    assert {*judge_all(server, [(f"{number}.png", content + b"%d" % number) for number in range(24)])} <= {*VERDICTS}
    assert server.memory("VmRSS") < before + 500


def test_a_small_file_does_not_keep_a_decoder_busy(server: Server) -> None:
    file = BytesIO()
    Image.new("L", (1000, 1000), 128).save(file, "JPEG", progressive=True)
    head, _, last = file.getvalue()[:-2].rpartition(b"\xff\xc4")
    frames = [Image.new("L", (32, 32), grey) for grey in range(200)]
    animation = BytesIO()
    frames[0].save(animation, "GIF", save_all=True, append_images=frames[1:])
    start = time.monotonic()
    with server.client() as client:
        scans = head + (b"\xff\xc4" + last) * 20_000 + b"\xff\xd9"
        assert "too many pieces" in judge(client, "scans.jpg", scans)
        assert judge(client, "many.gif", animation.getvalue()) in VERDICTS
    assert time.monotonic() - start < 5


OUTSIDE = ["/etc/passwd", "/dev/zero", "../../etc/passwd", "detector.json", "file:///etc/passwd", "\0", "a" * 5000]


@pytest.mark.parametrize(
    "meta", [{"meta": META}, {}, {"meta": META, "is_stream": True}], ids=["meta", "bare", "stream"]
)
def test_no_path_is_judged_but_what_was_uploaded(server: Server, faces: Path, meta: dict) -> None:
    picture = next((faces / "Test" / "Real").iterdir())
    with server.client() as client:
        folder = Path(send(client, "a.jpg", jpeg(b"outside")).json()[0]).parents[1]
        for path in (*OUTSIDE, str(picture), f"{folder}/../{picture}", str(folder), str(folder / "b.png")):
            kind, said = ask(client, [{"path": path, **meta}])
            assert kind == "error", path
            assert "/" not in said
            assert "bytes" not in said


@pytest.mark.parametrize("scheme", ["http", "HTTP", "https", "ftp", "//"])
def test_no_address_is_fetched(server: Server, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere, server.client() as client:
        elsewhere.settimeout(0.3)
        url = f"{scheme}://127.0.0.1:{elsewhere.getsockname()[1]}/a.png".replace("////", "//")
        for file in ({"path": url}, {"path": None, "url": url}, {"url": url}, {"path": url, "url": url}):
            for meta in ({}, {"meta": META}, {"meta": META, "is_stream": True}):
                assert ask(client, [file | meta])[0] == "error"
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def nested(depth: int) -> list:
    return [nested(depth - 1)] if depth else []


ODD = ([None], [], [1], [True], ["x"], [[]], [{}], [None, None], [{"path": None}], [{"path": ["a"], "meta": META}])


@pytest.mark.parametrize("data", [*ODD, nested(300), [{"path": "/etc/passwd", "meta": "x"}]])
def test_odd_arguments_are_an_error_and_no_more(server: Server, data: list) -> None:
    with server.client() as client:
        kind, said = ask(client, data)
        assert kind == "error"
        assert "/" not in said
    assert server.is_well()


def join(client: httpx.Client, number: int, data: list) -> str:
    """Call a function as the page does, by its number; return the events that it ends with, or how it is refused."""
    session = f"session{time.monotonic_ns()}"
    joined = client.post("/gradio_api/queue/join", json={"data": data, "fn_index": number, "session_hash": session})
    if joined.status_code != 200:
        return joined.text
    return client.get("/gradio_api/queue/data", params={"session_hash": session}).text


def test_only_a_model_that_is_offered_can_be_chosen(server: Server, finished_run: dict) -> None:
    with server.client() as client:
        functions = client.get("/config").json()["dependencies"]
        show = next(function["id"] for function in functions if function["api_name"] == "show")
        keys = (
            "/etc/passwd",
            "..",
            "best:test/auc",
            finished_run["run_id"],
            "runs:/x",
            "a" * 100_000,
            "\0",
            0,
            [1],
            {},
        )
        for number, key in enumerate(("1", None, *keys)):
            sent = send(client, "a.jpg", jpeg(b"%d" % number)).json()[0]
            said = join(client, show, [{"path": sent, "meta": META}, key])
            assert ("df-verdict" in said) == (key in ("1", None)), key
            assert not TRACE.search(said)


@pytest.mark.parametrize("number", [-1, 99, 10**30, "x", 1.5, None])
def test_a_function_that_is_not_there(server: Server, number) -> None:
    with server.client() as client:
        assert "process_completed" not in join(client, number, [None])
    assert server.is_well()


@pytest.mark.parametrize("way", ["run/predict", "api/predict", "call/predict", "call/v2/predict", "run/no", "call/no"])
@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b'{"data": 1}', b'{"data": [], "fn_index": 99}', b"\xff"])
def test_a_request_that_is_no_request(server: Server, way: str, body: bytes) -> None:
    with server.client() as client:
        said = client.post(f"/gradio_api/{way}", content=body, headers={"content-type": "application/json"})
    assert said.status_code in (200, 400, 404, 422, 500)
    assert not TRACE.search(said.text)
    assert server.is_well()


def test_a_huge_request_is_refused_before_it_is_read(server: Server) -> None:
    before = server.memory("VmHWM")
    with server.client() as client:
        huge = client.post("/gradio_api/call/predict", content=b'{"data":[' + b"{}," * 10_000_000 + b"{}]}")
        assert huge.status_code == 413
    assert server.memory("VmHWM") < before + 50


@pytest.mark.slow
def test_of_too_many_at_once_some_are_told_that_the_page_is_busy(server: Server) -> None:
    content, before = png(4000, 4000), len(server.uploads())

    def enter(number: int) -> tuple[int, str]:
        with server.client() as client:
            sent = send(client, "a.png", content + b"%d" % number).json()[0]
            entered = client.post("/gradio_api/call/predict", json={"data": [{"path": sent, "meta": META}]})
            return entered.status_code, entered.json().get("detail", "")

    with ThreadPoolExecutor(30) as pool:
        told = Counter(pool.map(enter, range(150)))
    refused = {text.partition(".")[0]: count for (status, text), count in told.items() if status == 503}
    assert [*refused] == ["Queue is full"]
    assert told[200, ""] >= 64
    assert server.is_well()
    wait_for(lambda: len(server.uploads()) <= before + 150 - told[200, ""], 60)


def test_who_is_slow_does_not_stop_the_others(server: Server) -> None:
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    begun = b"POST /gradio_api/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nContent-Type: multipart/"
    slow = [socket.create_connection(address) for _ in range(50)]
    try:
        for number, connection in enumerate(slow):
            connection.sendall((b"", b"GET / HT", begun + b"form-data; boundary=x\r\n\r\n--x\r\n")[number % 3])
        start = time.monotonic()
        assert set(judge_all(server, [(f"{number}.jpg", jpeg(b"slow%d" % number)) for number in range(20)])) <= {
            *VERDICTS
        }
        assert time.monotonic() - start < 10
    finally:
        for connection in slow:
            connection.close()
