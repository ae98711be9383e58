"""What the test Hub knows and answers when nothing goes wrong: repositories, who may read them, signed addresses.

Status codes, headers and texts are those of huggingface.co, which `huggingface_hub` turns into its errors.
"""

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from tests.hub_faults import request_has_expired, xml_error
from tests.hub_messages import Content, Reply, Request, parse_range, serve

_LARGE = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".h5", ".onnx", ".msgpack", ".model", ".npz")
"""What goes to the storage at any size, as the usual `.gitattributes` say."""

_LARGE_SIZE = 10_000_000
_HASHED_WHOLE = 1 << 30
"""Larger files are told by their size and their ends: an 8B model's hashes would take a minute of every benchmark."""

_API = re.compile(r"/api/models/([^/]+(?:/[^/]+?)?)(?:/(revision|tree|auth-check|refs)(?:/([^/]+)(?:/(.+))?)?)?/?")
_RESOLVE = re.compile(r"/([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)")
_RESOLVE_CACHE = re.compile(r"/api/resolve-cache/models/([^/]+(?:/[^/]+)?)/([0-9a-f]{40})/(.+)")
_BAD_TOKEN = "Invalid credentials in Authorization header"


@dataclass(frozen=True)
class HubFile:
    """A file of a commit, as it was when it was added."""

    name: str
    path: Path
    size: int

    @property
    def is_large(self) -> bool:
        """Whether it lies in the storage (Git LFS)."""
        return self.name.endswith(_LARGE) or self.size > _LARGE_SIZE

    @cached_property
    def sha256(self) -> str:
        with self.path.open("rb") as file:
            if self.size <= _HASHED_WHOLE:
                return hashlib.file_digest(file, "sha256").hexdigest()
            ends = file.read(1 << 20)
            file.seek(-(1 << 20), 2)
            return hashlib.sha256(b"%d" % self.size + ends + file.read()).hexdigest()

    @cached_property
    def blob_id(self) -> str:
        """What Git calls it: of a large file, its pointer."""
        data = self.pointer if self.is_large else self.path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()

    @property
    def pointer(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @cached_property
    def key(self) -> str:
        """Its path in the storage. Every copy has its own, so that the log tells them apart."""
        return f"/xet-bridge-us/{secrets.token_hex(12)}/{self.sha256}"

    def content(self) -> Content:
        """What is on disk now: who cuts the file behind the server's back gets a storage that lost its end."""
        if self.is_large:  # the storage has entity tags of its own
            etag, media_type = f'"{self.sha256[:32]}"', "application/octet-stream"
        else:
            etag, media_type = f'"{self.blob_id}"', "text/plain; charset=utf-8"
        return Content(self.path, self.path.stat().st_size, etag, media_type)


@dataclass
class Repo:
    """A repository: commits, names for them, and who may read it."""

    repo_id: str
    commits: dict[str, dict[str, HubFile]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    tokens: frozenset[str] = frozenset()

    def commit_of(self, revision: str) -> str | None:
        commit = self.branches.get(revision, revision)
        return commit if commit in self.commits else None

    def info(self, commit: str, *, blobs: bool) -> dict[str, Any]:
        """`GET /api/models/ORG/NAME`."""
        files = self.commits[commit].values()
        return {
            "_id": hashlib.sha256(self.repo_id.encode()).hexdigest()[:24],
            "id": self.repo_id,
            "private": self.private,
            "pipeline_tag": "text-generation",
            "library_name": "transformers",
            "tags": ["transformers", "safetensors", "text-generation", "endpoints_compatible", "region:us"],
            "downloads": 12,
            "likes": 1,
            "modelId": self.repo_id,
            "author": self.repo_id.split("/", maxsplit=1)[0],
            "sha": commit,
            "lastModified": "2025-01-31T12:00:00.000Z",
            "gated": "manual" if self.gated else False,
            "disabled": False,
            "siblings": [_sibling(file, blobs=blobs) for file in files],
            "spaces": [],
            "createdAt": "2025-01-30T12:00:00.000Z",
            "usedStorage": sum(file.size for file in files),
        }

    def tree(self, commit: str, folder: str, *, recursive: bool) -> list[dict[str, Any]]:
        """`GET /api/models/ORG/NAME/tree/REVISION/FOLDER`; empty where there is no such folder."""
        entries: dict[str, dict[str, Any]] = {}
        for file in self.commits[commit].values():
            if not file.name.startswith(folder and f"{folder}/"):
                continue
            below = file.name[len(folder) + 1 if folder else 0 :].split("/")
            parents = ["/".join(filter(None, [folder, *below[:depth]])) for depth in range(1, len(below))]
            for parent in parents if recursive else parents[:1]:
                oid = hashlib.sha1(f"{commit}/{parent}".encode(), usedforsecurity=False).hexdigest()
                entries[parent] = {"type": "directory", "oid": oid, "size": 0, "path": parent}
            if recursive or not parents:
                entries[file.name] = {"type": "file", "oid": file.blob_id, "size": file.size, "path": file.name}
                if file.is_large:
                    lfs = {"oid": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
                    entries[file.name]["lfs"] = lfs
        return list(entries.values())


class HubSite:
    """Answers requests to the Hub and to its storage. Nothing here knows of sockets."""

    def __init__(self, hub: str, storage: str) -> None:
        """Origins, such as `http://127.0.0.1:8080`."""
        self.hub = hub
        self.storage = storage
        self.repos: dict[str, Repo] = {}
        self.renamed: dict[str, str] = {}
        self.known_tokens: set[str] = set()
        self.signed_seconds = 3600.0
        self.uses_resolve_cache = False
        self._stored: dict[str, tuple[Repo, HubFile]] = {}
        self._secret = secrets.token_bytes(16)

    def store(self, repo: Repo) -> None:
        """Let the storage have a repository's large files."""
        for files in repo.commits.values():
            self._stored |= {file.key: (repo, file) for file in files.values() if file.is_large}

    def answer(self, request: Request) -> tuple[Request, Reply]:
        """The answer, and the request with what is known about it now."""
        if request.host == "hub":
            request, reply = self._answer_as_hub(request)
            reply = reply.with_headers(_usual_headers(request))
        else:
            request, reply = self._answer_as_storage(request)
        return replace(request, status=reply.status), reply

    # ---- the Hub -------------------------------------------------------------------------------------------

    def _answer_as_hub(self, request: Request) -> tuple[Request, Reply]:
        authorization = request.headers.get("authorization")
        token = authorization.removeprefix("Bearer ") if authorization else None
        if match := _RESOLVE_CACHE.fullmatch(request.path) or _RESOLVE.fullmatch(request.path):
            repo_id, revision, file = map(unquote, match.groups())
            request = replace(request, repo=repo_id, file=file)
        elif match := _API.fullmatch(request.path):
            repo_id = unquote(match[1])
            request = replace(request, repo=repo_id)
        if token is not None and token not in self.known_tokens:
            return request, _refusal(request, 401, "", _BAD_TOKEN)
        if request.path == "/api/agent-harnesses":  # huggingface_hub 2 asks once a day
            return request, _json({"standardEnvVars": [], "harnesses": {}})
        if match is None:
            return request, _refusal(request, 404, "", "Sorry, we can't find the page you are looking for.")
        if repo_id in self.renamed:
            target = request.target.replace(f"/{repo_id}", f"/{self.renamed[repo_id]}", 1)
            return request, Reply(307, {"Location": target, "Content-Type": "text/plain"}, b"Temporary Redirect")
        repo = self.repos.get(repo_id)
        if repo is None or (repo.private and token not in repo.tokens):
            return request, _refusal(request, 401 if token is None else 404, "RepoNotFound", "Repository not found")
        if match.re is _API:
            return request, self._answer_api(request, repo, match, token)
        return self._resolve(request, repo, revision, file, token)

    def _answer_api(self, request: Request, repo: Repo, match: re.Match[str], token: str | None) -> Reply:
        what, revision, folder = match[2], unquote(match[3] or "main"), unquote(match[4] or "")
        query = parse_qs(request.query)
        if what == "auth-check":
            return _no_access(request, repo, token) or _json({})
        if what == "refs":
            named = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": at} for name, at in repo.branches.items()
            ]
            return _json({"branches": named, "tags": [], "converts": []})
        commit = repo.commit_of(revision)
        if commit is None:
            return _refusal(request, 404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if what == "tree":
            recursive = query.get("recursive", [""])[0].lower() in ("true", "1")
            tree = repo.tree(commit, folder, recursive=recursive)
            return _json(tree) if tree else _refusal(request, 404, "EntryNotFound", f"{folder} does not exist")
        return _json(repo.info(commit, blobs=query.get("blobs", [""])[0].lower() in ("true", "1")))

    def _resolve(
        self, request: Request, repo: Repo, revision: str, name: str, token: str | None
    ) -> tuple[Request, Reply]:
        commit = repo.commit_of(revision)
        if commit is None:
            return request, _refusal(request, 404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if refusal := _no_access(request, repo, token):
            return request, refusal
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        file = repo.commits[commit].get(name)
        if file is None:
            return request, _refusal(request, 404, "EntryNotFound", "Entry not found").with_headers(headers)
        content = file.content()
        request = replace(request, range=_asked_range(request, content.size))
        if not file.is_large:
            if self.uses_resolve_cache and not request.path.startswith("/api/"):
                headers |= {"X-Linked-Size": str(file.size), "X-Linked-ETag": content.etag}
                cached = f"/api/resolve-cache/models/{repo.repo_id}/{commit}/{quote(name)}?etag={quote(content.etag)}"
                moved = Reply(307, {**headers, "Location": cached, "Content-Type": "text/plain"}, b"Temporary Redirect")
                return request, moved
            return request, serve(content, request.headers.get("range")).with_headers(headers)
        address = self.storage + self._signed(file)
        headers |= {
            "X-Linked-Size": str(file.size),
            "X-Linked-ETag": f'"{file.sha256}"',
            "ETag": f'"{file.sha256}"',
            "Location": address,
            "Content-Type": "text/plain; charset=utf-8",
            "Vary": "Origin, Accept",
        }
        return request, Reply(302, headers, f"Found. Redirecting to {address}".encode())

    # ---- the storage ---------------------------------------------------------------------------------------

    def _signed(self, file: HubFile) -> str:
        base = file.name.rpartition("/")[2]
        disposition = quote(f"inline; filename*=UTF-8''{base}; filename=\"{base}\";", safe="")
        signed = f"{file.key}?response-content-disposition={disposition}"
        signed += f"&X-Amz-Algorithm=AWS4-HMAC-SHA256&Expires={time.time() + self.signed_seconds:.3f}"
        return f"{signed}&X-Amz-Signature={self._signature(signed)}"

    def _signature(self, address: str) -> str:
        return hmac.new(self._secret, address.encode(), hashlib.sha256).hexdigest()

    def _answer_as_storage(self, request: Request) -> tuple[Request, Reply]:
        """A stranger answers as the storage does, but asks for no signature, and knows the Hub's paths as well."""
        stored = self._stored.get(request.path)
        resolve = _RESOLVE.fullmatch(request.path)
        if stored is None and request.host == "stranger" and resolve:
            repo = self.repos.get(unquote(resolve[1]), Repo(""))
            file = repo.commits.get(repo.commit_of(unquote(resolve[2])) or "", {}).get(unquote(resolve[3]))
            stored = (repo, file) if file else None
        if stored is None:
            return request, xml_error(404, "NoSuchKey", "The specified key does not exist.")
        repo, file = stored
        request = replace(request, repo=repo.repo_id, file=file.name)
        if request.host == "storage":
            if request.has_token:
                return request, xml_error(400, "InvalidArgument", "Only one auth mechanism allowed")
            address, _, signature = request.target.partition("&X-Amz-Signature=")
            expires = float(parse_qs(request.query).get("Expires", ["0"])[0])
            if expires < time.time():
                return request, request_has_expired()
            if not hmac.compare_digest(signature, self._signature(address)):
                return request, xml_error(403, "SignatureDoesNotMatch", "The request signature does not match.")
        content = file.content()
        request = replace(request, range=_asked_range(request, content.size))
        if_range = request.headers.get("if-range")
        asked = request.headers.get("range") if if_range in (None, content.etag) else None
        if request.headers.get("if-match") not in (None, "*", content.etag):
            return request, xml_error(412, "PreconditionFailed", "At least one of the pre-conditions did not hold")
        disposition = parse_qs(request.query).get("response-content-disposition", ["inline"])[0]
        return request, serve(content, asked).with_headers({"Content-Disposition": disposition})


def _sibling(file: HubFile, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": file.name}
    known: dict[str, Any] = {"rfilename": file.name, "blobId": file.blob_id, "size": file.size}
    if file.is_large:
        known["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return known


def _asked_range(request: Request, size: int) -> tuple[int, int] | None:
    try:
        return parse_range(request.headers.get("range"), size)
    except ValueError:
        return None


def _no_access(request: Request, repo: Repo, token: str | None) -> Reply | None:
    """The refusal of a gated repository, or None where the token opens it."""
    if not repo.gated or token in repo.tokens:
        return None
    restricted = f"Access to model {repo.repo_id} is restricted"
    if token is None:
        login = "You must have access to it and be authenticated to access it. Please log in."
        return _refusal(request, 401, "GatedRepo", f"{restricted}. {login}")
    ask = f"and you are not in the authorized list. Visit https://huggingface.co/{repo.repo_id} to ask for access."
    return _refusal(request, 403, "GatedRepo", f"{restricted} {ask}")


def _usual_headers(request: Request) -> dict[str, str]:
    """What the Hub adds to every answer."""
    resource, quota = ("api", 1000) if request.path.startswith("/api/") else ("resolvers", 5000)
    return {
        "X-Powered-By": "huggingface-moon",
        "X-Request-Id": f"Root=1-{secrets.token_hex(4)}-{secrets.token_hex(12)}",
        "RateLimit": f'"{resource}";r={quota - 1};t=120',
        "RateLimit-Policy": f'"fixed window";"{resource}";q={quota};w=300',
    }


def _refusal(request: Request, status: int, code: str, message: str) -> Reply:
    headers = {"X-Error-Message": message, "Content-Type": "text/plain; charset=utf-8"}
    if code:
        headers["X-Error-Code"] = code
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="Authentication required", charset="UTF-8"'
    if request.path.startswith("/api/"):
        return _json({"error": message}, status).with_headers({**headers, "Content-Type": "application/json"})
    return Reply(status, headers, message.encode())


def _json(value: Mapping[str, Any] | list[dict[str, Any]], status: int = 200) -> Reply:
    body = json.dumps(value, separators=(",", ":")).encode()
    return Reply(status, {"Content-Type": "application/json; charset=utf-8"}, body)
