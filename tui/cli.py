"""The command line: opens the screen, or writes files without one."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from svdtui.engine import __version__
from svdtui.engine.choices import DEFAULT_K, Solver
from svdtui.engine.errors import EngineError
from svdtui.engine.isolation import leave_current_folder
from svdtui.engine.limits import fit_to_limits, shortage
from svdtui.engine.selection import Selection

from .options import (
    FindingsCommand,
    Layers,
    check_files,
    device_name,
    folder_name,
    is_here,
    layers_named,
    output_name,
    parameter_count,
)
from .stderr import say
from .streams import abandon_if_full, use_any_encoding, why_full

_START = "Where to start"
_HUB = "From the Hub"
_HEADLESS = "Without a screen"
_COMPUTING = "Computing"
_SCREEN = "Screen"

_SPARE_HEADLESS, _SPARE_SCREEN = 2, 8
"""Threads besides those that solve: a progress bar's; those of the screen, and the processes beside it."""

_EPILOG = """
Examples:

\b
  svdtui --demo                          a small model that comes with svdtui
  svdtui ~/models/Llama-3-8B             explore a model folder
  svdtui ~/models/Llama-3-8B --at 12.5.q begin at layer 12, head 5, Q
  svdtui meta-llama/Meta-Llama-3-8B      stream one from the Hugging Face Hub
  svdtui MODEL --csv heads.csv           all heads' metrics, without a screen
  svdtui MODEL --csv - --layers 0-3,7    some layers', on stdout
  svdtui MODEL --csv - --matrix gate_proj
  svdtui MODEL --spectra-csv s.csv --layer 12 --matrix q_proj
  svdtui MODEL --findings                test the article's conclusions on it
  svdtui MODEL --lora-plan r.json --lora-budget 2M
  svdtui MODEL --csv heads.csv --workers 4

Exit status: 0 when all went well, 1 when something could not be read or
written, 2 for a wrong request.
"""

app = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"svdtui {__version__}")
        raise typer.Exit


@app.command(cls=FindingsCommand, epilog=_EPILOG, no_args_is_help=False)
def command(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A model folder, one .safetensors file, or ORG/NAME\\[@REV] on the Hugging Face Hub.",
            show_default=False,
        ),
    ] = None,
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Open the small trained model that comes with svdtui.", rich_help_panel=_START),
    ] = False,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Begin at a layer (12), a head (12.5), a head's matrix (12.5.q, 12.kv1.k), a whole matrix "
            "(12.q_proj), 12.whole, model, or a tensor by its name.",
            rich_help_panel=_START,
            show_default=False,
        ),
    ] = None,
    stack: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of files that hold several models (a teacher, an EMA copy, a vision tower), open this one.",
            rich_help_panel=_START,
            show_default=False,
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(
            metavar="REV",
            help="The branch, tag or commit, as in ORG/NAME@REV.",
            rich_help_panel=_HUB,
            show_default=False,
        ),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Use only what is on this disk, as HF_HUB_OFFLINE=1 does.", rich_help_panel=_HUB
        ),
    ] = False,
    download: Annotated[
        bool,
        typer.Option(
            "--download",
            help="Download the whole model into the Hub cache first; without it only what is looked at is read.",
            rich_help_panel=_HUB,
        ),
    ] = False,
    csv: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write the metrics, a row per matrix; - is stdout. A CSV file that exists is replaced, no other.",
            callback=output_name,
            rich_help_panel=_HEADLESS,
        ),
    ] = None,
    spectra_csv: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write the spectra, a row per singular value; - is stdout.",
            callback=output_name,
            rich_help_panel=_HEADLESS,
        ),
    ] = None,
    findings: Annotated[
        str | None,
        typer.Option(
            metavar="[FILE.md]",
            help="Test the article's conclusions on the whole model and write what was found; stdout without a FILE. "
            "Earlier findings are replaced, nothing else.",
            callback=output_name,
            rich_help_panel=_HEADLESS,
        ),
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write heads and matrices by rank, with what a factorisation would need, as CSV; - is stdout.",
            callback=output_name,
            rich_help_panel=_HEADLESS,
        ),
    ] = None,
    lora_plan: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write LoRA ranks for the attention modules as JSON for peft's LoraConfig; - is stdout. "
            "An earlier plan is replaced, nothing else.",
            callback=output_name,
            rich_help_panel=_HEADLESS,
        ),
    ] = None,
    lora_budget: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=parameter_count,
            help="The most trainable parameters that plan may have, such as 2M.",
            rich_help_panel=_HEADLESS,
        ),
    ] = None,
    layers: Annotated[
        list[Layers] | None,
        typer.Option(
            "--layers",
            "--layer",
            parser=layers_named,
            metavar="0-3,7",
            help="Only these layers; can be given several times.",
            rich_help_panel=_HEADLESS,
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        int | None,
        typer.Option(metavar="N", help="Only this query head of each layer.", rich_help_panel=_HEADLESS),
    ] = None,
    matrix: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only this matrix: q, k, v or o of each head, a whole one of each layer (q_proj, gate_proj …), "
            "or embed_tokens, lm_head.",
            rich_help_panel=_HEADLESS,
        ),
    ] = None,
    solver: Annotated[
        Solver,
        typer.Option(
            help="gram64 is exact and fast; svd32 is an SVD in fp32; svd64 is the slow truth.",
            rich_help_panel=_COMPUTING,
        ),
    ] = "gram64",
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            help="auto (CUDA when there is one), cpu, cuda, cuda:N or mps.",
            callback=device_name,
            rich_help_panel=_COMPUTING,
        ),
    ] = "auto",
    top_k: Annotated[
        int,
        typer.Option(min=1, metavar="K", help="How many values top-k and bottom-k add up.", rich_help_panel=_COMPUTING),
    ] = DEFAULT_K,
    cache_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=folder_name,
            help="Keep results here instead of in the user's cache folder.",
            rich_help_panel=_COMPUTING,
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Compute in N processes that share this machine's cores. With CUDA, each GPU has one.",
            rich_help_panel=_COMPUTING,
            show_default=False,
        ),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Compute on the Dask cluster whose scheduler is there, such as tcp://host:8786.",
            rich_help_panel=_COMPUTING,
            show_default=False,
        ),
    ] = None,
    prefetch: Annotated[
        bool,
        typer.Option(
            "--prefetch/--no-prefetch", help="Compute the neighbouring layers when idle.", rich_help_panel=_SCREEN
        ),
    ] = True,
    mouse: Annotated[
        bool, typer.Option("--mouse/--no-mouse", help="Let the mouse select and scroll.", rich_help_panel=_SCREEN)
    ] = True,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Explore the singular values of a language model's weights."""
    if not is_here():
        say("The current folder is gone. Change to one that is there.")
        raise typer.Exit(1)
    is_csv = csv is not None or spectra_csv is not None
    is_of_model = findings is not None or candidates is not None or lora_plan is not None
    headless = is_csv or is_of_model
    if model == "":
        raise typer.BadParameter("is empty: give a model folder, . for this one", param_hint="MODEL")
    if (model is None) == (not demo):
        wish = "give a model folder or ORG/NAME, or --demo" + (", not both" if demo else "")
        if findings not in {None, "-"} and model is None:
            wish += "; what follows --findings is its file"
        raise typer.BadParameter(wish, param_hint="MODEL")
    if download and offline:
        raise typer.BadParameter("needs the network: leave out --offline", param_hint="--download")
    if demo and (offline or download or revision is not None):
        raise typer.BadParameter("is for models on the Hub, not --demo", param_hint="--revision/--offline/--download")
    if is_of_model and (layers or head is not None or matrix is not None):
        raise typer.BadParameter(
            "is for CSV; --findings, --candidates and --lora-plan are of the whole model",
            param_hint="--layers/--head/--matrix",
        )
    if (lora_plan is None) != (lora_budget is None):
        missing, given = ("--lora-plan", "--lora-budget") if lora_plan is None else ("--lora-budget", "--lora-plan")
        raise typer.BadParameter(f"needs {missing}", param_hint=given)
    if not headless and (layers or head is not None or matrix is not None):
        raise typer.BadParameter(
            "needs --csv or --spectra-csv; on screen use --at", param_hint="--layers/--head/--matrix"
        )
    if headless and at is not None:
        instead = "with --csv use --layers, --head and --matrix" if is_csv else "leave it out"
        raise typer.BadParameter(f"is for the screen; {instead}", param_hint="--at")
    check_files(
        {
            "--csv": csv,
            "--spectra-csv": spectra_csv,
            "--findings": findings,
            "--candidates": candidates,
            "--lora-plan": lora_plan,
        }
    )
    if workers is not None and dask is not None:
        raise typer.BadParameter("is for this machine; a Dask cluster has workers of its own", param_hint="--workers")
    from svdtui.engine.naming import check_form
    from svdtui.engine.opening import demo_path
    from svdtui.engine.target import find_target

    from .start import download_first, require_terminal, what_to_show

    try:
        fit_to_limits(_SPARE_HEADLESS if headless else _SPARE_SCREEN)
        if at is not None:
            check_form(at)
        target = demo_path() if model is None else find_target(model, revision)
        if not headless:
            require_terminal()
        if download:
            download_first(target, cache_dir)
        if headless:
            from .headless import Files, write_files

            status = write_files(
                target,
                Selection(tuple(each for named in layers or () for each in named), head, matrix),
                Files(csv, spectra_csv, findings, candidates, lora_plan, lora_budget or 0),
                solver=solver,
                device=device,
                cache_dir=cache_dir,
                offline=offline,
                stack=stack,
                k=top_k,
                workers=workers,
                dask=dask,
            )
        else:
            opened = what_to_show(target, at, stack)
            os.environ.setdefault("ESCDELAY", "50")  # ms until a lone escape byte counts as the key: half of Textual's
            from .explore import explore

            status = explore(
                opened,
                at,
                solver=solver,
                device=device,
                cache_dir=cache_dir,
                prefetch=prefetch,
                offline=offline,
                stack=stack,
                workers=workers,
                dask=dask,
                mouse=mouse,
                k=top_k,
            )
    except EngineError as error:
        say(str(error))
        raise typer.Exit(error.exit_code) from None
    raise typer.Exit(status)


def main() -> None:
    """Run the command line."""
    leave_current_folder()
    use_any_encoding()
    try:
        app(prog_name="svdtui")
    except (MemoryError, OSError, RuntimeError) as error:
        told = shortage(error) or why_full(error)
        if told is None:
            raise
        for stream in (sys.stdout, sys.stderr):
            abandon_if_full(stream)
        say(str(told))
        wrong_request = getattr(error.__context__, "exit_code", 1)  # which could not be told
        raise SystemExit(wrong_request) from None


if __name__ == "__main__":
    main()
