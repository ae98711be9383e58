"""Which Python files a process of ours may run: those that are installed, and none that lie in the current folder.

A model's folder is someone else's, and users stand in it: `cd MODEL; svdtui .`. Python puts the current folder before
everything that is installed for `-m` and `-c`, and wherever `PYTHONPATH` has an empty or a relative entry.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

_ROOT = str(Path(__file__).parents[2])
"""The folder in which `svdtui` lies."""

_BEGIN = """\
import sys
root, module = sys.argv[1:3]
del sys.argv[1:3]
if root not in sys.path:
    sys.path.append(root)
from importlib import import_module
import_module(module).main()
"""
"""A process that was told to leave the current folder alone still finds svdtui where it is here, installed or not."""


def command(module: str, *args: str) -> list[str]:
    """What starts a module of ours, such as `svdtui.engine.worker`, by its `main`; for use with `environment`."""
    return [sys.executable, "-P", "-c", _BEGIN, _ROOT, module, *args]


def environment() -> dict[str, str]:
    """This process's environment, without what would bring the current folder back; as its children are to have it."""
    environ = {**os.environ, "PYTHONSAFEPATH": "1"}
    absolute = [entry for entry in _python_path() if Path(entry).is_absolute()]
    if absolute:
        environ["PYTHONPATH"] = os.pathsep.join(absolute)
    else:
        environ.pop("PYTHONPATH", None)
    return environ


def leave_current_folder() -> None:
    """Take the current folder from this process's module path, and see to it that no library's process has it.

    For the program only: the module path of somebody's script or notebook is theirs.
    """
    unwanted = {_absolute(entry) for entry in _python_path() if not Path(entry).is_absolute()}
    if not sys.flags.safe_path and sys.path[:1] == [_absolute("")]:  # `-m` has put it there
        del sys.path[0]
    unwanted.discard(_ROOT)
    sys.path[:] = [entry for entry in sys.path if Path(entry).is_absolute() and entry not in unwanted]
    if _ROOT not in sys.path:
        sys.path.append(_ROOT)
    environ = environment()
    os.environ.pop("PYTHONPATH", None)
    os.environ.update(environ)


def _python_path() -> list[str]:
    return os.environ["PYTHONPATH"].split(os.pathsep) if os.environ.get("PYTHONPATH") else []


def _absolute(entry: str) -> str:
    """What Python makes of a relative entry when it starts."""
    with suppress(OSError):  # the current folder may be gone
        return os.path.normpath(Path.cwd() / entry)
    return entry
