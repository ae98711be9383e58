"""3,000 keys by chance, over all screens, in all sizes: the program lives on, answers, and leaves only when asked."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.checkpoints import decaying, write_checkpoint
from tests.pilot import Screen, at, burst, opened, screens, shown, until
from tests.terminal import Terminal
from tests.test_typed import NOTHING

KEYS_IN_PROCESS, KEYS_IN_TERMINAL = 600, 300

ROOM = (100, 30)

ESCAPE = "\x1b"

SPECIAL = ["\r", "\t", " ", "\x7f", *(f"\x1b[{code}" for code in ("A", "B", "C", "D", "H", "F", "Z", "5~", "6~", "3~"))]
"""Enter, tab, arrows, page up and down, …"""

LETTERS = "hjklgxcmMvoOpPtrsSfHeEy<>,.[]{}1234567?"
"""Everything that is bound, but for what leaves."""

PLACES = [
    "0",
    "1.2",
    "2.3.v",
    "0.q_proj",
    "lm_head",
    "model",
    "1.kv1.k",
    "9",
    "0.0.x",
    "",
    "...",
    "1.1.v",
    "é",
    "0.whole",
]

COMMANDS = ["heat", "theme", "help", "pin", "scan", "export", "light", "go", "no such", "findings", "", "sort", "stop"]

SIZES = [ROOM, (80, 24), (79, 24), (80, 23), (1, 1), (20, 4), (160, 45), (300, 24), (81, 90), ROOM, ROOM]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers; K of the first holds NaN, and the second has no V."""
    broken = decaying(32, 64).to(torch.bfloat16)
    broken[0, 0] = torch.nan
    k, v = "model.layers.0.self_attn.k_proj.weight", "model.layers.1.self_attn.v_proj.weight"
    return write_checkpoint(
        tmp_path_factory.mktemp("random") / "tiny", layers=3, overrides={k: broken}, drop=[v]
    ).folder


def wish(chance: random.Random) -> bytes | tuple[int, int]:
    """What a hasty user does next: keys, in one piece or one by one, or another size."""

    def key() -> str:
        keys: list[str] = [*SPECIAL, *LETTERS]
        return chance.choice(keys)

    kind = chance.choices(
        ["key", "burst", "goto", "palette", "pin", "view", "junk", "mouse", "paste", "size", "escape"],
        [30, 20, 8, 8, 6, 6, 4, 8, 2, 6, 8],
    )[0]
    enters = "\r" * chance.randrange(4)
    column, row = chance.randrange(1, 110), chance.randrange(1, 34)
    text: dict[str, Callable[[], str]] = {
        "key": key,
        "burst": lambda: "".join(key() for _ in range(chance.randrange(2, 7))),
        "goto": lambda: "g" + chance.choice(PLACES) + enters,
        "palette": lambda: "\x10" + chance.choice(COMMANDS) + chance.choice(["", *SPECIAL]) + enters,
        "pin": lambda: "p" + chance.choice(["q", "k", "v", "o", "1", "2", "3", "4", "\r", "p", "P", "x"]),
        "view": lambda: chance.choice(["H", "f", "?", "Hg1.1.q\r", "fg2\r", "?g"]),
        "mouse": lambda: f"\x1b[<{chance.choice([0, 0, 1, 2, 35, 64, 65])};{column};{row}{chance.choice('Mm')}",
        "paste": lambda: f"\x1b[200~{chance.choice(PLACES)}\n{chance.choice(PLACES)}\x1b[201~",
        "escape": lambda: ESCAPE,
    }
    if kind == "size":
        return chance.choice(SIZES)
    return chance.choice(list(NOTHING.values())) if kind == "junk" else text[kind]().encode()


def count(data: bytes) -> int:
    """How many keys these are, about: codes are one each."""
    return max(1, len(data.replace(b"\x1b[", b"")) if b"\x1b[<" not in data else 1)


async def lives(pilot: Screen) -> None:
    """It answers: back to the explorer, and to a place that is named."""
    await pilot.resize_terminal(*ROOM)
    for _ in range(8):
        if screens(pilot) == ["Explorer"]:
            break
        await burst(pilot, ESCAPE)
    await until(pilot, lambda: screens(pilot) == ["Explorer"])
    await burst(pilot, ESCAPE)
    await burst(pilot, "g2.1.q\r")
    await until(pilot, lambda: at(pilot) == "2.1.q")
    await until(pilot, lambda: "layer 2 · head 1 · Q" in shown(pilot, "#results"))


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(4))
async def test_random_keys(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.chdir(tmp_path)  # e and E write files
    chance = random.Random(seed)
    pressed = 0
    done: list[bytes | tuple[int, int]] = []
    while pressed < KEYS_IN_PROCESS:
        async with opened(folder, "0.0", size=ROOM, ready=False) as pilot:
            while pressed < KEYS_IN_PROCESS and not pilot.app._exit:
                what = wish(chance)
                done.append(what)
                if isinstance(what, tuple):
                    await pilot.resize_terminal(*what)
                else:
                    await burst(pilot, what)
                    pressed += count(what)
                assert pilot.app._exception is None, done[-8:]
            if pilot.app._exit:
                assert pilot.app.return_code == 0, done[-8:]
                continue  # a command that leaves was chosen
            await lives(pilot)


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(2))
def test_random_keys_in_a_terminal(svdtui: list[str], folder: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(100 + seed)
    pressed = 0
    while pressed < KEYS_IN_TERMINAL:
        with Terminal([*svdtui, str(folder), "--at", "0.0"], size=ROOM, cwd=tmp_path) as terminal:
            try:
                terminal.wait_for("layer 0 · head 0")
                while pressed < KEYS_IN_TERMINAL:
                    what = wish(chance)
                    if isinstance(what, tuple):
                        terminal.resize(*what)
                    else:
                        terminal.send(what)
                        pressed += count(what)
                    if chance.random() < 0.3:
                        terminal.wait_quiet(quiet=0.02, patience=0.02)
                terminal.resize(*ROOM)
                for _ in range(8):
                    terminal.wait_quiet(quiet=0.08, patience=0.15)
                    terminal.press("escape")
                terminal.wait_quiet()
                terminal.send("g2.1.q\r")
                terminal.wait_for("layer 2 · head 1 · Q")
                terminal.press("q")
            except (AssertionError, OSError):
                if not terminal.ends_soon():
                    raise
            assert terminal.wait_exit() == 0, terminal.text()  # by q, or a command that leaves
            assert terminal.is_restored
