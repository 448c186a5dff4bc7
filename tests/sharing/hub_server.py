"""A small Hub on this machine: it speaks the HTTP API to the real client, and fails on order."""

import asyncio
import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from aiohttp import web

TOKEN = "hf_" + "loopback"
BUSY = "Cannot create repo: another conflicting operation is in progress"  # asked again for ever
LARGE = 1_000_000  # bytes; such files are stored as LFS
API = "/api/{kind:models|datasets}/{name:[^/]+/[^/]+}"
FILES = "/{kind:(?:datasets/)?}{name:[^/]+/[^/]+}"


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

    def commit(self, files: dict) -> str:
        oid = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits.append((oid, files))
        return oid


def refuse(status: int, said: str, code: str = "") -> web.Response:
    return web.json_response({"error": said}, status=status, headers={"X-Error-Code": code})


def content_hash(data: bytes, lfs: bool) -> str:
    if lfs:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def listed(files: dict) -> list[dict]:
    """Files and folders as the Hub lists them."""
    parents = {str(parent) for path in files for parent in PurePosixPath(path).parents} - {"."}
    found = [{"type": "directory", "path": p, "oid": "0" * 40, "size": 0} for p in sorted(parents)]
    for path, (data, lfs) in files.items():
        one = {"type": "file", "path": path, "size": len(data), "oid": content_hash(data, False)}
        if lfs:
            one["lfs"] = {"oid": content_hash(data, True), "size": len(data), "pointerSize": 130}
        found.append(one)
    return found


class Hub:
    """`with Hub() as hub:`; hub.url is its endpoint, hub.repos its content, hub.requests a list."""

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.sent = 0  # bytes of files that arrived
        self.store = self.give = lambda data: data  # a corrupting server changes these

    def __enter__(self):
        app = web.Application(middlewares=[self.meet], client_max_size=2**30)
        routes = [
            web.post("/api/validate-yaml", self.validate),
            web.post("/api/repos/create", self.create),
            web.put("/lfs/{oid}", self.upload),
            web.get(API, self.info),
            web.get(API + "/revision/{revision}", self.info),
            web.get(API + "/tree/{revision}{under:.*}", self.tree),
            web.post(API + "/preupload/{revision}", self.preupload),
            web.post(API + "/commit/{revision}", self.commit),
            web.post(API + "/tag/{revision}", self.add_tag),
            web.delete(API + "/tag/{tag}", self.delete_tag),
            web.post(FILES + ".git/info/lfs/objects/batch", self.batch),
            web.get(FILES + "/resolve/{revision}/{path:.+}", self.resolve),
        ]
        app.add_routes(routes)
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self.wait_for(self.runner.setup())
        self.wait_for(web.TCPSite(self.runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        return self

    def __exit__(self, *_):
        self.wait_for(self.runner.cleanup())
        self.loop.call_soon_threadsafe(self.loop.stop)

    def wait_for(self, work):
        asyncio.run_coroutine_threadsafe(work, self.loop).result()

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

    @web.middleware
    async def meet(self, request, handler):
        """Every request comes through here, with its fault and its rights."""
        await request.read()
        line = f"{request.method} {request.path}"
        self.requests.append(line)
        fault = self.fault_for(line) or Fault("")
        await asyncio.sleep(fault.pause)
        if fault.status:
            return refuse(fault.status, BUSY)
        answer = web.Response()
        if fault.done or not fault.cut:
            answer = self.refused(request) or await handler(request)
        if fault.cut:
            request.transport.close()
        return answer

    def refused(self, request) -> web.Response | None:
        """The answer to who may not do this; None to who may."""
        known = request.headers.get("Authorization") == f"Bearer {TOKEN}"
        writes = request.method not in ("GET", "HEAD")
        if writes and not known and not request.path.startswith("/lfs/"):
            return refuse(401, "Who are you?")
        if "name" not in request.match_info:
            return None
        repo = self.repo_of(request)
        if repo is None or (repo.private and not known):
            return refuse(404 if known else 401, "Repository not found", "RepoNotFound")
        return None

    def repo_of(self, request) -> Repo | None:
        kind, name = request.match_info["kind"], request.match_info["name"]
        return self.repos.get(f"datasets/{name}" if kind.startswith("datasets") else name)

    def commit_of(self, request):
        """The commit that a request names, by its hash or as main: (hash, files)."""
        commits, revision = self.repo_of(request).commits, request.match_info.get("revision")
        if revision in (None, "main"):
            return commits[-1]
        return next(commit for commit in commits if commit[0] == revision)

    async def validate(self, request):
        return web.json_response({"errors": [], "warnings": []})

    async def create(self, request):
        asked = await request.json()
        name = f"{asked['organization']}/{asked['name']}"
        answer = {"url": f"{self.url}/{name}", "name": name}
        if name in self.repos:
            return web.json_response(answer | {"error": "You already created it"}, status=409)
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, private)
        return web.json_response(answer)

    async def upload(self, request):
        data = await request.read()
        self.blobs[request.match_info["oid"]] = self.store(data)
        self.sent += len(data)
        return web.json_response({})

    async def info(self, request):
        found = {"id": request.match_info["name"], "sha": self.commit_of(request)[0]}
        return web.json_response(found | {"private": self.repo_of(request).private})

    async def tree(self, request):
        under = request.match_info["under"].strip("/")
        files = listed(self.commit_of(request)[1])
        inside = [one for one in files if one["path"].startswith(under + "/" if under else "")]
        if under and not inside:
            return refuse(404, "not found", "EntryNotFound")
        if request.query.get("recursive", "").lower() != "true":
            folder = PurePosixPath(under)
            inside = [one for one in inside if PurePosixPath(one["path"]).parent == folder]
        return web.json_response(inside)

    async def preupload(self, request):
        answers, files = [], self.commit_of(request)[1]
        for file in (await request.json())["files"]:
            path = file["path"]
            lfs = path.endswith((".safetensors", ".gguf")) or file["size"] > LARGE
            found = {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            if path in files:
                found["oid"] = content_hash(*files[path])
            answers.append(found)
        return web.json_response({"files": answers})

    async def commit(self, request):
        head, files = self.commit_of(request)
        files = dict(files)
        for line in (await request.text()).splitlines():
            part = json.loads(line)
            value = part["value"]
            if part["key"] == "header":
                if value.get("parentCommit", head) != head:
                    return refuse(412, "A commit has happened since")
            elif part["key"] == "file":
                data = self.store(base64.b64decode(value["content"]))
                self.sent += len(data)
                files[value["path"]] = data, False
            elif part["key"] == "lfsFile":
                files[value["path"]] = self.blobs[value["oid"]], True
            elif part["key"] == "deletedFile":
                if value["path"] not in files:
                    return refuse(404, "A file with this name doesn't exist", "EntryNotFound")
                files.pop(value["path"])
        oid = self.repo_of(request).commit(files)
        url = f"{self.url}/{request.match_info['name']}/commit/{oid}"
        return web.json_response({"success": True, "commitOid": oid, "commitUrl": url})

    async def add_tag(self, request):
        tag, tags = (await request.json())["tag"], self.repo_of(request).tags
        if tag in tags:
            return refuse(409, "Tag reference exists already")
        tags[tag] = self.commit_of(request)[0]
        return web.json_response({})

    async def delete_tag(self, request):
        if self.repo_of(request).tags.pop(request.match_info["tag"], None):
            return web.json_response({})
        return refuse(404, "Invalid rev id", "RevisionNotFound")

    async def batch(self, request):
        objects = (await request.json())["objects"]
        for wanted in objects:
            if wanted["oid"] not in self.blobs:
                target = {"href": f"{self.url}/lfs/{wanted['oid']}", "header": {}}
                wanted["actions"] = {"upload": target}
        return web.json_response({"transfer": "basic", "objects": objects})

    async def resolve(self, request):
        (oid, files), path = self.commit_of(request), request.match_info["path"]
        if path not in files:
            return refuse(404, "not found", "EntryNotFound")
        data, lfs = files[path]
        etag = f'"{content_hash(data, lfs)}"'
        headers = {"ETag": etag, "X-Linked-Size": str(len(data)), "X-Linked-Etag": etag}
        headers["X-Repo-Commit"] = oid
        if request.method == "GET":
            data = self.give(data)
        return web.Response(body=data, headers=headers)
