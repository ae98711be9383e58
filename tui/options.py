"""What options of the command line accept, where typer alone would not say so."""

import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from svdtui.engine.errors import AddressError
from svdtui.engine.selection import layer_ranges
from svdtui.engine.text import printable

_MOST_PARAMETERS = 10**15


def device_name(value: str) -> str:
    """A device that there can be; whether there is one shows when it is used."""
    kind, _, number = value.partition(":")
    if value not in {"auto", "cpu", "cuda", "mps"} and not (kind == "cuda" and number.isascii() and number.isdigit()):
        raise typer.BadParameter("use auto, cpu, cuda, cuda:N or mps")
    return value


def is_here() -> bool:
    """Whether there is a current folder: it may have been removed, and then no path means anything."""
    try:
        Path.cwd()
    except OSError:
        return False
    return True


def folder_name(text: str) -> Path:
    """A folder, which need not be there yet; not the current one for want of a name, and none that is called `~`.

    Shells leave the `~` of `--cache-dir=~/results` as it is.
    """
    if not text.strip():
        raise typer.BadParameter("is empty: name a folder, . for this one")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise typer.BadParameter(f"there is no user {printable(Path(text).parts[0])}") from None


def output_name(value: str | None) -> str | None:
    """The file to write; stdout by any name is `-`, so that what `>>` appends to is not replaced."""
    return "-" if value in {"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"} else value


class Layers(tuple[range, ...]):
    """What one `--layers` names; a class of its own, for typer takes a tuple for several values."""


def layers_named(text: str) -> Layers:
    """`7`, `0-3` or `0-3,7`."""
    try:
        return Layers(layer_ranges(text))
    except AddressError as error:
        raise typer.BadParameter(str(error)) from None


def parameter_count(text: str) -> int:
    """`2000000`, `2M`, `1.5M` or `500k` as a number."""
    digits = text.strip().replace(",", "").replace("_", "")
    factor = {"k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}.get(digits[-1:].lower(), 1)
    try:
        count = Decimal(digits[:-1] if factor > 1 else digits) * factor
        is_count = count >= 1 and count == int(count)
    except ArithmeticError:
        is_count = False
    if not is_count:
        raise typer.BadParameter(f"{printable(text)!r} is no number of parameters: write 2000000, 2M or 500k")
    if count >= _MOST_PARAMETERS:
        raise typer.BadParameter(f"{printable(text)} is more than any model has: write 2000000, 2M or 500k")
    return int(count)


class FindingsCommand(TyperCommand):
    """`--findings` with nothing after it, or with another option, is `--findings -`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the `-` that was left out."""
        end = args.index("--") if "--" in args else len(args)
        for place in reversed(range(end)):
            following = args[place + 1] if place + 1 < end else "--"
            if args[place] == "--findings" and following.startswith("-") and following != "-":
                args.insert(place + 1, "-")
        return super().parse_args(ctx, args)


_WRITTEN = {
    "--csv": ("CSV", (".csv", ".txt")),
    "--spectra-csv": ("CSV", (".csv", ".txt")),
    "--findings": ("Markdown", (".md", ".markdown", ".txt")),
    "--candidates": ("CSV", (".csv", ".txt")),
    "--lora-plan": ("JSON", (".json",)),
}
"""What an option writes, and the endings that say so."""

_ENDING = re.compile(r".+(\.[A-Za-z][A-Za-z0-9]*)", re.ASCII)
"""A name that says what it holds; `llama-3.1` and `run-0.5b` have a version at their end."""


def check_files(files: dict[str, str | None]) -> None:
    """No option may name nothing, no two the same file, only one stdout, and none what it does not write."""
    taken: dict[str, str] = {}
    for option, file in files.items():
        if file == "":
            raise typer.BadParameter("is empty: name a file, or - for stdout", param_hint=option)
        if file is not None:
            first = taken.setdefault(os.path.realpath(file), option)
            if first != option:
                raise typer.BadParameter(f"must not be the same as {first}", param_hint=option)
            _check_ending(option, file)


def _check_ending(option: str, file: str) -> None:
    """Whoever asks for `heads.json` shall not find CSV in it."""
    kind, known = _WRITTEN[option]
    ending = _ENDING.fullmatch(Path(file).name)
    if ending and ending[1].lower() not in known:
        *others, last = known
        raise typer.BadParameter(
            f"writes {kind}, not {ending[1]}: end the name in {' or '.join(filter(None, (', '.join(others), last)))}, "
            "or in nothing",
            param_hint=option,
        )
