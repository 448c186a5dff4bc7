"""A small Hub on this machine: it speaks the HTTP API to the real client, and fails on order."""

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
LARGE = 1_000_000  # bytes; such files are stored as LFS
NO_RIGHTS = 403, {"error": "You don't have the rights"}, {}
NO_REVISION = 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"}


@dataclass
class Fault:
    """What happens to the next `times` requests that match, after `after` that pass.

    A status, a pause in seconds, or the connection is cut; done: after the work, so that only the
    answer is lost.
    """

    pattern: str
    status: int = 0
    times: int = 10**6
    after: int = 0
    cut: bool = False
    done: bool = False
    pause: float = 0.0


@dataclass
class Repo:
    private: bool
    commits: list = field(default_factory=list)  # (hash, {path: (bytes, whether it is LFS)})
    tags: dict = field(default_factory=dict)

    @property
    def files(self) -> dict:
        return self.commits[-1][1]

    def at(self, revision: str):
        """The commit of a revision: (hash, files); None if there is none."""
        if revision == "main":
            return self.commits[-1]
        wanted = self.tags.get(revision, revision)
        return next((commit for commit in self.commits if commit[0] == wanted), None)

    def commit(self, files: dict) -> str:
        oid = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits.append((oid, files))
        return oid


class Hub:
    """`with Hub() as hub:`; hub.url is its endpoint, hub.repos its content, hub.requests a list."""

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.sent = 0  # bytes of files that arrived
        self.lock = threading.RLock()
        self.store = self.give = lambda data: data  # a corrupting server changes these

    def __enter__(self):
        handler = type("Handler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def add(self, name: str, files: dict[str, bytes], private: bool = False) -> None:
        """A repository that is there from the start; a dataset's name begins with `datasets/`."""
        self.repos[name] = Repo(private)
        self.repos[name].commit({path: (data, len(data) > LARGE) for path, data in files.items()})

    def asked(self, pattern: str) -> list[str]:
        return [line for line in self.requests if re.search(pattern, line)]

    def fault_for(self, line: str) -> Fault | None:
        """The fault that this request meets, counted."""
        for fault in self.faults:
            if re.search(fault.pattern, line) and fault.times > 0:
                if fault.after > 0:
                    fault.after -= 1
                    return None
                fault.times -= 1
                return fault
        return None


def entry(path: str, data: bytes, lfs: bool) -> dict:
    """A file as the Hub lists it."""
    oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    found = {"type": "file", "path": path, "size": len(data), "oid": oid}
    if lfs:
        sha = hashlib.sha256(data).hexdigest()
        found["lfs"] = {"oid": sha, "size": len(data), "pointerSize": 130}
    return found


def folders(files: dict) -> list[dict]:
    parents = set()
    for path in files:
        parts = path.split("/")
        parents |= {"/".join(parts[:n]) for n in range(1, len(parts))}
    return [{"type": "directory", "path": p, "oid": "0" * 40, "size": 0} for p in sorted(parents)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece, without Nagle's wait for the client's acknowledgement
    disable_nagle_algorithm = True
    hub: Hub

    def log_message(self, *_):
        pass

    def handle_any(self):
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.hub.lock:
            self.hub.requests.append(f"{self.command} {path}")
            fault = self.hub.fault_for(self.hub.requests[-1])
        if fault:
            threading.Event().wait(fault.pause)  # not time.sleep, which the tests shorten
            if fault.cut and not fault.done:
                return self.drop()
            if fault.status:
                return self.answer(fault.status, {"error": "told to fail"}, {})
        with self.hub.lock:
            answer = self.route(path, query, body)
        return self.drop() if fault and fault.cut else self.answer(*answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def drop(self):
        self.close_connection = True
        self.connection.close()

    def answer(self, status, value, headers):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        usual = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        for name, text in (usual | headers).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        with contextlib.suppress(ConnectionError):  # of a client that waited no longer
            self.wfile.flush()

    def route(self, path: str, query: dict, body: bytes):
        """(status, answer, headers) of a request."""
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}, {}
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if found := re.fullmatch(r"/lfs/(\w{64})", path):
            self.hub.blobs[found[1]] = self.hub.store(body)
            self.hub.sent += len(body)
            return 200, {}, {}
        for pattern, work in (
            (r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(.*))?", self.api),
            (r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch(.*)", self.batch),
            (r"/(datasets/)?([^/]+/[^/]+)/resolve/(.+)", self.resolve),
        ):
            if found := re.fullmatch(pattern, path):
                kind = "datasets/" if (found[1] or "").startswith("datasets") else ""
                writes = self.command != "GET" and "paths-info" not in path
                refused = self.refused(kind + found[2], writes and self.command != "HEAD")
                return refused or work(kind + found[2], found[3] or "", query, body)
        return 404, {"error": f"no route {path}"}, {}

    def refused(self, name: str, writes: bool):
        """The answer to who may not do this; None to who may."""
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not known):
            missing = {"X-Error-Code": "RepoNotFound"}
            return 404 if known else 401, {"error": "Repository not found"}, missing
        if writes and not known:
            return 401, {"error": "Who are you?"}, {}
        return NO_RIGHTS if writes and not name.startswith("me/") else None

    def create(self, asked: dict):
        name = f"{asked['organization']}/{asked['name']}"
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "Who are you?"}, {}
        if asked["organization"] != "me":
            return NO_RIGHTS
        url = f"{self.hub.url}/{name}"
        if name in self.hub.repos:
            return 409, {"error": "You already created this model repo", "url": url}, {}
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, private)
        return 200, {"url": url, "name": name}, {}

    def api(self, name: str, rest: str, query: dict, body: bytes):
        repo = self.hub.repos[name]
        what, _, rest = rest.partition("/")
        if what == "tag" and self.command == "DELETE":
            return (200, {}, {}) if repo.tags.pop(rest, None) else NO_REVISION
        if what == "tag":
            tag = json.loads(body)["tag"]
            if tag in repo.tags:
                return 409, {"error": "Tag reference exists already"}, {}
            repo.tags[tag] = repo.at(rest)[0]
            return 200, {}, {}
        if what == "preupload":
            files = [self.preupload(repo, file) for file in json.loads(body)["files"]]
            return 200, {"files": files}, {}
        if what == "commit":
            return self.commit(name, repo, body)
        revision, _, under = rest.partition("/")
        commit = repo.at(revision or "main")
        if commit is None:
            return NO_REVISION
        return self.read(name, repo, commit, what, under, query, body)

    def read(self, name, repo, commit, what, under, query, body):
        """What a commit holds: all of it, a folder, or some paths."""
        oid, files = commit
        if what in ("", "revision"):
            siblings = [{"rfilename": path, "size": len(f[0])} for path, f in files.items()]
            key = name.removeprefix("datasets/")
            found = {"_id": "0", "id": key, "modelId": key, "sha": oid, "private": repo.private}
            found |= {"tags": [], "downloads": 0, "gated": False, "disabled": False}
            return 200, found | {"siblings": siblings}, {}
        entries = [entry(path, *file) for path, file in files.items()] + folders(files)
        if what == "paths-info":
            form = parse_qs(body.decode()) if b"paths=" in body else json.loads(body)
            return 200, [one for one in entries if one["path"] in form["paths"]], {}
        inside = [one for one in entries if one["path"].startswith(under + "/" if under else "")]
        if under and not inside:
            return 404, {"error": "not found"}, {"X-Error-Code": "EntryNotFound"}
        if query.get("recursive", ["false"])[0].lower() != "true":
            depth = under.count("/") + bool(under)
            inside = [one for one in inside if one["path"].count("/") == depth]
        return 200, inside, {}

    def preupload(self, repo: Repo, file: dict) -> dict:
        path = file["path"]
        lfs = path.endswith((".safetensors", ".gguf")) or file["size"] > LARGE
        found = {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
        if path in repo.files:
            there = entry(path, *repo.files[path])
            found["oid"] = there.get("lfs", there)["oid"]
        return found

    def commit(self, name: str, repo: Repo, body: bytes):
        files = dict(repo.files)
        for line in body.decode().splitlines():
            part = json.loads(line)
            value = part["value"]
            if part["key"] == "file":
                data = self.hub.store(base64.b64decode(value["content"]))
                self.hub.sent += len(data)
                files[value["path"]] = data, False
            elif part["key"] == "lfsFile":
                if value["oid"] not in self.hub.blobs:
                    return 400, {"error": "an LFS file is not there"}, {}
                files[value["path"]] = self.hub.blobs[value["oid"]], True
            elif part["key"] == "deletedFile":
                files.pop(value["path"])
        oid = repo.commit(files)
        url = f"{self.hub.url}/{name}/commit/{oid}"
        return 200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""}, {}

    def batch(self, name: str, rest: str, query: dict, body: bytes):
        objects = json.loads(body)["objects"]
        for wanted in objects:
            if wanted["oid"] not in self.hub.blobs:
                target = {"href": f"{self.hub.url}/lfs/{wanted['oid']}", "header": {}}
                wanted["actions"] = {"upload": target}
        return 200, {"transfer": "basic", "objects": objects}, {}

    def resolve(self, name: str, rest: str, query: dict, body: bytes):
        revision, _, path = rest.partition("/")
        commit = self.hub.repos[name].at(revision)
        if commit is None:
            return NO_REVISION
        headers = {"X-Repo-Commit": commit[0], "Accept-Ranges": "none"}
        if path not in commit[1]:
            missing = {"X-Error-Code": "EntryNotFound"}
            return 404, {"error": "Entry not found"}, headers | missing
        data, lfs = commit[1][path]
        there = entry(path, data, lfs)
        etag = f'"{there.get("lfs", there)["oid"]}"'
        headers |= {"ETag": etag, "X-Linked-Size": str(len(data)), "X-Linked-Etag": etag}
        return 200, self.hub.give(data), headers | {"Content-Type": "application/octet-stream"}
