"""Make the README's picture: the screen on the demo model, as SVG.

    .venv/bin/python tools/picture.py docs/demo.svg
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from svdtui.engine import Address, demo_path, open_model, view
from svdtui.tui.app import SvdtuiApp
from svdtui.tui.places import Places

SIZE = (120, 36)


async def take(target: Path, at: Address) -> None:
    """Open the demo at a place, wait until its figures are there, and save what is on screen."""
    with tempfile.TemporaryDirectory() as scratch:
        app = SvdtuiApp(
            open_model(demo_path()), at, cache_dir=Path(scratch), places=Places(Path(scratch) / "places.json")
        )
        app.theme = "svdtui-dark"
        async with app.run_test(size=SIZE) as pilot:
            async with asyncio.timeout(60):
                while app.session is None or app.session.cached < 3 or view(app.model, at, app.session.result).missing:
                    await pilot.pause(0.1)
            await pilot.pause(0.5)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(app.export_screenshot(title="svdtui --demo"), encoding="utf-8")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--at", type=Address.parse, default=Address(0, 3), help="the place to show (default: 0.3)")
    options = parser.parse_args()
    asyncio.run(take(options.target, options.at))


if __name__ == "__main__":
    main()
