"""Every key, once: the bindings, the footer, the help and the command palette are all made from this list."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding

Owner = Literal["app", "explorer", "tree", "table", "heat", "findings"]

ON_EXPLORER: tuple[Owner, ...] = ("explorer", "tree", "table", "app")
"""Whose keys work on the main screen."""

Where = Literal["anywhere", "curves", "overview"]
"""Where a key has an effect: `curves` of a head or a matrix, an `overview` of heads or layers."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key and what it does. Keys that share a `footer` word stand together in the footer, under that word."""

    owner: Owner
    id: str
    keys: str
    """As Textual writes them, separated by commas."""
    shown: str
    """As a user reads them."""
    action: str
    title: str
    """The command's name in the palette."""
    tooltip: str
    """What it does, as a sentence, for help and palette."""
    footer: str = ""
    """The word in the footer; without one the key is not shown there."""
    where: Where = "anywhere"
    """Where the footer offers it."""
    priority: bool = False
    """Whether it works wherever the focus is, even in a text field."""


KEYS = (
    Key("tree", "tree-up", "up,k", "↑ k", "up", "", "Move up."),
    Key("tree", "tree-down", "down,j", "↓ j", "down", "", "Move down."),
    Key("tree", "tree-collapse", "left,h", "← h", "collapse", "", "Collapse, or go to what holds this."),
    Key("tree", "tree-expand", "right,l", "→ l", "expand", "", "Expand, or go to the first thing inside."),
    Key("tree", "tree-toggle", "enter,space", "enter", "open_close", "", "Expand or collapse."),
    Key("tree", "tree-page-up", "pageup", "pgup", "page(-1)", "", "Move up by a page."),
    Key("tree", "tree-page-down", "pagedown", "pgdn", "page(1)", "", "Move down by a page."),
    Key("tree", "tree-first", "home", "home", "end(-1)", "", "Move to the top."),
    Key("tree", "tree-last", "end", "end", "end(1)", "", "Move to the bottom."),
    Key("table", "table-up", "up,k", "↑ k", "up", "", "Move up a row."),
    Key("table", "table-down", "down,j", "↓ j", "down", "", "Move down a row."),
    Key("table", "table-left", "left,h", "← h", "left", "", "Scroll to earlier columns."),
    Key("table", "table-right", "right,l", "→ l", "right", "", "Scroll to later columns."),
    Key("table", "table-page-up", "pageup", "pgup", "page(-1)", "", "Move up by a page."),
    Key("table", "table-page-down", "pagedown", "pgdn", "page(1)", "", "Move down by a page."),
    Key("table", "table-first", "home", "home", "end(-1)", "", "Move to the first row."),
    Key("table", "table-last", "end", "end", "end(1)", "", "Move to the last row."),
    Key("table", "table-open", "enter", "enter", "open", "", "Open the row's matrix in the tree."),
    Key("explorer", "goto", "g", "g", "goto", "Go to…", "Go to an address: 12, 12.5, 12.5.q, lm_head.", "go"),
    Key(
        "explorer",
        "previous-layer",
        "left_square_bracket",
        "[",
        "layer(-1)",
        "Previous layer",
        "Previous layer, same head and matrix.",
        "layer",
    ),
    Key(
        "explorer",
        "next-layer",
        "right_square_bracket",
        "]",
        "layer(1)",
        "Next layer",
        "Next layer, same head and matrix.",
        "layer",
    ),
    Key(
        "explorer",
        "previous-head",
        "left_curly_bracket",
        "{",
        "head(-1)",
        "Previous head",
        "Previous head, same layer and matrix.",
        "head",
    ),
    Key(
        "explorer",
        "next-head",
        "right_curly_bracket",
        "}",
        "head(1)",
        "Next head",
        "Next head, same layer and matrix.",
        "head",
    ),
    Key("explorer", "show-q", "1", "1", "curve('q')", "Show or hide Q", "Show or hide the curve of Q.", "QKVO"),
    Key("explorer", "show-k", "2", "2", "curve('k')", "Show or hide K", "Show or hide the curve of K.", "QKVO"),
    Key("explorer", "show-v", "3", "3", "curve('v')", "Show or hide V", "Show or hide the curve of V.", "QKVO"),
    Key("explorer", "show-o", "4", "4", "curve('o')", "Show or hide O", "Show or hide the curve of O.", "QKVO"),
    Key("explorer", "log", "x", "x", "log", "Logarithmic or linear", "Logarithmic or linear axis.", "log"),
    Key(
        "explorer",
        "curve",
        "c",
        "c",
        "transform",
        "σ, σ/σ₁ or energy",
        "Next curve: σ, σ/σ₁ (compares shapes), cumulative energy.",
        "curve",
        "curves",
    ),
    Key(
        "explorer",
        "next-metric",
        "m",
        "m",
        "metric(1)",
        "Next metric",
        "Next metric in the charts and tables of heads and of layers.",
        "metric",
        "overview",
    ),
    Key(
        "explorer",
        "previous-metric",
        "M",
        "M",
        "metric(-1)",
        "Previous metric",
        "Previous metric.",
        "metric",
        "overview",
    ),
    Key(
        "explorer",
        "listing",
        "v",
        "v",
        "listing",
        "All metrics of a matrix",
        "In these tables: all metrics of Q, K, V or O, or one of all four.",
        "table",
        "overview",
    ),
    Key(
        "explorer",
        "sort",
        "o",
        "o",
        "sort",
        "Sort by the next column",
        "Sort these tables by the next column.",
        "sort",
        "overview",
    ),
    Key(
        "explorer",
        "sort-reverse",
        "O",
        "O",
        "reverse",
        "Reverse the order",
        "Reverse the order of these tables.",
        "sort",
        "overview",
    ),
    Key(
        "explorer",
        "export",
        "e",
        "e",
        "export",
        "Export CSV",
        "Write this view as CSV into the current folder: a table and its spectra.",
        "export",
    ),
    Key(
        "explorer",
        "copy",
        "y",
        "y",
        "copy",
        "Copy table",
        "Copy the table to the clipboard of your terminal (OSC 52).",
        "copy",
    ),
    Key(
        "explorer",
        "findings",
        "f",
        "f",
        "findings",
        "Findings",
        "The article's conclusions, tested on this model.",
        "findings",
    ),
    Key("explorer", "heat", "H", "H", "heat", "Heat map", "A metric of every head as a map: layer × head.", "heat map"),
    Key(
        "explorer",
        "pin",
        "p",
        "p",
        "pin",
        "Pin or unpin a spectrum",
        "Pin or unpin the spectrum: up to four stay in the chart while you move.",
        "pin",
    ),
    Key("explorer", "unpin", "P", "P", "unpin", "Unpin all", "Unpin all spectra; P again brings them back."),
    Key("explorer", "tree", "t", "t", "tree", "Show or hide the tree", "Show or hide the tree.", "tree"),
    Key(
        "explorer",
        "again",
        "r",
        "r",
        "again",
        "Compute again",
        "Forget the stored result and compute again; read what was stopped or is large.",
    ),
    Key(
        "explorer",
        "scan",
        "s",
        "s",
        "scan(False)",
        "Scan all layers",
        "Compute all layers that are missing; esc stops.",
        "scan",
    ),
    Key(
        "explorer",
        "scan-whole",
        "S",
        "S",
        "scan(True)",
        "Scan all layers and whole matrices",
        "Compute all that is missing, whole matrices too.",
    ),
    Key(
        "explorer",
        "stop",
        "escape",
        "esc",
        "stop",
        "Stop",
        "Stop reading and computing; r starts it again.",
        "stop",
    ),
    Key(
        "explorer",
        "columns-left",
        "less_than_sign,comma",
        "<",
        "columns(-1)",
        "Earlier columns",
        "Scroll the table to earlier columns.",
        "columns",
    ),
    Key(
        "explorer",
        "columns-right",
        "greater_than_sign,full_stop",
        ">",
        "columns(1)",
        "Later columns",
        "Scroll the table to later columns.",
        "columns",
    ),
    Key("explorer", "focus", "tab,shift+tab", "tab", "other_pane", "", "Move between tree and table."),
    *(
        Key("heat", f"heat-{name}", keys, shown, f"move({layers}, {heads})", "", f"The {word}.")
        for name, keys, shown, layers, heads, word in (
            ("up", "up,k", "↑ k", -1, 0, "layer above"),
            ("down", "down,j", "↓ j", 1, 0, "layer below"),
            ("left", "left,h", "← h", 0, -1, "head before"),
            ("right", "right,l", "→ l", 0, 1, "next head"),
        )
    ),
    Key("heat", "heat-page-up", "pageup", "pgup", "page(-1)", "", "Up by the layers in view."),
    Key("heat", "heat-page-down", "pagedown", "pgdn", "page(1)", "", "Down by the layers in view."),
    Key("heat", "heat-first", "home", "home", "end(-1)", "", "The layer's first head."),
    Key("heat", "heat-last", "end", "end", "end(1)", "", "The layer's last head."),
    *(
        Key("heat", f"heat-{name}", f"{i}", f"{i}", f"matrix({i})", f"Map {name}", f"Show {name}.", "QKVO")
        for i, name in enumerate("QKVO", 1)
    ),
    Key("heat", "heat-metric", "m", "m", "metric(1)", "Next metric", "Show the next metric.", "metric"),
    Key("heat", "heat-metric-before", "M", "M", "metric(-1)", "Previous metric", "Show the one before.", "metric"),
    Key("heat", "heat-log", "x", "x", "log", "Logarithmic or linear shades", "Logarithmic or linear shades.", "log"),
    Key("heat", "heat-goto", "g", "g", "goto", "Go to…", "Go to a head in the map, or to any other place.", "go"),
    Key("heat", "heat-open", "enter", "enter", "open", "Open this head", "Go to this head's matrix.", "open"),
    *(
        Key(owner, f"{owner}-scan-{key}", key, key, f"scan({whole})", "", tooltip, "" if whole else "scan")
        for owner in ("heat", "findings")
        for whole, key, tooltip in (
            (False, "s", "Compute all layers that are missing."),
            (True, "S", "Compute every whole matrix too."),
        )
    ),
    Key("heat", "heat-back", "escape,H", "esc", "back", "Back to the explorer", "Back to where you were.", "back"),
    Key("heat", "heat-pin", "p", "p", "pin", "Pin or unpin a spectrum", "Pin or unpin this spectrum.", "pin"),
    Key("heat", "heat-unpin", "P", "P", "unpin", "Unpin all", "Unpin all spectra; P again brings them back."),
    Key(
        "heat",
        "heat-export",
        "e",
        "e",
        "export",
        "Export the map as CSV",
        "Write the map as CSV into the current folder: a row per layer.",
        "export",
    ),
    Key(
        "heat",
        "heat-copy",
        "y",
        "y",
        "copy",
        "Copy the map",
        "Copy the map to the clipboard of your terminal (OSC 52).",
        "copy",
    ),
    Key("findings", "findings-up", "up,k", "↑ k", "scroll_lines(-1)", "", "Up a line."),
    Key("findings", "findings-down", "down,j", "↓ j", "scroll_lines(1)", "", "Down a line."),
    Key("findings", "findings-page-up", "pageup,b", "pgup", "scroll_pages(-1)", "", "Up a screen."),
    Key("findings", "findings-page-down", "pagedown,space", "pgdn", "scroll_pages(1)", "", "Down a screen."),
    Key("findings", "findings-first", "home", "home", "scroll_far(-1)", "", "The beginning."),
    Key("findings", "findings-last", "end", "end", "scroll_far(1)", "", "The end."),
    *(
        Key("findings", f"finding-{i}", f"{i}", f"{i}", f"finding({i})", "", f"To finding {i}.", "finding")
        for i in range(1, 6)
    ),
    Key("findings", "findings-goto", "g", "g", "goto", "Go to…", "Go to an address in the explorer.", "go"),
    Key(
        "findings",
        "findings-back",
        "escape,f",
        "esc",
        "back",
        "Back to the explorer",
        "Back to where you were.",
        "back",
    ),
    Key(
        "findings",
        "findings-copy",
        "y",
        "y",
        "copy",
        "Copy the findings",
        "Copy this page to the clipboard of your terminal, as Markdown.",
        "copy",
    ),
    Key(
        "findings",
        "findings-export",
        "e",
        "e",
        "export",
        "Export the findings",
        "Write this page as Markdown, and the candidates as CSV.",
        "export",
    ),
    Key("app", "help", "question_mark,f1", "?", "help", "Help", "Keys, and what each figure means.", "help"),
    Key(
        "app",
        "picture",
        "E",
        "E",
        "picture",
        "Save a picture",
        "Save a picture of the screen as SVG into the current folder.",
        "picture",
    ),
    Key("app", "palette", "ctrl+p", "^p", "command_palette", "", "All commands, and the theme.", "menu"),
    Key(
        "app",
        "quit",
        "q",
        "q",
        "quit",
        "Quit",
        "Leave at once, whatever is running (also ctrl+c).",
        "quit",
    ),
    Key("app", "quit-now", "ctrl+c,ctrl+q", "^c", "quit", "", "Leave at once, from anywhere.", priority=True),
    Key("app", "suspend", "ctrl+z", "^z", "suspend_process", "", "Back to the shell; `fg` returns.", priority=True),
)


def bindings(owner: Owner) -> list[Binding]:
    """The bindings of one part of the screen."""
    return [
        Binding(
            key.keys,
            key.action,
            key.title or key.tooltip,
            key_display=key.shown,
            priority=key.priority,
            tooltip=key.tooltip,
            id=key.id,
        )
        for key in KEYS
        if key.owner == owner
    ]


def offered(where: Where, owners: Iterable[Owner] = ON_EXPLORER) -> list[Key]:
    """The keys that have an effect there."""
    return [key for key in KEYS if key.where in ("anywhere", where) and key.owner in owners]


def footer(keys: Iterable[Key] = KEYS) -> list[tuple[str, str, tuple[Key, ...]]]:
    """What the footer says, the most useful first: keys as shown, their word, the keys themselves."""
    groups: dict[str, list[Key]] = {}
    for key in keys:
        if key.footer:
            groups.setdefault(key.footer, []).append(key)
    words = _order(groups, (key.owner for group in groups.values() for key in group))
    return [(_joined(groups[word]), word, tuple(groups[word])) for word in words]


_ALWAYS = ("help", "menu")

_FIRST = {
    "curves": ("go", "layer", "head", "QKVO", "curve", "log", "export", "quit", "pin"),
    "overview": ("metric", "table", "sort", "heat map", "scan", "findings", "go", "layer"),
    "heat": ("back", "QKVO", "metric", "log", "open", "go", "pin", "scan", "export"),
    "findings": ("back", "finding", "go", "scan", "export", "copy"),
    "anywhere": ("quit", "go", "layer", "scan", "export", "columns", "copy"),
}
"""What matters most on each screen: at 80 columns there is room for six to nine."""


def _order(words: Iterable[str], owners: Iterable[Owner]) -> list[str]:
    """The words of a footer, the most useful first."""
    words, screens = [*words], {*owners}
    where = "heat" if "heat" in screens else "findings" if "findings" in screens else "anywhere"
    if "table" in words:
        where = "overview"
    elif "curve" in words:
        where = "curves"
    first = (*_ALWAYS, *_FIRST[where], "quit")
    return sorted(words, key=lambda word: first.index(word) if word in first else len(first))


def _joined(keys: list[Key]) -> str:
    """`[ ]` for a pair, `1-4` for a longer row."""
    shown = [key.shown for key in keys]
    return f"{shown[0]}-{shown[-1]}" if len(shown) > 2 else " ".join(shown)
