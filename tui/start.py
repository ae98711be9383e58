"""What must be there before the screen: a terminal for it, and a model or a way to one."""

import codecs
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

from svdtui.engine.address import Address
from svdtui.engine.errors import AddressError, ChoiceError, EngineError
from svdtui.engine.model import Model
from svdtui.engine.naming import find
from svdtui.engine.opening import download, open_model
from svdtui.engine.target import HubName, name_on_hub, shortened_name

from .places import Places
from .stderr import say


def what_to_show(target: Path | HubName, start: str | None, stack: str | None = None) -> Model | HubName:
    """What the screen is to show: a model, or the name of one that is opened when the screen is there.

    Raises:
        EngineError: a path cannot be opened, or its model has no such place or stack.
    """
    if isinstance(target, HubName):
        return target
    opened = open_model(target, stack=stack)
    if start is not None:
        find(opened, start)
    return opened


def download_first(target: Path | HubName, cache_dir: Path | None) -> None:
    """Fetch a model whole, before anything of it is shown. Ctrl-C ends the program with a sentence.

    Raises:
        EngineError: it is not on the Hub, or could not be fetched.
    """
    if isinstance(target, Path):
        hub = name_on_hub(target)
        hint = f"What is here comes first: {hub} names the Hub's." if hub else "Leave it out."
        raise ChoiceError(f"{shortened_name(str(target))} is a path, and --download is for models on the Hub.", hint)
    errors: list[BaseException] = []
    notices: list[str] = []

    def run() -> None:
        try:
            notices.append(download(target, cache_dir=cache_dir))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="download", daemon=True)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        _clear_bars()
        say("Stopped; the files that were complete are kept.")
        os._exit(130)  # the library would finish the files that it has begun, which may take hours
    if errors:
        _clear_bars()
        raise errors[0]
    for notice in filter(None, notices):
        say(notice)


def _clear_bars() -> None:
    """Take away progress bars that nobody moves any more: the cursor is in the first of them."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write("\r\x1b[J")
        sys.stderr.flush()


def first_address(model: Model, at: str | Address | None, places: Places) -> Address:
    """Where to open: as asked, where the user was, or the first head there is.

    Raises:
        AddressError: the model has no such place as was asked for.
    """
    if at is not None:
        return find(model, str(at))
    if (place := places.address(model.home)) is not None:
        with suppress(AddressError):
            return find(model, place)
    layer = next((layer for layer in model.layers if model.has_heads(layer)), None)
    return Address() if layer is None else Address(layer, 0)


class NotATerminalError(EngineError):
    """The screen has nowhere to appear."""

    title = "No terminal"


def require_terminal() -> None:
    """Refuse where a screen cannot be.

    Raises:
        NotATerminalError: says what to do instead.
    """
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        raise NotATerminalError(
            "The screen needs a terminal, and stdin or stdout is none.", "Run svdtui in a terminal, or use --csv FILE."
        )
    encodings = {stream.encoding for stream in (sys.stdin, sys.stdout, sys.__stderr__) if stream is not None}
    if foreign := [name for name in sorted(encodings) if codecs.lookup(name).name != "utf-8"]:
        raise NotATerminalError(
            f"The screen needs UTF-8, and the terminal is said to use {foreign[0]}.",
            "Set LC_ALL to a locale with UTF-8 (C.UTF-8, say) and unset PYTHONIOENCODING, or use --csv FILE.",
        )
    if os.environ.get("TERM", "") in {"dumb", "unknown"}:
        raise NotATerminalError(
            f"A terminal of the kind TERM={os.environ['TERM']} cannot show a screen.",
            "Set TERM (xterm-256color, say) to what your terminal is, or use --csv FILE.",
        )
