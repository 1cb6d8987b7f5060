"""A Hugging Face hub on loopback: answers what huggingface_hub asks, writes down each question, and fails on demand.

Small files come from the hub itself. Weights come from a content store (its CDN), to which the hub redirects with the
size and the hash of the file, and which gives them in ranges; the store has another host name, as the real one has.
A file may be claimed to be large: it is in all listings, and whoever asks for it gets an error.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.file_download
import huggingface_hub.utils._http
import pytest

STORED = (".safetensors", ".bin", ".ckpt", ".h5", ".msgpack")


@dataclass(frozen=True)
class Claimed:
    """A file that only says how large it is.

    Attributes:
        size: in bytes.
    """

    size: int


Files = Mapping[str, bytes | Claimed]


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        method: such as GET.
        path: without the query.
        range: what its Range header says, or "".
    """

    method: str
    path: str
    range: str = ""


@dataclass
class Trouble:
    """What is answered in place of the truth.

    Attributes:
        path: pattern that is searched for in the request's path.
        status: of the answer; None keeps the line open and never answers.
        headers: of the answer.
        body: of the answer.
        cut_after: of a true answer, the bytes that come before the connection breaks.
        method: of the requests that it befalls; "" is any.
        times: how often it happens.
    """

    path: str
    status: int | None = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    method: str = ""
    times: int = 10**6


class HubDouble:
    """The hub; `running` starts and ends it.

    Attributes:
        models: id -> files.
        moved: former id -> id now.
        prefix: path below which the hub lives, "" or such as "/hub".
        asked: all requests, in order.
        troubles: the first that fits is answered.
        url: what HF_ENDPOINT has to say.
    """

    def __init__(self) -> None:
        self.models: dict[str, Files] = {}
        self.moved: dict[str, str] = {}
        self.prefix = ""
        self.asked: list[Asked] = []
        self.troubles: list[Trouble] = []
        self.closing = threading.Event()
        self._commits: dict[str, Files] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address, with the prefix."""
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    @contextmanager
    def running(self) -> Iterator["HubDouble"]:
        """Answer requests inside."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def commit(self, model: str, revision: str = "main") -> str:
        """The commit of a revision; the newest one is a function of the files."""
        if revision != "main":
            return revision
        files = self.models[model]
        parts = [f"{name} {_size(content)} {_sha(content)}" for name, content in files.items()]
        commit = hashlib.sha1("\n".join(sorted(parts)).encode()).hexdigest()
        self._commits[commit] = files
        return commit

    def files(self, model: str, revision: str) -> Files:
        """A model's files at a revision that was once told."""
        return self._commits[self.commit(model, revision)]

    def fetched(self) -> list[str]:
        """Names of the files whose content was asked for, without folders above the model's own."""
        by_hash = {_sha(content): name for files in self.models.values() for name, content in files.items()}
        gets = [asked.path for asked in self.asked if asked.method == "GET"]
        found = [match[1] for path in gets if (match := re.search(r"/resolve/[^/]+/(.+)", path))]
        return found + [by_hash[path.rpartition("/")[2]] for path in gets if path.startswith("/cdn/")]


@contextmanager
def hub_in_place(cache: Path) -> Iterator[HubDouble]:
    """A hub that huggingface_hub asks inside, with an empty cache and without waits between its tries."""
    hub = HubDouble()
    with pytest.MonkeyPatch.context() as patch, hub.running():
        point_at(hub.url, cache, patch)
        yield hub
    huggingface_hub.close_session()


def point_at(url: str, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub, which reads its environment when it is imported, use another hub and cache."""
    huggingface_hub.close_session()
    constants = huggingface_hub.constants
    patch.setattr(constants, "ENDPOINT", url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
    patch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        patch.delenv(name, raising=False)
        patch.delenv(name.lower(), raising=False)
    patch.delenv("HF_TOKEN", raising=False)
    without_waits = SimpleNamespace(sleep=lambda seconds: None)
    patch.setattr(huggingface_hub.utils._http, "time", without_waits)
    patch.setattr(huggingface_hub.file_download, "time", without_waits)


def files_of(folder: Path) -> dict[str, bytes | Claimed]:
    """All files below a folder, as a model's."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _size(content: bytes | Claimed) -> int:
    return content.size if isinstance(content, Claimed) else len(content)


def _sha(content: bytes | Claimed) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else str(content).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"

    def __init__(self, hub: HubDouble, *args: Any) -> None:
        self.hub = hub
        super().__init__(*args)

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """No line for each request."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(Asked(self.command, path, self.headers.get("Range", "")))
        trouble = next((one for one in self.hub.troubles if self._befalls(one, path)), None)
        if trouble is None:
            self._truth(path)
            return
        trouble.times -= 1
        if trouble.cut_after is not None:
            self._truth(path, trouble.cut_after)
        elif trouble.status is None:
            self.hub.closing.wait()
            self.close_connection = True
        else:
            self._send(trouble.status, trouble.body, trouble.headers)

    def _befalls(self, trouble: Trouble, path: str) -> bool:
        fits = re.search(trouble.path, path) is not None and trouble.method in ("", self.command)
        return fits and trouble.times > 0

    def _truth(self, path: str, cut_after: int | None = None) -> None:
        if path.startswith("/cdn/"):
            stored = [row for files in self.hub.models.values() for row in files.items()]
            name, content = next((name, one) for name, one in stored if path.endswith(_sha(one)))
            shown = f'inline; filename="{name.rpartition("/")[2]}";'
            self._content(content, {"Content-Disposition": shown}, cut_after)
            return
        path = path.removeprefix(self.hub.prefix)
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = api or file
        model = found[1] if found else ""
        if found and model in self.hub.moved:
            self._send(
                307, b"", {"Location": self.hub.prefix + path.replace(model, self.hub.moved[model], 1)}
            )
        elif found is None or model not in self.hub.models:
            self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        elif api:
            self._json(self._tree(model, api[3]) if api[2] == "tree" else self._info(model))
        elif file:
            self._file(model, file[2], file[3], cut_after)

    def _info(self, model: str) -> dict[str, Any]:
        names = [{"rfilename": name} for name in self.hub.models[model]]
        return {"id": model, "modelId": model, "sha": self.hub.commit(model), "siblings": names, "tags": []}

    def _tree(self, model: str, revision: str) -> list[dict[str, Any]]:
        files = self.hub.files(model, revision)
        folders = {name.rpartition("/")[0] for name in files} - {""}
        rows: list[dict[str, Any]] = [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in folders
        ]
        for name, content in files.items():
            row = {"type": "file", "oid": _sha(content)[:40], "size": _size(content), "path": name}
            if name.endswith(STORED):
                row["lfs"] = {"oid": _sha(content), "size": _size(content), "pointerSize": 134}
            rows.append(row)
        return rows

    def _file(self, model: str, revision: str, name: str, cut_after: int | None) -> None:
        content = self.hub.files(model, revision).get(name)
        commit = {"X-Repo-Commit": self.hub.commit(model, revision)}
        if content is None:
            self._send(404, b"", {**commit, "X-Error-Code": "EntryNotFound"})
        elif name.endswith(STORED):
            linked = {"X-Linked-Size": str(_size(content)), "X-Linked-ETag": f'"{_sha(content)}"'}
            store = f"http://localhost:{self.hub.port}/cdn/{_sha(content)}"
            self._send(302, b"", {**commit, **linked, "Location": store})
        else:
            self._content(content, {**commit, "ETag": f'"{_sha(content)[:40]}"'}, cut_after)

    def _content(self, content: bytes | Claimed, headers: dict[str, str], cut_after: int | None) -> None:
        if isinstance(content, Claimed):
            self._send(500, b"nobody should ask for this file", {})
            return
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or "00")[1])
        if start:
            headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self._send(206 if start else 200, content[start:], headers, cut_after)

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str], cut_after: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut_after])
        if cut_after is not None:
            self.close_connection = True
