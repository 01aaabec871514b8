"""A hub on loopback that speaks the calls of the real one, with repositories, commits and large files."""

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_good"
LARGE = (".h5", ".jpg", ".png")


@pytest.fixture(scope="session")
def detector_folder(finished_run: dict) -> Path:
    """The detector of the finished run."""
    from deepfake import registry

    return registry.fetch("1")


@pytest.fixture(scope="session")
def other_detector(detector_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one of the same kind, with other weights."""
    from deepfake.detector import Detector, write

    found = Detector.load(detector_folder)
    found.model.set_weights([weight + np.float32(0.01) for weight in found.model.get_weights()])
    folder = tmp_path_factory.mktemp("other")
    write(folder, found.model, replace(found.card, run_id="0ther"))
    return folder


@pytest.fixture(scope="session")
def bundle_folder(detector_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle. Read only."""
    from deepfake.space import bundle

    folder = tmp_path_factory.mktemp("bundle")
    bundle.build(folder, detector_folder, "faces")
    return folder


@dataclass
class Entry:
    """A file of a commit: its git id, its content, and for a large file its SHA-256."""

    oid: str
    content: bytes
    lfs: str | None = None

    def row(self, path: str) -> dict:
        row = {"type": "file", "path": path, "oid": self.oid, "size": len(self.content)}
        if self.lfs:
            row["lfs"] = {"oid": self.lfs, "size": len(self.content), "pointerSize": 128}
        return row


@dataclass
class Commit:
    """A commit: its title and all its files."""

    title: str
    tree: dict[str, Entry]
    oid: str

    def contents(self) -> dict[str, bytes]:
        return {path: entry.content for path, entry in self.tree.items()}


@dataclass
class Repository:
    """A Space: its commits, the oldest first."""

    private: bool = False
    commits: list[Commit] = field(default_factory=list)

    def add(self, title: str, tree: dict[str, Entry]) -> Commit:
        oid = hashlib.sha1(f"{title}{len(self.commits)}".encode()).hexdigest()
        self.commits.append(Commit(title, tree, oid))
        return self.commits[-1]

    def at(self, revision: str) -> Commit:
        return next(c for c in reversed(self.commits) if revision in ("main", c.oid))


def regular(content: bytes) -> Entry:
    return Entry(hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), content)


class Hub:
    """The hub's state, and what a test does to it.

    Attributes:
        spaces: By their names.
        objects: Large files that arrived whole, by their SHA-256.
        calls: Methods and paths that were asked for, in order.
        cut: Ends of paths, or methods, at whose next call the connection is cut in the middle, each for once.
        stall: As `cut`, but the server stops to read and says nothing, until the client goes away.
        stalled: Set when it did.
        before: By the end of a path, what happens before its next call, for once.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.spaces: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.cut: list[str] = []
        self.stall: list[str] = []
        self.stalled = threading.Event()
        self.before: dict[str, Callable[[], object]] = {}

    def make(self, name: str, private: bool = False) -> Repository:
        """Make a Space as the hub does, with two files of its own."""
        self.spaces[name] = Repository(private)
        self.spaces[name].add("initial commit", {p: regular(p.encode()) for p in (".gitattributes", "README.md")})
        return self.spaces[name]

    def environment(self, token: str | None = TOKEN) -> dict[str, str]:
        """Return the environment of a person with a token who talks to this hub; None for nobody logged in."""
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        mine |= {"HF_ENDPOINT": self.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": "/nonexistent"}
        return mine | ({"HF_TOKEN": token} if token else {})


class Handler(BaseHTTPRequestHandler):
    """One request to the hub."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PUT = do_HEAD = do_GET

    def _handle(self) -> None:
        place = urlsplit(self.path)
        path = unquote(place.path)
        self.hub.calls.append(f"{self.command} {path}")
        length = int(self.headers.get("Content-Length") or 0)
        if self._struck(self.hub.cut, path):
            self.rfile.read(length // 2)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if self._struck(self.hub.stall, path):
            self.rfile.read(length // 2)
            self.hub.stalled.set()
            self.rfile.read()
            self.close_connection = True
            return
        body = self.rfile.read(length)
        for end in [end for end in self.hub.before if path.endswith(end)]:
            self.hub.before.pop(end)()
        if path.startswith("/lfs/"):
            whole = hashlib.sha256(body).hexdigest() == path[5:]
            self.hub.objects |= {path[5:]: body} if whole else {}
            self._answer({}, 200 if whole else 400)
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid credentials in Authorization header"}, 401)
        else:
            self._route(path, body)

    def _struck(self, marks: list[str], path: str) -> bool:
        found = [mark for mark in marks if path.endswith(mark) or self.command == mark]
        if found:
            marks.remove(found[0])
        return bool(found)

    def _route(self, path: str, body: bytes) -> None:
        if path == "/api/whoami-v2":
            self._answer({"name": "ada", "orgs": []})
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        else:
            parts = path.removeprefix("/api").removesuffix(".git/info/lfs/objects/batch").strip("/").split("/")
            name = "/".join(parts[1:3])
            space = self.hub.spaces.get(name)
            if space is None:
                self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            elif path.endswith("/batch"):
                self._batch(json.loads(body))
            else:
                self._of_space(name, space, parts[3:], body)

    def _of_space(self, name: str, space: Repository, parts: list[str], body: bytes) -> None:
        if not parts or parts[0] == "revision":
            self._answer({"id": name, "sha": space.at("main").oid, "private": space.private})
            return
        what, revision = parts[:2]
        if what == "tree":
            self._answer([entry.row(path) for path, entry in space.at(revision).tree.items()])
        elif what == "paths-info":
            tree = space.at(revision).tree
            self._answer([tree[path].row(path) for path in parse_qs(body.decode())["paths"] if path in tree])
        elif what == "commits":
            told = {"authors": [{"user": "ada"}], "date": "2026-01-01T00:00:00.000Z", "message": ""}
            self._answer([told | {"id": c.oid, "title": c.title} for c in reversed(space.commits)])
        elif what == "resolve":
            self._answer(space.at(revision).tree["/".join(parts[2:])].content)
        elif not name.startswith("ada/"):
            self._answer({"error": "Forbidden"}, 403)
        elif what == "preupload":
            self._answer({"files": [self._mode(space, file["path"]) for file in json.loads(body)["files"]]})
        else:
            assert what == "commit"
            self._commit(name, space, [json.loads(line) for line in body.splitlines()])

    def _create(self, asked: dict) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        assert (asked["type"], asked["sdk"]) == ("space", "gradio")
        if asked["organization"] != "ada":
            self._answer({"error": "You don't have the rights to create a space under this namespace"}, 403)
            return
        known = name in self.hub.spaces
        if not known:
            self.hub.make(name, asked.get("visibility") == "private" or asked.get("private") is True)
        self._answer({"name": name, "url": f"{self.hub.url}/spaces/{name}"}, 409 if known else 200)

    @staticmethod
    def _mode(space: Repository, path: str) -> dict:
        old = space.at("main").tree.get(path)
        mode = "lfs" if path.endswith(LARGE) else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": old and (old.lfs or old.oid)}

    def _batch(self, asked: dict) -> None:
        rows = []
        for wanted in asked["objects"]:
            href = {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}}
            rows.append(wanted if wanted["oid"] in self.hub.objects else wanted | {"actions": href})
        self._answer({"transfer": "basic", "objects": rows})

    def _commit(self, name: str, space: Repository, lines: list[dict]) -> None:
        header = lines[0]["value"]
        if header.get("parentCommit", space.at("main").oid) != space.at("main").oid:
            self._answer({"error": "the parent is not the newest commit"}, 412)
            return
        tree = dict(space.at("main").tree)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = regular(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                pointer = hashlib.sha1(value["oid"].encode()).hexdigest()
                tree[value["path"]] = Entry(pointer, self.hub.objects[value["oid"]], value["oid"])
            elif line["key"] == "deletedFile":
                del tree[value["path"]]
        commit = space.add(header["summary"], tree)
        url = f"{self.hub.url}/spaces/{name}/commit/{commit.oid}"
        self._answer({"success": True, "commitOid": commit.oid, "commitUrl": url})

    def _answer(self, told: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub without a Space; its one token is ada's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {}))
    found = server.RequestHandlerClass.hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def deploy(hub: Hub) -> Callable[..., subprocess.CompletedProcess]:
    """`python -m deepfake deploy ...`, by somebody with a token, or another, or none."""

    def run(*arguments: object, token: str | None = TOKEN) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "deepfake", "deploy", *map(str, arguments)]
        return subprocess.run(
            command, cwd=ROOT, env=hub.environment(token), capture_output=True, text=True, timeout=120
        )

    return run
