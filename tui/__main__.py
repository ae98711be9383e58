"""`python -m svdtui.tui` is `svdtui`."""

from .cli import main

main()
