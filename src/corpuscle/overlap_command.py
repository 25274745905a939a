"""The command `corpuscle overlap`: which cells data sets share, and what it shows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from corpuscle.alone.overlapping import Overlap


def overlap(
    cells: Annotated[
        list[str],
        typer.Argument(
            metavar="A [B …]",
            help="Files or folders, data sets of the package, Census queries, or a study's corpus (study.toml:CORPUS).",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write a row per match: .csv or .parquet."),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="PLACE", help="Where counts are: X, raw or a layer; once, or once for each."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="FILTER", help='Which cells to compare; once, or once for each ("": all).'),
    ] = None,
) -> None:
    """Find the cells that data sets share, or that one has twice, each verified on its counts.

    Of one data set, cells that are in it twice; of several, each two are compared, over the genes that both measured.
    Normalised values are counted again.
    """
    from rich.console import Console

    from corpuscle import terminal
    from corpuscle.alone.overlapping import checked_output
    from corpuscle.alone.overlapping import overlap as find

    if output is not None:
        checked_output(output)
    preparing = terminal.Preparing(Console(stderr=True, highlight=False))
    with preparing.progress:
        found = find(*cells, layer=layer, where=where, notice=preparing.notice)
    _show(found)
    if output is not None:
        found.save(output)
        typer.echo(f"\n{len(found.matches):,} matches: {output}")


def _show(found: "Overlap") -> None:
    """Print which shares of cells were seen, and which copies would have been."""
    from corpuscle.core.text import shown
    from corpuscle.store_commands import show

    for row in found.kinds[found.kinds["kind"] != "counts"].itertuples():
        typer.echo(shown(f"{row.of}: its values are no raw counts ({row.kind}); counts were made of them"))
    header = ("cells of", "seen in", "cells", "identical", "barcode", "near", "unseen", "unknown", "genes",
              "largest group", "most near")  # fmt: skip
    rows = [
        (row.of, row.among if row.of != row.among else "itself", f"{row.n_cells:,}",
         *(_share(value) for value in (row.identical, row.barcode, row.near, row.unseen, row.unknown)),
         f"{row.n_genes:,}", f"{row.largest_group:,}", f"{row.most_matches:,}")
        for row in found.shares.itertuples()
    ]  # fmt: skip
    show(header, rows)
    typer.echo(
        "identical: equal counts on shared genes; barcode, near: near-duplicates with, without a barcode in common;\n"
        "unknown: too few counts for a copy to be recognised; largest group: equal cells; most near: of one cell"
    )
    typer.echo("\nCopies that would be found under other barcodes, by detected genes and share of counts kept")
    pivot = found.detection.pivot_table(
        index=["of", "among", "genes_from", "genes_to"], columns="kept", values="found", sort=False
    )
    sizes = found.detection.groupby(["of", "among", "genes_from", "genes_to"], sort=False)["n_cells"].max()
    lines = []
    for of, among, first, last in sorted(pivot.index):
        genes = f"{first:,}–{int(last) - 1:,}" if last < float("inf") else f"{first:,}+"
        place = (of, among, first, last)
        lines.append((of, among, genes, f"{sizes[place]:,}", *(_share(value) for value in pivot.loc[place])))
    show(("of", "among", "genes", "tried", *("all" if kept == 1 else f"{kept:.0%}" for kept in pivot.columns)), lines)


def _share(value: float) -> str:
    """Write a share: none and all only where it is."""
    if 0 < value < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < value < 1 else f"{value:.1%}"
