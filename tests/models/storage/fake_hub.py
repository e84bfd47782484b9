"""A hub with one model on this machine: it answers what huggingface_hub asks of the real one, and records requests."""

import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

NAME = "owner/name"


@dataclass
class Hub:
    """What the hub serves, and what it has served.

    Attributes:
        folder: with the model's files.
        commit: hash of the model's only commit.
        cache: folder of the hub's cache in this process.
        refuse: status and X-Error-Code of every answer; None to answer.
        fetched: names of the shards whose data was asked for, in order.
        requests: method and path of every request, in order.
        sent: bytes of all bodies.
        watch: is called at each request for a shard's data.
        broken: number of the next answers with a shard's data that break off half-way.
    """

    folder: Path
    commit: str
    cache: Path
    refuse: tuple[int, str] | None = None
    fetched: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    sent: int = 0
    watch: object = None
    broken: int = 0

    def files(self):
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            path = urlsplit(self.path).path
            hub.requests.append(f"{self.command} {path}")
            if hub.refuse:
                return self.send(hub.refuse[0], b"", body, {"X-Error-Code": hub.refuse[1]})
            files = hub.files()
            if path.startswith(f"/api/models/{NAME}/revision/"):
                known = path.rpartition("/")[2] in ("main", hub.commit)
                content = {"id": NAME, "sha": hub.commit, "siblings": [{"rfilename": name} for name in files]}
                return self.json(content) if known else self.send(404, b"", body, {"X-Error-Code": "RevisionNotFound"})
            if path.startswith(f"/api/models/{NAME}/tree/"):
                return self.json([entry(name, data) for name, data in files.items()])
            name = path.rpartition("/")[2]
            if not path.startswith(f"/{NAME}/resolve/"):
                return self.send(404, b"", body, {"X-Error-Code": "RepoNotFound"})
            if name not in files:
                return self.send(404, b"", body, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": hub.commit})
            return self.file(name, files[name], body)

        def file(self, name, data, body):
            headers = {"ETag": f'"{etag(data)}"', "X-Repo-Commit": hub.commit, "Accept-Ranges": "bytes"}
            if name.endswith(".safetensors"):
                headers |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{etag(data)}"'}
            asked = self.headers.get("Range")
            whole = body and asked is None
            if name.endswith(".safetensors") and whole:
                hub.fetched.append(name)
                if hub.watch:
                    hub.watch()
            if asked is None:
                cut = whole and name.endswith(".safetensors") and hub.broken > 0
                hub.broken -= cut
                return self.send(200, data, body, headers, cut)
            begin, _, end = asked.removeprefix("bytes=").partition("-")
            part = data[int(begin) : int(end) + 1 if end else None]
            headers["Content-Range"] = f"bytes {begin}-{int(begin) + len(part) - 1}/{len(data)}"
            return self.send(206, part, body, headers)

        def json(self, content):
            self.send(200, json.dumps(content).encode(), True, {"Content-Type": "application/json"})

        def send(self, status, data, body, headers, cut=False):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data[: len(data) // 2] if cut else data)
                hub.sent += len(data)
            self.close_connection = self.close_connection or cut

    return Handler


def entry(name, data):
    """A file's entry in the listing of a commit."""
    described = {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
    if name.endswith(".safetensors"):
        described["lfs"] = {"oid": etag(data), "size": len(data), "pointerSize": 130}
    return described


def etag(data):
    return hashlib.sha256(data).hexdigest()


@contextmanager
def serving(folder, cache, monkeypatch):
    """A Hub with a folder's files that huggingface_hub in this process takes for the real one."""
    from huggingface_hub import close_session, constants

    commit = hashlib.sha1(str(cache).encode()).hexdigest()
    hub = Hub(Path(folder), commit, Path(cache))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    close_session()
    try:
        yield hub
    finally:
        close_session()
        server.shutdown()
        thread.join()
        server.server_close()
