"""The commands `corpuscle models …`: which fitted models a run has, to write one elsewhere, and to remove some."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="models", help="The fitted models of a run: list them, write one into a folder of its own, or remove some."
)

RunFolder = Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.", show_default=False)]


@app.command("ls")
def ls(folder: RunFolder) -> None:
    """List the fitted models that are there, by corpus, model and seed, with the sizes of their files."""
    from corpuscle.execution.results import Models
    from corpuscle.store_commands import in_bytes, show

    models = Models(folder)
    rows = [(*map(str, place), in_bytes(models.n_bytes(place))) for place in models]
    show(("corpus", "model", "seed", "size"), rows)
    typer.echo(f"{len(rows):,} of {models.n_runs:,} runs have a model")


@app.command("export")
def export(
    folder: RunFolder,
    corpus: Annotated[str, typer.Option(metavar="NAME", show_default=False)],
    model: Annotated[str, typer.Option(metavar="NAME", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="A new folder.", show_default=False)],
    seed: Annotated[int, typer.Option(metavar="N")] = 0,
) -> None:
    """Write a fitted model into a folder that `corpuscle.Fitted.load` reads: weights, settings and genes."""
    from corpuscle.core.text import shown
    from corpuscle.execution.results import Models

    Models(folder)[corpus, model, seed].save(output)
    typer.echo(shown(f"{output}: corpuscle.Fitted.load({str(output)!r}).embed(adata)"))


@app.command("prune")
def prune(  # typer's arguments
    folder: RunFolder,
    *,
    corpus: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only of these corpora.")] = None,
    model: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only these models.")] = None,
    seed: Annotated[list[int] | None, typer.Option(metavar="N", help="Only of these seeds.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All models of the run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be removed.")] = False,
) -> None:
    """Remove fitted models, which take most of the disk; scores, curves and report stay.

    To run the study again makes them again. Models that another run of the same store uses stay.
    """
    from corpuscle.core.errors import InputError
    from corpuscle.execution.pruning import prune as pruned
    from corpuscle.execution.results import Models
    from corpuscle.store_commands import in_bytes

    chosen = (corpus or [], model or [], seed or [])
    if not any(chosen) and not everything:
        raise InputError("say which models: --corpus, --model or --seed (each may be given often), or --all")
    done = pruned(folder, Models(folder).keys_of(*chosen), dry_run=dry_run)
    if done.shared:
        typer.echo(f"left, since another run uses them: {done.shared:,} models")
    typer.echo(f"{'Would remove' if dry_run else 'Removed'} {done.n_models:,} models, {in_bytes(done.n_bytes)}")
