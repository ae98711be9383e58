"""Several stacks of layers on screen: the header names what is shown and what is not; the palette opens the others."""

import asyncio
from pathlib import Path

from textual.command import CommandList

from svdtui.tui.app import SvdtuiApp
from tests.checkpoints import write_checkpoint
from tests.pilot import Screen, opened, shown, until, waiting


async def test_the_header_names_the_stack_and_the_palette_opens_another(tmp_path: Path) -> None:
    sizes = {"hidden": 32, "heads": 2, "kv_heads": 1, "intermediate": 40, "vocab": 16, "layers": 2}
    other = write_checkpoint(tmp_path / "other", prefix="ref_model.", tied=True, seed=1, **sizes)  # type: ignore[arg-type]
    made = write_checkpoint(tmp_path / "m", overrides=other.tensors, **sizes)  # type: ignore[arg-type]
    async with opened(made.folder, "1.1", size=(100, 30)) as pilot:
        app = pilot.app
        assert isinstance(app, SvdtuiApp)
        assert "stack model, not ref_model" in shown(pilot, "#header")
        for name, not_shown in (("ref_model", "model"), ("model", "ref_model")):
            before = app.explorer
            commands = {command.title: command.callback for command in app.get_system_commands(app.screen)}
            assert {title for title in commands if "stack" in title} == {f"Open stack {name}"}
            commands[f"Open stack {name}"]()
            await until(pilot, lambda before=before: app.explorer is not before and app.session is not None)  # type: ignore[misc]
            await until(pilot, lambda: not waiting(pilot))
            assert app.screen is app.explorer
            assert f"stack {name}, not {not_shown}" in shown(pilot, "#header")
            assert app.session
            assert app.session.model.stack == name
            await pilot.press("j", "k")  # the keys go to the new tree
        assert app.explorer
        assert str(app.explorer.address) == "1.1"  # where each was left


def palette(pilot: Screen) -> str:
    """What the open palette offers."""
    options = pilot.app.screen.query_one(CommandList).options
    return "\n".join(str(getattr(option.prompt, "plain", option.prompt)) for option in options)


async def test_a_name_is_no_markup(tmp_path: Path) -> None:
    sizes = {"hidden": 32, "heads": 2, "kv_heads": 1, "intermediate": 40, "vocab": 16, "layers": 1}
    other = write_checkpoint(tmp_path / "other", prefix="[bold]x[/bold].", tied=True, seed=1, **sizes)  # type: ignore[arg-type]
    made = write_checkpoint(tmp_path / "m", overrides=other.tensors, **sizes)  # type: ignore[arg-type]
    async with opened(made.folder, size=(100, 30)) as pilot:
        await pilot.press("ctrl+p", *"stack")
        await until(pilot, lambda: "Open stack [bold]x[/bold]" in palette(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "stack [bold]x[/bold], not model" in shown(pilot, "#header"))


async def test_stacks_that_are_asked_for_in_one_go_come_one_after_the_other(tmp_path: Path) -> None:
    """Also from the heat map and the findings; what is shown last has a session that computes."""
    sizes = {"hidden": 32, "heads": 2, "kv_heads": 1, "intermediate": 40, "vocab": 16, "layers": 2}
    other = write_checkpoint(tmp_path / "other", prefix="ref_model.", tied=True, seed=1, **sizes)  # type: ignore[arg-type]
    made = write_checkpoint(tmp_path / "m", overrides=other.tensors, **sizes)  # type: ignore[arg-type]
    async with opened(made.folder, "1.1", size=(100, 30)) as pilot:
        app = pilot.app
        assert isinstance(app, SvdtuiApp)
        for key, names in (("", ["ref_model", "model"]), ("H", ["ref_model"]), ("f", ["model", "model", "ref_model"])):
            if key:
                await pilot.press(key)
                await until(pilot, lambda: app.screen is not app.explorer)
                titles = {command.title for command in app.get_system_commands(app.screen)}
                assert any(title.startswith("Open stack ") for title in titles)
            for name in names:
                app.open_stack(name)
                await asyncio.sleep(0)
            await until(
                pilot,
                lambda last=names[-1]: (  # type: ignore[misc]
                    app.explorer is not None
                    and app.explorer.model.stack == last
                    and app.session is not None
                    and app.session.model is app.explorer.model
                    and app.screen is app.explorer
                ),
            )
            await until(pilot, lambda: not waiting(pilot))
            assert app.explorer
            assert app.session
            assert app.explorer.session is app.session
        await pilot.press("s")
        await until(pilot, lambda: not waiting(pilot))
