"""What these files hold less or more than the model that is shown, in sentences."""

from collections.abc import Iterator

from .model import Model
from .text import plural, printable, shortened


def notes_on(model: Model) -> tuple[str, ...]:
    """What a user should know beside `Model.notice`, the most important first, as far as it is known."""
    return tuple(_notes(model))


def _notes(model: Model) -> Iterator[str]:
    if model.incomplete:
        yield model.incomplete
    if absent := model.checkpoint.absent:
        name = min(absent)
        where = f"is not in {printable(model.checkpoint.tensors[name].file)}"
        more = f", and so with {plural(len(absent) - 1, 'other')}" if len(absent) > 1 else ""
        yield f"{shortened(printable(name), 200)} {where}, where the index says that it is{more}."
