"""From a name on the Hub to a source: which commit it is, and which files there are; with the network or without it."""

import contextlib
import glob
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .errors import ChoiceError, NetworkError, OfflineError
from .hub import HubSource, no_bar
from .hub_environment import check_connection, check_environment
from .hub_errors import HubAccess, about_revision, answer_seconds, explained_error, told
from .hub_limits import expect, expect_listing, guarded_session
from .hub_listing import ask_listing
from .hub_records import HubRecords, is_bare
from .hub_verify import verify
from .json_weight import parsed
from .local import scan
from .ranges import TRIES, RemoteFile
from .shards import CONFIG, INDEX_SUFFIX, JSON_CAP
from .silence import silent_library
from .source import Watch, no_watch
from .target import HubName, shortened_name

_COMMIT = re.compile(r"[0-9a-f]{40}")

_READ_AT_ONCE = ("config.json", "model.safetensors.index.json")
"""What nearly every model needs; asked for side by side."""


def open_hub(
    name: HubName,
    *,
    offline: bool = False,
    root: Path,
    watch: Watch = no_watch,
    access: HubAccess | None = None,
) -> HubSource:
    """The source for a model on the Hub: resolves its revision, and lists its files.

    Args:
        name: the repository and the revision.
        offline: ask nothing of the network.
        root: the folder under which records are kept.
        watch: who is told what is being waited for.
        access: another Hub, token or Hub cache than the user's environment says.

    Raises:
        ChoiceError: there is no such name, or no folder for the local cache.
        ModelNotFoundError: there is no such repository or revision.
        AccessError: it is gated or private.
        OfflineError: it is not in the local cache, and the network must not be used.
        NetworkError: the Hub cannot be reached, and nothing of the model is in the local cache.
    """
    check_environment()
    from huggingface_hub import constants

    access = access or HubAccess()
    offline = offline or constants.is_offline_mode()
    _check_name(name, access)
    if (access.cache_dir or constants.HF_HUB_CACHE).startswith("~"):
        raise ChoiceError(
            "A model on the Hub needs a folder for the Hub's cache, and this user has no home folder.",
            "Set HOME, or HF_HOME to a folder.",
        )
    if not offline:
        check_connection()
        guarded_session()
    with silent_library:
        commit, files, notice = (_cached if offline else _resolved)(name, access, root, watch)
        records = HubRecords(root, name.repo_id, commit)
        source = HubSource(name, commit, files, records, access, offline=offline, notice=notice, watch=watch)
        source.fetch([file for file in _READ_AT_ONCE if file in files and files[file].size <= JSON_CAP])
    return source


_Resolved = tuple[str, Mapping[str, RemoteFile], str]
"""A commit, its files, and a notice or empty text."""


def _resolved(name: HubName, access: HubAccess, root: Path, watch: Watch) -> _Resolved:
    """What a name means now. Where the Hub cannot be reached it is the commit that was opened last."""
    commit = _cached_commit(name, access)
    if commit is not None and commit == name.revision:  # a commit never changes
        files = HubRecords(root, name.repo_id, commit).files()
        if files is not None:
            return commit, files, ""
    files = _known_files(name, commit, access, root) if commit is not None else None
    is_whole = files is not None and all(file.is_listed for file in files.values())
    try:
        commit_now, files_now = ask_listing(name, access, watch, tries=1 if files and is_whole else TRIES)
    except NetworkError as error:
        if commit is None or not files:
            raise
        if not is_whole:  # the worker asks again, and would take the files for others if it were answered
            raise NetworkError(error.message, "Check the network; --offline opens what is on this machine.") from None
        return commit, files, f"{error.message} Shown is commit {commit[:7]}, as far as it is on this machine."
    HubRecords(root, name.repo_id, commit_now).keep_files(files_now)
    _keep_reference(commit_now, name, access)
    return commit_now, files_now, ""


def _cached(name: HubName, access: HubAccess, root: Path, _: Watch) -> _Resolved:
    """What a name meant when it was last asked for."""
    commit = _cached_commit(name, access)
    files = _known_files(name, commit, access, root) if commit is not None else None
    if commit is None or not files:
        raise OfflineError(
            f"{shortened_name(str(name))} is not in the local Hub cache, and svdtui is offline.",
            f"Open it once without --offline (and HF_HUB_OFFLINE). {about_revision(name)}".strip(),
        )
    return commit, files, ""


def _cached_commit(name: HubName, access: HubAccess) -> str | None:
    """The commit that a name meant when it was last asked for, by any tool that uses the local Hub cache."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionResolutionError

    try:
        found = HfApi().resolve_revision(
            name.repo_id, revision=name.revision, cache_dir=access.cache_dir, local_files_only=True
        )
    except (RevisionResolutionError, OSError, ValueError):
        return None
    return str(found.resolved) if _COMMIT.fullmatch(str(found.resolved)) else None


def _keep_reference(commit: str, name: HubName, access: HubAccess) -> None:
    """Note in the local Hub cache which commit the revision is, as every Hub tool does, so that it is found offline."""
    from huggingface_hub import HfApi

    class Answered(HfApi):
        def repo_info(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(sha=commit)

    try:
        Answered().resolve_revision(name.repo_id, revision=name.revision, cache_dir=access.cache_dir)
    except (OSError, ValueError):
        return  # a revision that cannot be a file's name; it is only needed offline


def _known_files(name: HubName, commit: str, access: HubAccess, root: Path) -> dict[str, RemoteFile] | None:
    """The files of a commit as the Hub once said, or those that another tool has downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    files = HubRecords(root, name.repo_id, commit).files()
    if files is not None:
        return files
    try:
        folder = snapshot_download(
            name.repo_id,
            revision=commit,
            cache_dir=access.cache_dir,
            allow_patterns=["config.json"],
            local_files_only=True,
        )
        found = {file: RemoteFile(stat.size) for file, stat in scan(Path(folder)).items() if is_bare(file)}
    except (LocalEntryNotFoundError, OSError):
        return None
    if not any(file.endswith(".safetensors") for file in found):
        return None  # whoever wanted the config only has left no list of files
    return _unlisted(Path(folder), found) | found


def _unlisted(folder: Path, found: Mapping[str, RemoteFile]) -> dict[str, RemoteFile]:
    """The shards that an index names: those that were not downloaded are files of the model, too."""
    named: set[str] = set()
    for index in (file for file in found if file.endswith(INDEX_SUFFIX) and found[file].size <= JSON_CAP):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            named.update(parsed((folder / index).read_bytes())["weight_map"].values())  # else told when it is used
    shards = (shard for shard in named if isinstance(shard, str) and is_bare(shard))
    return {shard: RemoteFile(0, is_listed=False) for shard in shards if shard.endswith(".safetensors")}


def download_files(
    name: HubName, weights: list[str], known: Mapping[str, RemoteFile], access: HubAccess | None
) -> list[str]:
    """Fetch weight files, with config and index, into the local Hub cache, and compare every one with its hash; bars on
    stderr where it is a terminal.

    Args:
        name: the repository and the commit.
        weights: the weight files that are wanted.
        known: what the Hub says of its files.
        access: another Hub, token or Hub cache than the user's environment says.

    Returns:
        The files of which no hash is known.

    Raises:
        ReadError: a file is not what the Hub says it is; it has been taken out of the cache.
        EngineError: it failed; what was fetched is kept.
    """
    from huggingface_hub import snapshot_download, try_to_load_from_cache

    access = access or HubAccess()
    wanted = [file for file in known if file in {*weights, CONFIG} or file.endswith(INDEX_SUFFIX)]
    for file in wanted:
        expect(name.repo_id, str(name.revision), file, known[file].size)
    is_watched = sys.stderr is not None and sys.stderr.isatty()
    bar = _passing_bar() if is_watched else no_bar()
    guarded_session()
    expect_listing()
    with silent_library:
        try:
            snapshot_download(
                name.repo_id,
                revision=name.revision,
                cache_dir=access.cache_dir,
                endpoint=access.endpoint,
                token=access.token,
                allow_patterns=[glob.escape(file) for file in wanted],
                library_name="svdtui",
                etag_timeout=answer_seconds(),
                tqdm_class=bar,
            )
        except Exception as error:
            problem = told(error, access, name)
            if isinstance(problem, NetworkError):
                kept = "What is complete is kept: the same command goes on there."
                problem = NetworkError(problem.message, f"{problem.hint} {kept}")
            raise problem from None
        found = {
            file: try_to_load_from_cache(name.repo_id, file, cache_dir=access.cache_dir, revision=name.revision)
            for file in wanted
        }
        paths = {file: Path(path) for file, path in found.items() if isinstance(path, str)}
        with bar(total=sum(known[file].size for file in paths), desc="Checking", unit="B", unit_scale=True) as checking:
            return verify(name.repo_id, known, paths, checking.update)


def _passing_bar() -> Any:
    """The library's progress bar, which is gone when it has come to its end: what follows is not written over it."""
    from huggingface_hub.utils import tqdm

    class PassingBar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "leave": False})  # type: ignore[no-untyped-call]

    return PassingBar


def _check_name(name: HubName, access: HubAccess) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name.repo_id)
    except HFValidationError as error:
        raise explained_error(error, access, name) from None
    if name.revision is not None and not name.revision.isprintable():
        raise ChoiceError(f"{shortened_name(repr(name.revision))} is no branch, tag or commit.", "Check the revision.")
