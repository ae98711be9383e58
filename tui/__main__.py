"""`python -m svdtui.tui` is `svdtui`."""

import sys

if not sys.flags.safe_path and not __file__.startswith(sys.path[0]):
    del sys.path[0]  # the current folder: before anything is imported, which it may hold as well

from .cli import main

main()
