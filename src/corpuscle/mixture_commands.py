"""The command `corpuscle mixture`: what anybody's tables of mixtures and scores say, without training."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

    from corpuscle.mixture.assessing import Assessment
    from corpuscle.mixture.fitting import FittedMixture

# A longer scorecard or credible set is in the folder.
MOST_ROWS = 30
MOST_COLUMNS = 8
SHOWN = ("n_mixtures", "rank_correlation", "reliability", "of_ceiling", "coverage", "regret", "random_regret", "reason")


def mixture(  # noqa: PLR0913, PLR0917  # typer's arguments
    weights: Annotated[
        Path, typer.Argument(metavar="WEIGHTS", help="Runs × sources: .csv, .tsv or .parquet.", show_default=False)
    ],
    scores: Annotated[
        Path, typer.Argument(metavar="SCORES", help="Runs × outputs: .csv, .tsv or .parquet.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder to write tables into.", show_default=False),
    ] = None,
    better: Annotated[str, typer.Option(metavar="WAY", help="Which scores are better: lower or higher.")] = "lower",
    other_way: Annotated[
        list[str] | None,
        typer.Option("--except", metavar="OUTPUT", help="An output that is better the other way; may be given often."),
    ] = None,
    of: Annotated[
        list[str] | None,
        typer.Option("--of", metavar="OUTPUT=WEIGHT", help="What counts, and how much. Default: all alike."),
    ] = None,
    worst: Annotated[bool, typer.Option("--worst", help="The worst output counts, not the mean.")] = False,  # noqa: FBT002
    pareto: Annotated[bool, typer.Option("--pareto", help="Look for the front of all outputs that count.")] = False,  # noqa: FBT002
    cap: Annotated[
        list[str] | None,
        typer.Option("--cap", metavar="SOURCE=SHARE", help="The largest weight of a source; may be given often."),
    ] = None,
    cells: Annotated[
        list[str] | None,
        typer.Option("--cells", metavar="SOURCE=N", help="Cells of each source: also compares usual mixtures."),
    ] = None,
    normalise: Annotated[bool, typer.Option("--normalise", help="Weights are amounts.")] = False,  # noqa: FBT002
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of folds and draws.")] = 0,
) -> None:
    """Say which mixture of sources to train on, by tables of mixtures that were run, or that they allow no advice.

    Rows are matched by the columns that both tables have, such as run. It prints how well left-out mixtures are ranked,
    the mixtures that tie with the best, and one sentence of advice.
    """
    from corpuscle.core.errors import InputError
    from corpuscle.core.text import shown
    from corpuscle.mixture.assessing import assess
    from corpuscle.mixture.baselines import baselines
    from corpuscle.mixture.fitting import fit
    from corpuscle.mixture.matching import matched
    from corpuscle.mixture.reading import read_table
    from corpuscle.mixture.utility import Utility
    from corpuscle.table_folder import check_folder

    check_folder(output)
    caps, sizes, counts = (_numbers(one, name) for one, name in ((cap, "cap"), (cells, "cells"), (of, "of")))
    score_table = read_table(scores, "scores")
    ways: str | dict[str, str] = better
    weight_table = read_table(weights, "weights")
    if other_way:
        if better not in ("lower", "higher"):
            raise InputError(f"--better: expected lower or higher; got {better!r}")
        ways = dict.fromkeys(matched(weight_table, score_table)[1].columns, better)
        ways |= dict.fromkeys(other_way, "higher" if better == "lower" else "lower")
    fitted = fit(weight_table, score_table, better=ways, normalise=normalise, seed=seed)
    _check_cells(sizes, fitted.table.sources)
    usual = baselines(sizes, caps=caps or None) if sizes else None
    found = assess(fitted, Utility(counts or None, worst, pareto), caps=caps or None, also=usual, seed=seed)
    _show(found)
    if output is not None:
        _write(output, found, fitted)
        typer.echo(shown(f"Tables: {output}"))


def _numbers(given: list[str] | None, option: str) -> dict[str, float]:
    """Return NAME=NUMBER pairs."""
    from corpuscle.core.errors import InputError

    found: dict[str, float] = {}
    for text in given or []:
        name, _, number = text.rpartition("=")
        if name in found:
            raise InputError(f"--{option}: {name!r} has two numbers; give one of them")
        try:
            found[name] = float(number)
        except ValueError:
            raise InputError(f"--{option}: expected NAME=NUMBER; got {text!r}") from None
        if not name:
            raise InputError(f"--{option}: expected NAME=NUMBER; got {text!r}")
    return found


def _check_cells(sizes: dict[str, float], sources: tuple[str, ...]) -> None:
    """Refuse cells of some sources only, or of others."""
    from corpuscle.core.errors import InputError
    from corpuscle.core.text import shortened

    if unknown := [name for name in sizes if name not in sources]:
        raise InputError(
            f"--cells: there is no source {shortened(unknown[0])!r}; there are {shortened(', '.join(sources))}"
        )
    if sizes and (lacking := [name for name in sources if name not in sizes]):
        raise InputError(
            f"--cells: expected the cells of every source; nothing is said of {shortened(', '.join(lacking))}; give "
            f"--cells {shortened(lacking[0])}=N"
        )


def _show(found: "Assessment") -> None:
    """Print what was found."""
    from corpuscle.core.text import shown

    table = found.fitted.table
    typer.echo(f"{len(table.weights_RK):,} runs of {table.n_mixtures:,} mixtures of {len(table.sources):,} sources")
    for note in table.notes[:MOST_ROWS]:
        typer.echo(shown(f"Note: {note}"))
    for note in found.notes:
        typer.echo(shown(f"Note: {note}"))
    shares = ", ".join(f"{name} {share:.2f}" for name, share in found.fitted.shares.items())
    typer.echo(f"Average of surrogates: {shares}\n")
    # The utility last, also where there are many outputs.
    card = found.scorecard
    short = card[list(SHOWN)]
    _table(short.iloc[[*range(len(card))[: MOST_ROWS - 1], len(card) - 1]] if len(card) > MOST_ROWS else short)
    if len(card) > MOST_ROWS:
        typer.echo(f"… {len(card) - MOST_ROWS:,} more outputs; -o writes all")
    if not found.abstains:
        pareto = len(found.front) > 0
        typer.echo(f"\nMixtures that {'are not shown to be dominated' if pareto else 'cannot be told from the best'}")
        # Of many sources, weights are in the folder, and their ranges below.
        n_sources = len(table.sources)
        shown_set = _short_front(found.front, n_sources) if pareto else found.credible
        columns = shown_set.shape[1] - (n_sources if n_sources > MOST_COLUMNS else 0)
        _table(shown_set.iloc[:MOST_ROWS, :columns])
        typer.echo(f"\nWeights in {'these' if pareto else 'the credible set'}")
        _table(found.ranges)
        what = "Any point of the front" if pareto else "The best"
        typer.echo(f"\n{what} lacks at most {found.regret:.2f} standard deviations of utility (90 % of draws)")
    typer.echo(shown(f"\n{found.advice}"))


def _short_front(front: "pd.DataFrame", n_sources: int) -> "pd.DataFrame":
    """Return a front without its intervals, and at most eight scores."""
    import pandas as pd

    n_scores = (front.shape[1] - 2 - n_sources) // 3
    scores = front.iloc[:, 2 : 2 + 3 * min(n_scores, MOST_COLUMNS) : 3]
    return pd.concat([front.iloc[:, :2], scores, front.iloc[:, front.shape[1] - n_sources :]], axis=1)


def _table(frame: "pd.DataFrame") -> None:
    """Print a table with two digits."""
    from corpuscle.store_commands import show

    rows = [
        (str(name), *(cell(value) for value in row))
        for name, row in zip(frame.index, frame.itertuples(index=False), strict=True)
    ]
    show((frame.index.name or "", *map(str, frame.columns)), rows)


def cell(value: object) -> str:
    """Write a number with two digits; nothing where it is missing."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"
    return str(value)


def _write(folder: Path, found: "Assessment", fitted: "FittedMixture") -> None:
    """Write the tables into a folder."""
    import pandas as pd

    from corpuscle.store import write_text
    from corpuscle.table_folder import write_tables

    left_out = pd.DataFrame(fitted.left_out, columns=list(fitted.table.outputs))
    tables = {
        "scorecard": found.scorecard.reset_index(names="output"),
        "credible_set": found.credible.reset_index(names="mixture"),
        "credible_ranges": found.ranges.reset_index(names="source"),
        **({"front": found.front.reset_index(names="mixture")} if len(found.front) else {}),
        "left_out_predictions": left_out.reset_index(names="row"),
    }
    write_tables(folder, tables)
    write_text(folder / "advice.txt", f"{found.advice}\n")
