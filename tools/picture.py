"""Make the README's picture: the screen on the demo model, as SVG.

.venv/bin/python tools/picture.py docs/demo.svg
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from svdtui.engine import Address, Session, demo_path, open_model, view
from svdtui.tui.app import SvdtuiApp
from svdtui.tui.places import Places

SIZE = (120, 36)


async def take(at: Address) -> str:
    """Open the demo at a place, wait until its figures are there, and return what is on screen as SVG."""
    with tempfile.TemporaryDirectory() as scratch:
        app = SvdtuiApp(
            open_model(demo_path()), at, cache_dir=Path(scratch), places=Places(Path(scratch) / "places.json")
        )
        app.theme = "svdtui-dark"
        async with app.run_test(size=SIZE) as pilot:
            async with asyncio.timeout(60):
                while not (app.session and app.session.cached >= 3 and _is_complete(app.session, at)):
                    await pilot.pause(0.1)
            await pilot.pause(0.5)
            return app.export_screenshot(title="svdtui --demo")


def _is_complete(session: Session, at: Address) -> bool:
    return not view(session.model, at, session.result).missing


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument(
        "--at", type=Address.parse, default=Address(3, 2), help="the place to show, not the first layer (default: 3.2)"
    )
    options = parser.parse_args()
    options.target.write_text(asyncio.run(take(options.at)), encoding="utf-8")


if __name__ == "__main__":
    main()
