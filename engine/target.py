"""What a user means by MODEL: something on this disk, or a repository on the Hugging Face Hub. Asks no network."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from .errors import ChoiceError, ModelNotFoundError
from .text import shortened

_REPO = r"(?P<repo>\w[\w.-]*/\w[\w.-]*)"
_HUB_NAME = re.compile(_REPO + r"(?:/|@(?P<revision>.*))?", re.ASCII | re.DOTALL)
_NEARLY = re.compile(r"(?:models/)?" + _REPO + r"(?:[:@](?P<revision>.+))?", re.ASCII)
"""A name as other tools write it."""
_URL = re.compile(r"(hf|https?)://", re.IGNORECASE)
_HOST = re.compile(r"(huggingface|hf)\.co/", re.IGNORECASE)
"""An address without its `https://`."""
_COMMIT_PAGE = re.compile(r"(https?://[^?#]*/[^/?#]+/[^/?#]+)/commits?/([^/?#]+)/?(?:[?#].*)?", re.IGNORECASE)
"""The page of a commit, or of a revision's commits."""


@dataclass(frozen=True, slots=True)
class HubName:
    """A repository on the Hub, `ORG/NAME`, and a branch, tag or commit; None is the repository's main branch."""

    repo_id: str
    revision: str | None = None
    path: str = field(default="", compare=False)
    """What follows in the address of a page: a file or folder, or the rest of the name of a branch."""

    def __str__(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"

    @property
    def url(self) -> str:
        """What opens it again and can be taken for nothing else, as huggingface_hub writes it."""
        revision = (self.revision or "").replace("%", "%25").replace("/", "%2F")
        return f"hf://{self.repo_id}" + (f"@{revision}" if revision else "")

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """`ORG/NAME`, `ORG/NAME@REVISION`, `hf://…` or the address of a page of a model; None for anything else.

        Raises:
            ModelNotFoundError: an address that is not that of a model on the Hub.
        """
        if _URL.match(text):
            return cls._parse_url(text)
        if _HOST.match(text):
            return cls._parse_url(f"https://{text}")
        found = _HUB_NAME.fullmatch(text)
        return cls(found["repo"], found["revision"] or None) if found else None

    @classmethod
    def _parse_url(cls, text: str) -> Self:
        from .hub_environment import check_environment

        check_environment()
        from huggingface_hub import constants, parse_hf_uri
        from huggingface_hub.errors import HfUriError

        try:
            uri = parse_hf_uri(_COMMIT_PAGE.sub(r"\1/tree/\2", text), endpoint=constants.ENDPOINT)
        except (HfUriError, ValueError) as error:  # such as an address with half a bracket
            raise ModelNotFoundError(
                f"{_without_query(text)} is not the address of a model on the Hub.",
                "Give ORG/NAME, or the address of the model's page, such as https://huggingface.co/ORG/NAME.",
            ) from error
        if uri.type != "model":
            raise ModelNotFoundError(f"{_without_query(text)} is a {uri.type}, not a model.", "Give a model.")
        return cls(uri.id, uri.revision, uri.path_in_repo)


def _without_query(url: str) -> str:
    """An address without what may be secret in it."""
    return shortened_name(re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", url)[0]))


def name_on_hub(path: Path, revision: str | None = None) -> str:
    """What names the model on the Hub that is called as something on this disk is; empty where none can be."""
    found = _HUB_NAME.fullmatch(str(path))
    if found is None:
        return ""
    name = HubName(found["repo"], revision or found["revision"] or None)
    return name.url if os.path.lexists(str(name)) else str(name)


def find_target(text: str, revision: str | None = None) -> Path | HubName:
    """What `text` names; an existing file or folder comes before a name on the Hub.

    Args:
        text: a path, `ORG/NAME`, `ORG/NAME@REVISION`, `hf://…` or the address of a model's page.
        revision: a branch, tag or commit, for a model on the Hub.

    Raises:
        ModelNotFoundError: it is neither a path that exists nor a name that the Hub could know.
        ChoiceError: it is empty; `revision` is given for a folder, or a different one stands in `text`.
    """
    if not text:
        raise ChoiceError("The model's name is empty.", "Give a model folder, . for this one, or ORG/NAME.")
    path, shown = Path(text), shortened_name(text)
    try:
        exists = not _URL.match(text) and os.path.lexists(path.expanduser())
    except (RuntimeError, ValueError):  # an unknown ~user, or a null byte: told when it is opened
        exists = True
    name = None if exists else HubName.parse(text)
    if name is None:
        if revision is not None:
            hub = name_on_hub(path, revision) if exists else ""
            hint = f"What is here comes first: {hub} names the Hub's." if hub else "Leave it out, or give ORG/NAME."
            raise ChoiceError(f"{shown} is a path, and a revision is for models on the Hub.", hint)
        if not exists and not text.endswith(".safetensors"):
            _refuse_what_is_nearly_a_name(text)
        return path
    if revision is not None and name.revision not in {None, revision}:
        raise ChoiceError(
            f"{shown} and the revision {shortened_name(revision)} name two versions.", "Give one of them."
        )
    if revision == "":
        raise ChoiceError("The revision is empty.", "Give a branch, a tag or a commit.")
    return HubName(name.repo_id, revision or name.revision, name.path)


def _refuse_what_is_nearly_a_name(text: str) -> None:
    """Tell how a model on the Hub is written, where what was typed looks as if it should name one."""
    shown = shortened_name(text)
    if nearly := _NEARLY.fullmatch(text):
        name = HubName(nearly["repo"], nearly["revision"])
        raise ModelNotFoundError(
            f"There is no file or folder {shown} here, and no model on the Hub can be called so.",
            f"Write {shortened_name(str(name))} for a model on the Hub.",
        )
    if re.fullmatch(r"\w[\w.-]*(@.*)?", text, re.ASCII):
        raise ModelNotFoundError(
            f"There is no file or folder {shown}.",
            "Give the path of a model folder, or a model on the Hub as ORG/NAME.",
        )


def shortened_name(text: str) -> str:
    """A name as it is shown in a sentence: whole, unless it is longer than any name on the Hub."""
    return shortened(text, 120)
