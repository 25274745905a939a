"""The commands `corpuscle value` and `corpuscle advise`: what sources are worth, and what another would be."""

from typing import TYPE_CHECKING, Annotated

import typer

from corpuscle.console import console as _console
from corpuscle.options import ClusterOption, MixtureFile, Output, StoreOption, Workers

if TYPE_CHECKING:
    from corpuscle.oracle.advice import Advice
    from corpuscle.oracle.valuation import Valuation

MOST_ROWS = 40


def value(  # noqa: PLR0913, PLR0917  # typer's arguments
    study: MixtureFile,
    output: Output,
    subsets: Annotated[int, typer.Option(min=4, metavar="N", help="Subsets of sources at most, for each way.")] = 64,
    way: Annotated[
        list[str] | None,
        typer.Option("--way", metavar="WAY", help="fixed (others fill the place) or additive. Default: both."),
    ] = None,
    workers: Workers = None,
    store: StoreOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Say which source earns its place: how much better each score is with it, by models trained on subsets of sources.

    Called again with the same folder, also that of `corpuscle recommend`, it does only what is missing.
    """
    from corpuscle import Study, terminal
    from corpuscle.oracle.valuation import WAYS
    from corpuscle.oracle.valuing import value as valued

    try:
        with terminal.listening(_console(stderr=True)) as listener:
            found = valued(
                Study.read(study), output, subsets=subsets, ways=way or tuple(WAYS), workers=workers, store=store,
                cluster=cluster, listener=listener,
            )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo("Stopped. Nothing is lost: the same command goes on with what is missing.", err=True)
        raise typer.Exit(130) from None
    show(found)


def show(found: "Valuation") -> None:
    """Print what was found."""
    from corpuscle.core.text import plural, shown
    from corpuscle.mixture_commands import cell
    from corpuscle.oracle.valuation import UTILITY
    from corpuscle.store_commands import show as show_rows

    columns = ["source", "banzhaf", "banzhaf_low", "banzhaf_high", "shapley", "shapley_low", "shapley_high"]
    for way, ledger in found.ledgers.items():
        rows = ledger.values[ledger.values["output"] == UTILITY].sort_values("banzhaf", ascending=False)
        typer.echo(f"\nUtility, in standard deviations over subsets: {way}")
        kept = [tuple(shown(cell(one)) for one in row) for row in rows[columns].head(MOST_ROWS).itertuples(index=False)]
        show_rows(tuple(columns), kept)
        for note in ledger.notes:
            typer.echo(shown(f"Note: {note}"))
    if found.failures:
        typer.echo(f"{plural(len(found.failures), 'training')} failed; valuation.json says which and why")
    typer.echo()
    for sentence in found.sentences():
        typer.echo(shown(sentence))
    typer.echo(shown(f"Page: {found.page}"))


def advise(  # noqa: PLR0913, PLR0917  # typer's arguments
    study: MixtureFile,
    output: Output,
    candidate: Annotated[
        str,
        typer.Option(
            "--candidate",
            metavar="FILE",
            show_default=False,
            help="Some 2,000 cells of it, a table of means by cell type (.csv, .tsv, .parquet), or a packaged set.",
        ),
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What it is called.")] = "candidate",
    workers: Workers = None,
    store: StoreOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Predict what adding a data set would bring, from a pilot of its cells or means of them, and from known sources.

    Trains on all sources, and on all but each; nothing on the candidate. Known sources are predicted from the others.
    """
    from corpuscle import Study, terminal
    from corpuscle.oracle.advising import advise as advised

    try:
        with terminal.listening(_console(stderr=True)) as listener:
            found = advised(
                Study.read(study), output, candidate, name=name, workers=workers, store=store, cluster=cluster,
                listener=listener,
            )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo("Stopped. Nothing is lost: the same command goes on with what is missing.", err=True)
        raise typer.Exit(130) from None
    show_advice(found)


def show_advice(found: "Advice") -> None:
    """Print what a candidate would add, and how well known sources were predicted."""
    from corpuscle.core.text import shown
    from corpuscle.mixture_commands import cell
    from corpuscle.store_commands import show as show_rows

    typer.echo(shown(f"\nWith {found.candidate}, expected (90 % intervals; positive is better)"))
    show_rows(
        tuple(found.values.columns),
        [tuple(shown(cell(one)) for one in row) for row in found.values.head(MOST_ROWS).itertuples(index=False)],
    )
    check = found.check
    typer.echo(
        f"\nKnown sources, each as if it were new: rank correlation {cell(check['correlation']) or 'none'}; of "
        f"{check['n_sure']:.0f} values beyond two standard errors, {cell(check['sign']) or 'none'} have the right "
        f"sign; {check['within']:.0%} of values are in their intervals"
    )
    typer.echo(shown(f"\n{found.sentence()}"))
