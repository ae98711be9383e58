"""What these files hold less or more than the model that is shown, in sentences."""

from collections.abc import Iterator

from .model import Model
from .stacks import listed
from .text import plural, printable, runs, shortened, spans


def notes_on(model: Model) -> tuple[str, ...]:
    """What a user should know beside `Model.notice`, the most important first, as far as it is known."""
    return tuple(_notes(model))


def _notes(model: Model) -> Iterator[str]:
    if model.incomplete:
        yield model.incomplete
    if beyond := beyond_note(model):
        yield beyond
    yield from model.checkpoint.notes
    others = [name for name in model.stacks.names if name != model.stack]
    if others:
        yield f"Shown is {printable(model.stack)}; these files also hold {listed(others)}: --stack NAME opens another."
    if model.stacks.states:
        yield f"Optimiser states and gradients ({listed(model.stacks.states)}) are no weights, and are not shown."
    if absent := model.checkpoint.absent:
        name = min(absent)
        where = f"is not in {printable(model.checkpoint.tensors[name].file)}"
        more = f", and so with {plural(len(absent) - 1, 'other')}" if len(absent) > 1 else ""
        yield f"{shortened(printable(name), 200)} {where}, where the index says that it is{more}."
    if unnamed := model.checkpoint.unnamed:
        those = f"{plural(len(unnamed), 'tensor')}, such as {shortened(printable(min(unnamed)), 200)}"
        yield f"The shards hold {those}, which the index does not name: not shown."


def beyond_note(model: Model) -> str:
    """A sentence on layers beyond those that the config counts, or empty."""
    beyond = [layer for layer in model.layers if model.is_beyond(layer)]
    if not beyond or model.layer_count is None:
        return ""
    named = f"Layer {beyond[0]} lies" if len(beyond) == 1 else f"Layers {spans(runs(beyond))} lie"
    return (
        f"{named} beyond the {plural(model.layer_count, 'layer')} of config.json, as those that predict further tokens "
        "do: no part of trends, findings, candidates and plans."
    )
