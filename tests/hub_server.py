"""The part of the Hugging Face Hub's HTTP interface that pushing and pulling a model uses, with faults on demand.

Repositories live in memory. Small text files come in the commit itself, all others by Git LFS, as on the Hub.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_writes"
READ_ONLY = "hf_reads"


@dataclass
class Repository:
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        content = json.dumps([message, len(self.messages), sorted((n, hash_of(b)) for n, b in files.items())])
        sha = hashlib.sha1(content.encode()).hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        self.messages.append(message)
        return sha

    def resolve(self, revision: str) -> str | None:
        return self.branches.get(revision) or (revision if revision in self.commits else None)


@dataclass
class Fault:
    """What happens to requests in place of an answer: a status, a cut line or other bytes, so many times."""

    method: str
    path: str
    action: int | str
    times: int = 1


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def is_lfs(name: str) -> bool:
    return name.endswith(".safetensors")


class Hub(ThreadingHTTPServer):
    """A Hub at `url`; `seen` lists the requests that came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.lock = threading.Lock()

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        repository = self.repositories[name]
        return repository.commits[repository.branches[revision]]


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.handle_request("HEAD")

    def do_GET(self) -> None:
        self.handle_request("GET")

    def do_POST(self) -> None:
        self.handle_request("POST")

    def do_PUT(self) -> None:
        self.handle_request("PUT")

    def handle_request(self, method: str) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        with self.server.lock:
            self.server.seen.append(f"{method} {parts.path}")
            self.fault = next(
                (f for f in self.server.faults if f.times and f.method == method and re.search(f.path, parts.path)),
                None,
            )
            if self.fault is not None:
                self.fault.times -= 1
        if self.fault is not None and isinstance(self.fault.action, int):
            self.answer(self.fault.action, b"<html>no</html>", {"Retry-After": "0"})
            return
        if self.fault is not None and self.fault.action == "cut" and method != "GET":
            self.close_connection = True
            self.connection.close()
            return
        for pattern, verb, act in ROUTES:
            found = re.fullmatch(pattern, parts.path)
            if found and verb == method:
                act(self, *map(unquote, found.groups()))
                return
        self.answer(404, b"no such route")

    def answer(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer_json(self, value: object, status: int = 200) -> None:
        self.answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def may_write(self) -> bool:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token == TOKEN:
            return True
        status, word = (403, "You need write access") if token == READ_ONLY else (401, "Invalid username or password.")
        self.answer(status, json.dumps({"error": word}).encode(), {"X-Error-Message": word})
        return False

    def repository(self, name: str) -> Repository | None:
        found = self.server.repositories.get(name)
        hidden = found is not None and found.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"
        if found is None or hidden:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
            return None
        return found

    def commit_of(self, repository: Repository, revision: str) -> str | None:
        sha = repository.resolve(revision)
        if sha is None:
            message = f"Invalid rev id: {revision}"
            self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": message})
        return sha

    def create(self) -> None:
        if not self.may_write():
            return
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        status = 409 if name in self.server.repositories else 200
        if status == 200:
            made = self.server.repositories[name] = Repository(private=asked.get("visibility") == "private")
            made.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
        self.answer_json({"url": f"{self.server.url}/{name}", "name": name}, status)

    def info(self, name: str, revision: str = "main") -> None:
        repository = self.repository(name)
        if repository and (sha := self.commit_of(repository, revision)):
            files = [{"rfilename": file} for file in repository.commits[sha]]
            self.answer_json({"id": name, "sha": sha, "private": repository.private, "siblings": files, "tags": []})

    def branch(self, name: str, branch: str) -> None:
        repository = self.may_write() and self.repository(name)
        if repository:
            status = 409 if branch in repository.branches else 200
            repository.branches.setdefault(branch, repository.branches["main"])
            self.answer_json({}, status)

    def validate(self) -> None:
        head = json.loads(self.body)["content"].split("---")[1]
        ok = "library_name: fewlabels" in head
        self.answer_json({"errors": [] if ok else [{"message": "bad head"}], "warnings": []}, 200 if ok else 400)

    def preupload(self, name: str, revision: str) -> None:
        repository = self.may_write() and self.repository(name)
        if repository and (sha := self.commit_of(repository, revision)):
            present = repository.commits[sha]
            files = []
            for file in json.loads(self.body)["files"]:
                content = present.get(file["path"])
                mode = "lfs" if is_lfs(file["path"]) else "regular"
                files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
                if content is not None:
                    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
                    files[-1]["oid"] = hash_of(content) if mode == "lfs" else git
            self.answer_json({"files": files})

    def batch(self, name: str) -> None:
        if not self.may_write():
            return
        objects = []
        for one in json.loads(self.body)["objects"]:
            objects.append({"oid": one["oid"], "size": one["size"]})
            if one["oid"] not in self.server.stored:
                place = {
                    action: {"href": f"{self.server.url}/{action}/{one['oid']}"} for action in ("upload", "verify")
                }
                objects[-1]["actions"] = place
        self.answer_json({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        self.server.stored[oid] = self.body
        self.answer(200)

    def verify(self, oid: str) -> None:
        ok = hash_of(self.server.stored[oid]) == oid and len(self.server.stored[oid]) == json.loads(self.body)["size"]
        if not ok:
            del self.server.stored[oid]
        self.answer_json({}, 200 if ok else 422)

    def commit(self, name: str, revision: str) -> None:
        repository = self.may_write() and self.repository(name)
        if not repository or not (sha := self.commit_of(repository, revision)):
            return
        files, message = dict(repository.commits[sha]), ""
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
                if value.get("parentCommit", sha) != sha:
                    self.answer_json({"error": "The branch has moved"}, 412)
                    return
            elif item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.server.stored[value["oid"]]
            else:
                del files[value["path"]]
        new = repository.commit(revision, files, message)
        self.answer_json({"commitUrl": f"{self.server.url}/{name}/commit/{new}", "commitOid": new})

    def resolve(self, name: str, revision: str, file: str) -> None:
        repository = self.repository(name)
        if not repository or not (sha := self.commit_of(repository, revision)):
            return
        content = repository.commits[sha].get(file)
        if content is None:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
            return
        headers = {"X-Repo-Commit": sha, "ETag": f'"{hash_of(content)}"', "Accept-Ranges": "bytes"}
        if is_lfs(file):
            headers |= {"X-Linked-Etag": f'"{hash_of(content)}"', "X-Linked-Size": str(len(content))}
        status, sent = 200, content
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            begin = int(asked[1])
            status, sent = 206, content[begin:]
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        if self.fault is not None and self.fault.action == "other":
            sent = bytes(byte ^ 1 for byte in sent)
        if self.fault is not None and self.fault.action == "cut":
            self.send_response(status)
            for key, value in (headers | {"Content-Length": str(len(sent))}).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(sent[: max(1, len(sent) // 2)])
            self.close_connection = True
            return
        self.answer(status, sent, headers)


_REPO = r"([^/]+/[^/]+)"
ROUTES = [
    (r"/api/repos/create", "POST", Handler.create),
    (r"/api/validate-yaml", "POST", Handler.validate),
    (rf"/api/models/{_REPO}", "GET", Handler.info),
    (rf"/api/models/{_REPO}/revision/([^/]+)", "GET", Handler.info),
    (rf"/api/models/{_REPO}/branch/([^/]+)", "POST", Handler.branch),
    (rf"/api/models/{_REPO}/preupload/([^/]+)", "POST", Handler.preupload),
    (rf"/api/models/{_REPO}/commit/([^/]+)", "POST", Handler.commit),
    (rf"/{_REPO}\.git/info/lfs/objects/batch", "POST", Handler.batch),
    (r"/upload/([0-9a-f]+)", "PUT", Handler.upload),
    (r"/verify/([0-9a-f]+)", "POST", Handler.verify),
    (rf"/{_REPO}/resolve/([^/]+)/(.+)", "GET", Handler.resolve),
    (rf"/{_REPO}/resolve/([^/]+)/(.+)", "HEAD", Handler.resolve),
]
