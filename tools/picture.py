"""Make the README's pictures: the screen on a model after some keys, as SVG.

TEXTUAL_COLOR_SYSTEM=truecolor .venv/bin/python tools/picture.py docs/demo.svg
TEXTUAL_COLOR_SYSTEM=truecolor .venv/bin/python tools/picture.py docs/heat.svg --model FOLDER --at 0 --keys H
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from textual.pilot import Pilot

from svdtui.engine import Address, demo_path, open_model
from svdtui.tui.app import SvdtuiApp
from svdtui.tui.places import Places

SIZE = (120, 36)

PAUSE = 0.5
"""Seconds after which the screen has followed a key."""


async def take(model: Path, at: Address, keys: list[str], wait: float) -> str:
    """Open a model at a place, compute all of it, press keys, and return what is on screen as SVG."""
    with tempfile.TemporaryDirectory() as scratch:
        app = SvdtuiApp(open_model(model), at, cache_dir=Path(scratch), places=Places(Path(scratch) / "places.json"))
        app.theme = "svdtui-dark"
        async with app.run_test(size=SIZE) as pilot:
            await _compute(app, pilot)
            for key in keys:
                await pilot.press(key)
                await asyncio.sleep(PAUSE)
            await asyncio.sleep(wait)
            await pilot.pause()
            app.clear_notifications()
            await pilot.pause(PAUSE)
            return app.export_screenshot(title=f"svdtui {'--demo' if model == demo_path() else model.name}")


async def _compute(app: SvdtuiApp, pilot: Pilot[int]) -> None:
    async with asyncio.timeout(300):
        while app.session is None:
            await pilot.pause(0.1)
        app.session.scan()
        while app.session.cached < len(app.session.model.layers):
            await pilot.pause(0.1)
    await asyncio.sleep(4)  # what was said of the scan goes away


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--model", type=Path, default=demo_path(), help="a model folder (default: the demo)")
    parser.add_argument("--at", type=Address.parse, default=Address(3, 2), help="the place to show (default: 3.2)")
    parser.add_argument("--keys", default="", help="keys to press, separated by blanks")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds to wait after the last key")
    options = parser.parse_args()
    svg = asyncio.run(take(options.model, options.at, options.keys.split(), options.wait))
    options.target.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
