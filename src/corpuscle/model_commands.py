"""The commands `corpuscle models …`: which fitted models a run has, and to take one out."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="models", help="The fitted models of a run: list them, or write one into a folder of its own.")

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
