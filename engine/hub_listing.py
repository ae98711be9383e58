"""Which files a commit of a repository has, how long they are, and what they hash to, as the Hub says it.

The Hub says all of it at once. A mirror may leave out sizes and hashes: then its tree is asked for, and after that,
file by file, how long what is needed is.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urljoin

from .errors import NetworkError
from .hub_errors import RETRIED, HubAccess, answer_seconds, not_the_hub, told
from .hub_limits import OURS, guarded_session
from .hub_records import LARGEST_FILE, is_bare
from .json_weight import parsed
from .patience import in_threads, patiently
from .ranges import TRIES, RemoteFile
from .shards import CONFIG, INDEX_SUFFIX
from .source import Watch, no_watch
from .target import HubName

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_SIDE_BY_SIDE = 8
"""Files that are asked after at once."""

_MOST_ASKED_AFTER = 2000
"""Files that are asked after one by one."""

_MOST_PAGES = 200
"""Pages of a tree; each has 1,000 files."""

T = TypeVar("T")

Listing = tuple[str, dict[str, RemoteFile]]
"""A commit, and the files at the top of the repository."""


def ask_listing(name: HubName, access: HubAccess, watch: Watch, tries: int) -> Listing:
    """What a name means now.

    Raises:
        EngineError: the Hub does not say, or cannot be reached.
    """
    doing = f"Asking {access.host} for {name}"
    info = patiently(partial(_told, access, name, partial(_info, name, access)), watch, doing, tries)
    commit = info.get("sha")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise NetworkError(f"The Hub names no commit of {name}.", "Check HF_ENDPOINT.")
    siblings = info.get("siblings")
    entries = [entry for entry in siblings if isinstance(entry, dict)] if isinstance(siblings, list) else []
    files, missing = _told(access, name, partial(_read, entries, "rfilename", "sha256"))
    if missing or not entries:
        at = HubName(name.repo_id, commit)
        tree = patiently(partial(_told, access, at, partial(_tree, at, access)), watch, doing, TRIES)
        found, unknown = _told(access, at, partial(_read, tree, "path", "oid"))
        files = found | files
        missing = [file for file in {**dict.fromkeys(missing), **dict.fromkeys(unknown)} if file not in files]
        files |= _asked_after(at, access, [file for file in missing if _is_needed(file)], watch)
    return commit, files


def _is_needed(file: str) -> bool:
    return file == CONFIG or file.endswith((".safetensors", INDEX_SUFFIX))


def _told(access: HubAccess, name: HubName, call: Callable[[], T]) -> T:
    """What a call returns; what it raises, as `patiently` takes it."""
    try:
        return call()
    except Exception as error:
        raise told(error, access, name, again=True) from None


def _info(name: HubName, access: HubAccess) -> dict[str, Any]:
    """The Hub's description of the repository at the revision."""
    revision = quote(name.revision or "main", safe="")
    found, _ = _json(f"{access.url}/api/models/{name.repo_id}/revision/{revision}?blobs=true", access)
    if not isinstance(found, dict):
        raise not_the_hub(access)
    return found


def _tree(name: HubName, access: HubAccess) -> list[dict[str, Any]]:
    """The files at the top of the repository; none where no tree is known."""
    from huggingface_hub.errors import HfHubHTTPError

    url = f"{access.url}/api/models/{name.repo_id}/tree/{name.revision}"
    entries: list[dict[str, Any]] = []
    for _ in range(_MOST_PAGES):
        try:
            page, following = _json(url, access)
        except HfHubHTTPError as error:
            if error.response.status_code in RETRIED:
                raise
            return entries
        if not isinstance(page, list):
            return entries
        entries += [entry for entry in page if isinstance(entry, dict) and entry.get("type", "file") == "file"]
        if following is None or not access.is_trusted(urljoin(url, following)):
            break
        url = urljoin(url, following)
    return entries


def _json(url: str, access: HubAccess) -> tuple[Any, str | None]:
    """What an answer says, and where it goes on."""
    from huggingface_hub.utils import hf_raise_for_status

    response = guarded_session().request(
        "GET", url, headers=access.headers(), timeout=answer_seconds(), extensions=OURS
    )
    hf_raise_for_status(response)
    return parsed(response.content), response.links.get("next", {}).get("url")


def _read(entries: Sequence[dict[str, Any]], naming: str, hashing: str) -> tuple[dict[str, RemoteFile], list[str]]:
    """The files that a list tells of, and the names of those whose size it leaves out.

    `naming` and `hashing` are what it calls a file's path, and a large one's SHA-256.

    Raises:
        TypeError: it is no list of files that a Hub would give.
    """
    files, missing = {}, []
    for entry in entries:
        name, size = entry.get(naming), entry.get("size")
        if not isinstance(name, str) or not is_bare(name):
            continue
        large = entry.get("lfs") or {}
        if not isinstance(large, dict) or not isinstance(large.get(hashing), str | None):
            raise TypeError("lfs")
        if size is None:
            size = large.get("size")
        if size is None:
            missing.append(name)
        elif type(size) is int and 0 <= size < LARGEST_FILE:
            blob = entry.get("blobId") or entry.get("oid")
            files[name] = RemoteFile(
                size, _hash(large.get(hashing), _SHA256), blob_id=None if large else _hash(blob, _COMMIT)
            )
    return files, missing


def _hash(value: object, kind: re.Pattern[str]) -> str | None:
    return value if isinstance(value, str) and kind.fullmatch(value) else None


def _asked_after(name: HubName, access: HubAccess, files: Sequence[str], watch: Watch) -> dict[str, RemoteFile]:
    """What the Hub says of files when it is asked for each.

    Raises:
        NetworkError: it does not say how long one is.
    """
    if len(files) > _MOST_ASKED_AFTER:
        raise NetworkError(
            f"{access.host} lists {len(files):,} files of {name.repo_id} without their sizes.",
            "Use another mirror (HF_ENDPOINT).",
        )
    found: dict[str, RemoteFile] = {}
    for first in range(0, len(files), _SIDE_BY_SIDE):
        some = files[first : first + _SIDE_BY_SIDE]
        doing = f"Asking {access.host} how long the files of {name.repo_id} are ({first} of {len(files)})"
        calls = [partial(_told, access, name, partial(_described, name, file, access)) for file in some]
        answers = patiently(partial(in_threads, calls, no_watch, doing), watch, doing, TRIES)
        found.update(zip(some, answers, strict=True))
    return found


def _described(name: HubName, file: str, access: HubAccess) -> RemoteFile:
    """What the Hub says of a file: where it sends readers on, its own word comes before the storage's."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import hf_raise_for_status

    url = hf_hub_url(name.repo_id, file, revision=name.revision, endpoint=access.endpoint)
    headers = {**access.headers(), "Accept-Encoding": "identity"}
    response = guarded_session().request("HEAD", url, headers=headers, timeout=answer_seconds())
    answers = [each.headers for each in (*response.history, response)]
    sizes = [answer.get("x-linked-size") for answer in answers]
    if response.status_code < 400:
        sizes.append(response.headers.get("content-length"))
    size = next((int(each) for each in sizes if each is not None and each.isascii() and each.isdigit()), None)
    if size is None:
        hf_raise_for_status(response)
    if size is None or size >= LARGEST_FILE:
        raise NetworkError(
            f"{response.url.host} does not say how long {file} of {name.repo_id} is, neither in its list of files nor "
            "when it is asked for it.",
            "Use another mirror (HF_ENDPOINT).",
        )
    tags = [(answer.get("x-linked-etag") or "").removeprefix("W/").strip('"') for answer in answers]
    return RemoteFile(size, next((tag for tag in tags if _SHA256.fullmatch(tag)), None))
