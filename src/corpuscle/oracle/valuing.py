"""Valuing: which source earns its place, by models trained on subsets of the sources; what the command line calls."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from corpuscle.core.errors import InputError
from corpuscle.core.randomness import generator
from corpuscle.core.text import shortened
from corpuscle.execution.listener import Listener
from corpuscle.mixture.coalitions import coalitions
from corpuscle.mixture.gate import merit
from corpuscle.mixture.ledger import ledger
from corpuscle.oracle.corpus_name import corpus_name
from corpuscle.oracle.outputs import Output, outputs_of, trials_of
from corpuscle.oracle.stages import Stages
from corpuscle.oracle.valuation import UTILITY, WAYS, Valuation
from corpuscle.oracle.workplace import Left, Workplace, workplace
from corpuscle.oracle.writing import write_valuation
from corpuscle.statistics.divergence import RUN, without_diverged
from corpuscle.study.spec import Study

UNTRAINED = "untrained"


def value(  # noqa: PLR0913  # all but two by name
    study: Study | Path | str,
    folder: Path | str,
    *,
    subsets: int = 64,
    ways: Sequence[str] = tuple(WAYS),
    workers: int | None = None,
    store: Path | None = None,
    cluster: Path | str | None = None,
    listener: Listener | None = None,
) -> Valuation:
    """Find what each source of a study of mixtures is worth, by training on subsets of them.

    Subsets have their sources in the proportions of the study's prior. Trained is the first setting of the proxy; the
    empty subset is the same model before its first step. Each way is an ordinary study under ``stages``; called again
    with the same folder, it makes only what is missing.

    Parameters
    ----------
    study
        A study with a ``[mixture]`` table, or the path of such a file.
    folder
        Where everything is written: tables, ``valuation.html``, and each stage.
    subsets
        How many subsets at most, see `corpuscle.mixture.coalitions`: of up to six sources, 64 are all of them.
    ways
        What leaving a source out means: ``"fixed"`` (the others fill its place) and ``"additive"`` (fewer cells). A
        source may be worth something in one and nothing in the other.
    workers, store, cluster, listener
        As for `corpuscle.run`.

    Raises
    ------
    InputError
        When the study, its data or the folder cannot be used, or a source has too few cells to fill a corpus alone.
    ClusterError
        When the cluster is lost. What was made is kept.
    """
    if not ways or (unknown := [way for way in ways if way not in WAYS]):
        raise InputError(f"ways: expected some of {', '.join(WAYS)}; got {shortened(repr(unknown or ways))}")
    with workplace(study, folder, workers=workers, store=store, cluster=cluster, listener=listener) as place:
        stages = place.stages
        members = _named(coalitions(stages.mixing.names, subsets, rng=generator(stages.first_seed, "coalitions")))
        # All are planned before any is run: what cannot be done is refused at once.
        planned = {way: _planned(stages, members, way) for way in dict.fromkeys(ways)}
        untrained = _nothing(stages, members)
        left = {way: place.run(f"value-{way}", stage) for way, stage in planned.items()}
        nothing = place.run("value-nothing", untrained)
        result = _valued(place, members, left, nothing)
        place.check()
        write_valuation(result)
    return result


def _named(members: pd.DataFrame) -> pd.DataFrame:
    """Return subsets by names that corpora can have; the full and the empty one keep theirs."""
    taken, names = {"all", "nothing"}, []
    for name, row in members.iterrows():
        names.append(corpus_name(str(name), taken) if row.nunique() > 1 else str(name))
    return members.set_axis(names)


def _planned(stages: Stages, members: pd.DataFrame, way: str) -> Study:
    """Return the ordinary study of all subsets but the empty one."""
    mixing = stages.mixing
    if way == "fixed":
        _refuse_small(stages)
    corpora = []
    for name, row in members.iterrows():
        within = {source: stages.prior[source] for source in mixing.names if row[source]}
        if within:
            n_cells = mixing.spec.n_cells
            if way == "additive":
                n_cells = max(1, round(n_cells * sum(within.values())))
            corpora.append(mixing.corpus(str(name), within, n_cells))
    question = f"What is each source worth, where {WAYS[way]}? A stage of `corpuscle value`."
    return mixing.expand(
        corpora, models=[stages.settings[0]], seeds=mixing.spec.seeds, first_seed=stages.first_seed, question=question
    )


def _refuse_small(stages: Stages) -> None:
    """Refuse a source that cannot fill a corpus alone: some subset would be smaller than the others."""
    spec, cells = stages.spec, stages.mixing.cells
    short = [name for name, n in cells.items() if n * spec.most_repeats < spec.n_cells]
    if short:
        least = min(cells[name] for name in short)
        raise InputError(
            f"mixture: {shortened(', '.join(short))} can't fill a corpus of {spec.n_cells:,} cells alone, each cell at "
            f"most {spec.most_repeats} times, as the way fixed needs it; lower n_cells to "
            f"{least * spec.most_repeats:,}, raise most_repeats to {-(-spec.n_cells // least)}, or ask for the way "
            "additive only"
        )


def _nothing(stages: Stages, members: pd.DataFrame) -> Study:
    """Return the ordinary study of the empty subset: the proxy before its first step, which sees no cell."""
    mixing = stages.mixing
    inner = {key: value for key, value in stages.settings[0].items() if key not in ("label", "budget")}
    # Any corpus will do; that of all sources is there already.
    corpus = mixing.corpus("all", {source: stages.prior[source] for source in members.columns})
    model: Mapping[str, Any] = {"name": UNTRAINED, "label": UNTRAINED, "model": inner}
    try:
        return mixing.expand(
            [corpus], models=[model], seeds=mixing.spec.seeds, first_seed=stages.first_seed,
            question="What does the model score before its first step? A stage of `corpuscle value`.",
        )  # fmt: skip
    except InputError as error:
        raise InputError(
            "mixture.proxy: values are shares of what training brings, so the proxy must be a model that is trained in "
            f"steps: {error}"
        ) from error


def _valued(place: Workplace, members: pd.DataFrame, left: Mapping[str, Left], nothing: Left) -> Valuation:
    """Make a ledger of each way."""
    stages, outputs = place.stages, outputs_of(place.study)
    label = str(stages.settings[0]["label"])
    failures = {
        f"value-{way}: {run}": why
        for way, one in {**left, "nothing": nothing}.items()
        for run, why in one.failures.items()
    }
    scores = pd.concat([one.scores for one in (*left.values(), nothing)])
    better = trials_of(scores, outputs, pd.DataFrame(columns=RUN))[1]
    if not better:
        first = next(iter(failures.values()), "no task gave the scores that utility names")
        raise InputError(f"mixture.utility: there is no score to value sources by ({first})")
    weights = {one.name: one.weight for one in outputs if one.name in better}
    names = [*weights]
    empty = _trials(stages, nothing, outputs, ["all"], UNTRAINED).assign(mixture="nothing")
    ledgers, parts = {}, []
    for way, one in left.items():
        trained = _trials(stages, one, outputs, [name for name in members.index if name != "nothing"], label)
        trials = pd.concat([trained, empty], ignore_index=True)
        trials[UTILITY] = merit(trials, better, weights, worst=stages.spec.combine == "worst")
        ledgers[way] = ledger(
            members.loc[trials["mixture"]].reset_index(drop=True), trials[[*names, UTILITY]], seeds=trials["seed"],
            better={**{name: better[name] for name in names}, UTILITY: "higher"},
        )  # fmt: skip
        parts.append(trials.rename(columns={"mixture": "subset"}).assign(way=way))
    whole = pd.concat(parts, ignore_index=True)[["way", "subset", "seed", *names, UTILITY]]
    return Valuation(
        place.study.name, place.folder, label, ledgers, whole, members, failures, tuple(place.heard.warnings)
    )


def _trials(stages: Stages, left: Left, outputs: Sequence[Output], subsets: Sequence[str], label: str) -> pd.DataFrame:
    """Lay out what a stage left; a fit that diverged is missing."""
    seeds = range(stages.first_seed, stages.first_seed + stages.spec.seeds)
    grid = pd.DataFrame([(str(name), label, seed) for name in subsets for seed in seeds], columns=RUN)
    return trials_of(without_diverged(left.scores, left.fits), outputs, grid)[0]
