"""What a user means by MODEL: something on this disk, or a repository on the Hugging Face Hub. Asks no network."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .errors import ChoiceError, ModelNotFoundError

_HUB_NAME = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>.*))?", re.ASCII | re.DOTALL)
_URL = re.compile(r"(hf|https?)://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HubName:
    """A repository on the Hub, `ORG/NAME`, and a branch, tag or commit; None is the repository's main branch."""

    repo_id: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"

    @property
    def url(self) -> str:
        """What opens it again and can be taken for nothing else, as huggingface_hub writes it."""
        revision = (self.revision or "").replace("%", "%25").replace("/", "%2F")
        return f"hf://{self.repo_id}" + (f"@{revision}" if revision else "")

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """`ORG/NAME`, `ORG/NAME@REVISION`, `hf://…` or the address of a model's page; None for anything else.

        Raises:
            ModelNotFoundError: an address that is not that of a model on the Hub.
        """
        if _URL.match(text):
            return cls._parse_url(text)
        found = _HUB_NAME.fullmatch(text)
        return cls(found["repo"], found["revision"] or None) if found else None

    @classmethod
    def _parse_url(cls, text: str) -> Self:
        from huggingface_hub import constants, parse_hf_uri
        from huggingface_hub.errors import HfUriError

        try:
            uri = parse_hf_uri(text, endpoint=constants.ENDPOINT)
        except (HfUriError, ValueError) as error:  # such as an address with half a bracket
            raise ModelNotFoundError(
                f"{_without_query(text)} is not the address of a model on the Hub.",
                "Give ORG/NAME, or the address of the model's page, such as https://huggingface.co/ORG/NAME.",
            ) from error
        if uri.type != "model":
            raise ModelNotFoundError(f"{_without_query(text)} is a {uri.type}, not a model.", "Give a model.")
        return cls(uri.id, uri.revision)


def _without_query(url: str) -> str:
    """An address without what may be secret in it."""
    return re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", url)[0])


def find_target(text: str, revision: str | None = None) -> Path | HubName:
    """What `text` names; an existing file or folder comes before a name on the Hub.

    Args:
        text: a path, `ORG/NAME`, `ORG/NAME@REVISION`, `hf://…` or the address of a model's page.
        revision: a branch, tag or commit, for a model on the Hub.

    Raises:
        ModelNotFoundError: it is neither a path that exists nor a name that the Hub could know.
        ChoiceError: `revision` is given for a folder, or a different one stands in `text`.
    """
    path = Path(text)
    try:
        exists = not _URL.match(text) and os.path.lexists(path.expanduser())
    except (RuntimeError, ValueError):  # an unknown ~user, or a null byte: told when it is opened
        exists = True
    name = None if exists else HubName.parse(text)
    if name is None:
        if revision is not None:
            raise ChoiceError(
                f"{text} is a path, and a revision is for models on the Hub.", "Leave it out, or give ORG/NAME."
            )
        if not exists and re.fullmatch(r"\w[\w.-]*(@.*)?", text, re.ASCII) and not text.endswith(".safetensors"):
            raise ModelNotFoundError(
                f"There is no file or folder {text}.",
                "Give the path of a model folder, or a model on the Hub as ORG/NAME.",
            )
        return path
    if revision is not None and name.revision not in {None, revision}:
        raise ChoiceError(f"{text} and the revision {revision} name two versions.", "Give one of them.")
    if revision == "":
        raise ChoiceError("The revision is empty.", "Give a branch, a tag or a commit.")
    return HubName(name.repo_id, revision or name.revision)
