"""Everything that can go wrong with a user's input or machine, as one tree.

    EngineError
    ├── AddressError            no such layer, head or matrix; not an address
    ├── ChoiceError             no such solver; a k below 1
    ├── ModelNotFoundError      no such folder, file or repository, or nothing in it that can be read
    ├── AccessError             a repository on the Hub that this user may not read
    ├── OfflineError            not on this machine, and the network must not be used
    ├── CheckpointError         the files are there but cannot be used
    │   ├── HeaderError         a safetensors header is damaged, cut short or hostile
    │   ├── ShardIndexError     model.safetensors.index.json contradicts the files
    │   ├── ConfigError         config.json is unusable
    │   └── LayoutError         the tensors' shapes contradict the config
    ├── ReadError               bytes could not be read (file gone, changed, disk error)
    │   └── NetworkError        the network failed, or gave something else than was asked for
    ├── TensorError             a tensor cannot be analysed (dtype, emptiness)
    ├── DeviceError             the device asked for is not there, or is out of memory
    ├── ExportError             a file could not be written
    │   └── OutputError         it must not be written: it is the model's, or something else than what is written
    └── WorkerError             the compute process, or another of those that compute, failed
        ├── ModelChangedError   what it opened are not the files that were opened here
        └── WorkersGoneError    there is none of them left, nor will be

Each one is a title, a message (what and where) and a hint (what to do). `str()` is the whole as one line. Text from
outside is neutralised and shortened here, once, so that no file can write escape sequences or pages to the terminal.
"""

from collections.abc import Callable

from .text import printable, shortened


class EngineError(Exception):
    """Base of all errors that a user is told about, as a sentence and without a traceback."""

    title = "Error"
    exit_code = 1
    """Exit status of the command line: 2 for a wrong request, 1 for anything else."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = shortened(printable(message))
        self.hint = printable(hint)
        super().__init__(" ".join(filter(None, (self.message, self.hint))))

    @property
    def told(self) -> dict[str, str]:
        """What another process shows, or makes the same error of, with `error_of`."""
        return {"kind": type(self).__name__, "title": self.title, "message": self.message, "hint": self.hint}

    def __reduce__(self) -> "tuple[Callable[[str, str, str], EngineError], tuple[str, str, str]]":
        """Pickled, it is what is told of it."""
        return error_of, (type(self).__name__, self.message, self.hint)


def error_of(kind: str, message: str, hint: str) -> EngineError:
    """The error that another process has told of by the name of its class, its message and its hint.

    One of a class that is not known here, as of another version, is a `WorkerError`.
    """
    classes = [EngineError]
    for each in classes:
        if each.__name__ == kind:
            return each(message, hint)
        classes.extend(each.__subclasses__())
    return WorkerError(message, hint)


REOPEN = "Quit and open the model again."
"""The hint where nothing else helps, and trying again does not."""


class AddressError(EngineError):
    """No such layer, head or matrix in this model, or the text is no address."""

    title = "No such place"
    exit_code = 2


class ChoiceError(EngineError):
    """A solver or another option that there is not."""

    title = "No such choice"
    exit_code = 2


class ModelNotFoundError(EngineError):
    """The path or repository does not exist or holds nothing that can be read."""

    title = "Model not found"


class AccessError(EngineError):
    """A repository is gated or private, or the token is refused."""

    title = "No access"


class OfflineError(EngineError):
    """Something is not on this machine, and svdtui was told to stay offline."""

    title = "Offline"


class CheckpointError(EngineError):
    """The checkpoint's files exist but cannot be used."""

    title = "Unusable checkpoint"


class HeaderError(CheckpointError):
    """A safetensors header is damaged, truncated or not a header at all."""

    title = "Damaged file"


class ShardIndexError(CheckpointError):
    """The index names something that is not there or must not be read."""

    title = "Wrong index"


class ConfigError(CheckpointError):
    """config.json cannot be used."""

    title = "Wrong config"


class LayoutError(CheckpointError):
    """The shapes of the tensors contradict the config."""

    title = "Shapes disagree"


class ReadError(EngineError):
    """Bytes of a tensor could not be read."""

    title = "Cannot read"


class NetworkError(ReadError):
    """The network failed in spite of several tries, or an answer was not what was asked for."""

    title = "Network"


class TensorError(EngineError):
    """A tensor cannot be analysed."""

    title = "Cannot analyse"


class DeviceError(EngineError):
    """The device asked for is missing or failed."""

    title = "Device problem"


class ExportError(EngineError):
    """A file could not be written."""

    title = "Cannot write"


class OutputError(ExportError):
    """A file must not be written: it belongs to a model or to svdtui, or is of another kind."""

    title = "Not overwritten"
    exit_code = 2


class WorkerError(EngineError):
    """The compute process failed."""

    title = "Worker failed"


class ModelChangedError(WorkerError):
    """Another process found other files at the model's place."""


class WorkersGoneError(WorkerError):
    """Those who compute cannot be reached any more: no other job can be done either."""

    title = "Nobody computes"
