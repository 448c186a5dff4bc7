"""A small Hub on this machine, which speaks the Hub's HTTP API to the real huggingface_hub client, and can be told to fail."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_" + "loopback"


@dataclass
class Fault:
    """What happens to the next `times` requests that match: a status, a cut connection, or a pause in seconds."""

    pattern: str
    status: int = 0
    times: int = 10**6
    after: int = 0  # requests that match and pass first
    cut: bool = False  # the connection ends while the answer is awaited
    done: bool = False  # with cut: the work is done first, and only the answer is lost
    pause: float = 0.0
    headers: dict = field(default_factory=dict)


@dataclass
class Repo:
    private: bool
    commits: list = field(default_factory=list)  # (oid, {path: (bytes, is_lfs)})
    tags: dict = field(default_factory=dict)

    @property
    def files(self) -> dict:
        return self.commits[-1][1]

    def at(self, revision: str):
        oid = self.tags.get(revision, revision)
        return (
            self.commits[-1]
            if revision == "main"
            else next((c for c in self.commits if c[0] == oid), None)
        )

    def commit(self, files: dict) -> str:
        oid = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits.append((oid, files))
        return oid


class Hub:
    """`with Hub() as hub:`; hub.url is its endpoint, hub.repos what it holds, hub.requests what was asked."""

    def __init__(self, allowed=("me",)):
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.sent = 0  # bytes of files that arrived
        self.allowed, self.lock = allowed, threading.RLock()
        self.store = self.give = lambda data: data  # a corrupting server changes these

    def __enter__(self):
        handler = type("Handler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def add(self, name: str, files: dict[str, bytes], private: bool = False) -> None:
        """A repository that is there from the start; of a dataset the name begins with `datasets/`."""
        self.repos[name] = Repo(private)
        self.repos[name].commit(
            {path: (data, len(data) > 1_000_000) for path, data in files.items()}
        )

    def asked(self, pattern: str) -> list[str]:
        return [line for line in self.requests if re.search(pattern, line)]


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def handle_any(self):
        parts = urlsplit(self.path)
        path, line = unquote(parts.path), f"{self.command} {unquote(parts.path)}"
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.hub.lock:
            self.hub.requests.append(line)
            fault = next(
                (f for f in self.hub.faults if re.search(f.pattern, line) and f.times > 0), None
            )
            if fault and fault.after > 0:
                fault.after, fault = fault.after - 1, None
            elif fault:
                fault.times -= 1
        if fault:
            threading.Event().wait(
                fault.pause
            )  # not time.sleep, which tests of the client's pauses shorten
            if fault.cut and not fault.done:
                return self.drop()
            if fault.status:
                return self.answer({"error": "told to fail"}, fault.status, fault.headers)
        with self.hub.lock:
            status, value, headers = self.route(path, parse_qs(parts.query), body)
        return self.drop() if fault and fault.cut else self.answer(value, status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def drop(self):
        self.close_connection = True
        self.connection.close()

    def answer(self, value, status=200, headers=None):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):  # of a client that waited no longer
                self.wfile.write(data)

    def route(self, path: str, query: dict, body: bytes):
        """(status, answer, headers) of a request."""
        hub, known = self.hub, self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if path == "/api/repos/create":
            return self.create(json.loads(body), known)
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}, {}
        if found := re.fullmatch(r"/lfs/(\w{64})", path):
            hub.blobs[found[1]] = hub.store(body)
            hub.sent += len(body)
            return 200, {}, {}
        for pattern, work in (
            (r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(.*))?", self.api),
            (r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.batch),
            (r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.resolve),
        ):
            if found := re.fullmatch(pattern, path):
                name = ("datasets/" if (found[1] or "").startswith("datasets") else "") + found[2]
                repo = hub.repos.get(name)
                if repo is None or (repo.private and not known):
                    return (
                        401 if not known else 404,
                        {"error": "Repository not found"},
                        {"X-Error-Code": "RepoNotFound"},
                    )
                if (
                    self.command in ("POST", "PUT", "DELETE")
                    and not path.endswith(("paths-info/main",))
                    and not (known and name.split("/")[0] in hub.allowed)
                ):
                    return 403 if known else 401, {"error": "You don't have the rights"}, {}
                return work(name, repo, found, query, body)
        return 404, {"error": f"no route {path}"}, {}

    def create(self, asked: dict, known: bool):
        name = f"{asked['organization']}/{asked['name']}"
        if not known or asked["organization"] not in self.hub.allowed:
            return 403 if known else 401, {"error": "You don't have the rights"}, {}
        if name in self.hub.repos:
            return (
                409,
                {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"},
                {},
            )
        self.hub.repos[name] = Repo(
            asked.get("visibility") == "private" or bool(asked.get("private"))
        )
        self.hub.repos[name].commit({".gitattributes": (b"*.safetensors filter=lfs\n", False)})
        return 200, {"url": f"{self.hub.url}/{name}", "name": name}, {}

    def entry(self, path: str, data: bytes, lfs: bool) -> dict:
        made = {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
        return made | (
            {
                "lfs": {
                    "oid": hashlib.sha256(data).hexdigest(),
                    "size": len(data),
                    "pointerSize": 130,
                }
            }
            if lfs
            else {}
        )

    def api(self, name: str, repo: Repo, found, query: dict, body: bytes):
        what, _, rest = (found[3] or "").partition("/")
        if what in ("", "revision"):
            commit = repo.at(rest or "main")
            if commit is None:
                return 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"}
            key = name.removeprefix("datasets/")
            return (
                200,
                {
                    "_id": "0",
                    "id": key,
                    "modelId": key,
                    "sha": commit[0],
                    "private": repo.private,
                    "tags": [],
                    "downloads": 0,
                    "gated": False,
                    "disabled": False,
                    "siblings": [
                        {"rfilename": path, "size": len(data)}
                        for path, (data, _) in commit[1].items()
                    ],
                },
                {},
            )
        if what == "refs":
            return (
                200,
                {
                    "branches": [
                        {
                            "name": "main",
                            "ref": "refs/heads/main",
                            "targetCommit": repo.commits[-1][0],
                        }
                    ],
                    "converts": [],
                    "tags": [
                        {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid}
                        for tag, oid in repo.tags.items()
                    ],
                },
                {},
            )
        if what == "tag" and self.command == "DELETE":
            repo.tags.pop(rest)
            return 200, {}, {}
        if what == "tag":
            tag, commit = json.loads(body)["tag"], repo.at(rest)
            if tag in repo.tags:
                return 409, {"error": "Tag reference exists already"}, {}
            repo.tags[tag] = commit[0]
            return 200, {}, {}
        if what == "preupload":

            def mode(file):
                return (
                    "lfs"
                    if file["path"].endswith((".safetensors", ".gguf")) or file["size"] > 1_000_000
                    else "regular"
                )

            def oid(path):
                return (
                    (lambda e: e.get("lfs", e)["oid"])(self.entry(path, *repo.files[path]))
                    if path in repo.files
                    else None
                )

            return (
                200,
                {
                    "files": [
                        {
                            "path": f["path"],
                            "uploadMode": mode(f),
                            "shouldIgnore": False,
                            "oid": oid(f["path"]),
                        }
                        for f in json.loads(body)["files"]
                    ]
                },
                {},
            )
        if what == "commit":
            return self.commit(name, repo, body)
        revision, _, under = rest.partition("/")
        commit = repo.at(revision)
        if commit is None:
            return 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"}
        if what == "paths-info":
            form = parse_qs(body.decode()) if b"paths=" in body else json.loads(body)
            return (
                200,
                [self.entry(path, *commit[1][path]) for path in form["paths"] if path in commit[1]]
                + self.folders(commit[1], form["paths"]),
                {},
            )
        if what == "tree":
            recursive = query.get("recursive", ["False"])[0].lower() == "true"
            inside = {
                p: f for p, f in commit[1].items() if p.startswith(under + "/" if under else "")
            }
            if under and not inside:
                return 404, {"error": "not found"}, {"X-Error-Code": "EntryNotFound"}
            here = [
                self.entry(p, *f)
                for p, f in inside.items()
                if recursive or "/" not in p.removeprefix(under).strip("/")
            ]
            folders = {
                "/".join(p.split("/")[:i]) for p in inside for i in range(1, p.count("/") + 1)
            } - {under, ""}
            return (
                200,
                here
                + [
                    {"type": "directory", "path": f, "oid": "0" * 40, "size": 0}
                    for f in sorted(folders)
                ],
                {},
            )
        return 404, {"error": f"no route {what}"}, {}

    def folders(self, files: dict, paths: list) -> list:
        return [
            {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
            for path in paths
            if any(p.startswith(path + "/") for p in files)
        ]

    def commit(self, name: str, repo: Repo, body: bytes):
        files = dict(repo.files)
        for line in body.decode().splitlines():
            key, value = (part := json.loads(line))["key"], part["value"]
            if key == "file":
                data = self.hub.store(base64.b64decode(value["content"]))
                self.hub.sent += len(data)
                files[value["path"]] = data, False
            elif key == "lfsFile":
                if value["oid"] not in self.hub.blobs:
                    return 400, {"error": "an LFS file is not there"}, {}
                files[value["path"]] = self.hub.blobs[value["oid"]], True
            elif key == "deletedFile":
                files.pop(value["path"])
        oid = repo.commit(files)
        return (
            200,
            {
                "success": True,
                "commitOid": oid,
                "commitUrl": f"{self.hub.url}/{name}/commit/{oid}",
                "hookOutput": "",
            },
            {},
        )

    def batch(self, name: str, repo: Repo, found, query: dict, body: bytes):
        def instruction(wanted):
            upload = (
                {
                    "actions": {
                        "upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}", "header": {}}
                    }
                }
                if wanted["oid"] not in self.hub.blobs
                else {}
            )
            return wanted | upload

        return (
            200,
            {
                "transfer": "basic",
                "objects": [instruction(wanted) for wanted in json.loads(body)["objects"]],
            },
            {},
        )

    def resolve(self, name: str, repo: Repo, found, query: dict, body: bytes):
        commit = repo.at(found[3])
        if commit is None or found[4] not in commit[1]:
            return (
                404,
                {"error": "Entry not found"},
                {
                    "X-Error-Code": "EntryNotFound" if commit else "RevisionNotFound",
                    "X-Repo-Commit": commit[0] if commit else "",
                },
            )
        data, lfs = commit[1][found[4]]
        etag = hashlib.sha256(data).hexdigest() if lfs else git_oid(data)
        return (
            200,
            self.hub.give(data),
            {
                "X-Repo-Commit": commit[0],
                "ETag": f'"{etag}"',
                "X-Linked-Size": str(len(data)),
                "X-Linked-Etag": f'"{etag}"',
                "Content-Type": "application/octet-stream",
                "Accept-Ranges": "none",
            },
        )
