"""The command `corpuscle recommend`, and what `corpuscle check` shows of a study of mixtures."""

import time
from typing import TYPE_CHECKING

import typer

from corpuscle.console import console as _console
from corpuscle.options import ClusterOption, MixtureFile, Output, StoreOption, Workers

if TYPE_CHECKING:
    import pandas as pd

    from corpuscle import Study
    from corpuscle.oracle.recommendation import Recommendation
    from corpuscle.oracle.stages import Stages

# Rows of the forecast, and columns of the scorecard, that are printed; the folder has all.
MOST_ROWS = 8
SCORECARD = (
    "output", "unseen", "rank_correlation", "held_out_rank_correlation", "reliability", "held_out_of_ceiling",
    "coverage", "regret", "random_regret", "reason",
)  # fmt: skip


def recommend(
    study: MixtureFile,
    output: Output,
    workers: Workers = None,
    store: StoreOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Find which mixture of sources to train on, and how sure that is, or say that there is no advice.

    In stages, each an ordinary study: a forecast without training, the calmest setting of a proxy, a design of
    mixtures, rounds, and a confirmation with fresh seeds. Called again with the same folder, it does only what is
    missing.
    """
    from corpuscle import Study, terminal
    from corpuscle.oracle.recommending import recommend as recommended

    try:
        with terminal.listening(_console(stderr=True)) as listener:
            found = recommended(
                Study.read(study), output, workers=workers, store=store, cluster=cluster, listener=listener
            )
    except KeyboardInterrupt:
        typer.echo("Stopped. Nothing is lost: the same command goes on with what is missing.", err=True)
        raise typer.Exit(130) from None
    show(found)


def show(found: "Recommendation") -> None:
    """Print what was found."""
    from corpuscle.core.text import plural, shown

    _table("Forecast, before anything was trained", found.tables["forecast"][["mixture", "mean_rank"]])
    _table("The proxy's settings", found.tables["gate"])
    card = found.tables.get("scorecard")
    if card is not None:
        _table("Scorecard", card[[name for name in SCORECARD if name in card]], rows=len(card))
    confirmed = found.tables["confirmation"]
    if len(confirmed):
        first = (confirmed["output"] == confirmed["output"].iloc[0]) & (
            confirmed["mixture"] == confirmed["mixture"].iloc[0]
        )
        roles = {name: role for role, name in reversed([*found.facts["rivals"].items()])}
        rows = confirmed[first].assign(rival=confirmed["rival"].map(lambda name: roles.get(name, name)))
        _table("Against rivals, on fresh seeds (utility, SD)", rows.drop(columns=["output", "mixture"]))
    for remark in found.reasons:
        typer.echo(shown(f"Note: {remark}"))
    if found.facts["failed"]:
        typer.echo(f"{plural(len(found.facts['failed']), 'training')} failed; recommendation.json says which and why")
    typer.echo(shown(f"\n{found.advice}\n{found.next_step}"))
    typer.echo(shown(f"Page: {found.page}"))


def check(study: "Study", workers: int | None, *, only_plan: bool) -> None:
    """Print which trainings a study of mixtures takes, and how long its design would."""
    from corpuscle import prepare, terminal
    from corpuscle.core.text import shown
    from corpuscle.execution.rehearsal.estimate import estimate
    from corpuscle.execution.workflow import cores
    from corpuscle.oracle.outputs import outputs_of
    from corpuscle.oracle.stages import Stages
    from corpuscle.study.mixing import mixing_of, whole_pools

    started, n_workers = time.perf_counter(), workers or cores()
    preparing = terminal.Preparing(_console(stderr=True))
    with preparing.progress:
        whole = prepare(whole_pools(study), notice=preparing.notice)
        stages = Stages(mixing_of(study, whole.pools))
        plan = prepare(stages.design(stages.settings[0]).study(stages.mixing), notice=preparing.notice)
        prepared = time.perf_counter() - started
        expected = None if only_plan else estimate(plan, n_workers, preparing=prepared, notice=preparing.notice)
    terminal.show_plan(_console(), plan, expected, n_workers)
    typer.echo("The plan above is the design's; stages of `corpuscle recommend`, each at most:")
    _table("", _stage_table(stages), rows=10)
    if expected is not None:
        each = (expected.training + expected.asking) / max(1, len(plan.runs))
        total = each * _settled(stages) + 6 * (expected.preparing + expected.report)
        typer.echo(f"About {total / 60:.0f} minutes on {n_workers} cores for all trainings and their scores")
    names = ", ".join(f"{one.name} (× {one.weight:g}{', unseen' if one.unseen else ''})" for one in outputs_of(study))
    typer.echo(shown(f"What counts, {study.spec.mixture.combine if study.spec.mixture else ''}: {names}"))


def _settled(stages: "Stages") -> float:
    """Return trainings by what they cost: those of the gate take as many steps as their settings have."""
    budgets = [setting.get("budget") for setting in stages.settings]
    steps = [budget.get("steps") or budget.get("epochs") if isinstance(budget, dict) else None for budget in budgets]
    first = steps[0]
    rest, most = stages.costs.total - stages.costs.gate, 1.0
    if first and all(steps):
        shares = [one / first for one in steps if one]
        most = max(shares)
        return float(stages.costs.gate * sum(shares) / len(shares) + rest * most)
    return float(stages.costs.total)


def _stage_table(stages: "Stages") -> "pd.DataFrame":
    import pandas as pd

    costs = {name: n for name, n in stages.costs._asdict().items() if n}
    rows = [(name, f"{n:,}") for name, n in costs.items()]
    return pd.DataFrame([*rows, ("in all", f"{stages.costs.total:,}")], columns=["stage", "trainings"])


def _table(title: str, frame: "pd.DataFrame", rows: int = MOST_ROWS) -> None:
    """Print the first rows of a table."""
    from corpuscle.core.text import shown
    from corpuscle.mixture_commands import cell
    from corpuscle.store_commands import show as show_rows

    if frame.empty:
        return
    if title:
        typer.echo(f"\n{title}")
    kept = [tuple(shown(cell(value)) for value in row) for row in frame.head(rows).itertuples(index=False)]
    show_rows(tuple(map(str, frame.columns)), kept)
    if len(frame) > rows:
        typer.echo(f"… {len(frame) - rows:,} more rows in the folder")
