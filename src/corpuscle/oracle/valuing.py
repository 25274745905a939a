"""Valuing: which source earns its place, by models trained on subsets of the sources; what the command line calls."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from corpuscle.core.errors import InputError
from corpuscle.core.randomness import generator
from corpuscle.core.text import plural, shortened
from corpuscle.execution import results_folder, workflow
from corpuscle.execution.default_listener import default_listener
from corpuscle.execution.listener import Listener
from corpuscle.execution.run_record import store_of
from corpuscle.mixture.coalitions import coalitions
from corpuscle.mixture.gate import merit
from corpuscle.mixture.ledger import ledger
from corpuscle.oracle.outputs import Output, outputs_of, trials_of
from corpuscle.oracle.stages import Stages
from corpuscle.oracle.valuation import UTILITY, WAYS, Valuation
from corpuscle.oracle.writing import write_valuation
from corpuscle.statistics.divergence import RUN, without_diverged
from corpuscle.store import Store
from corpuscle.study.mixing import mixing_of, whole_pools
from corpuscle.study.preparation import prepare
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
    study = study if isinstance(study, Study) else Study.read(study)
    if study.spec.mixture is None:
        raise InputError("expected a study with a [mixture] table, which says what to mix")
    if not ways or (unknown := [way for way in ways if way not in WAYS]):
        raise InputError(f"ways: expected some of {', '.join(WAYS)}; got {shortened(repr(unknown or ways))}")
    folder, heard = Path(folder), listener or default_listener()
    study = study.placed(folder)
    with results_folder.claimed(folder, study) as check:
        root = store_of(folder, store)
        plan = prepare(whole_pools(study), Store(root), heard.notice)
        results_folder.claim(folder, study)
        stages = Stages(mixing_of(study, plan.pools))
        rng = generator(study.spec.first_seed, "coalitions")
        members = coalitions(stages.mixing.names, subsets, rng=rng)
        planned = {f"value-{way}": _planned(stages, members, way) for way in dict.fromkeys(ways)}
        planned["value-nothing"] = _nothing(stages, members)
        left: dict[str, tuple[pd.DataFrame, pd.DataFrame]] = {}
        failures: dict[str, str] = {}
        for name, stage in planned.items():
            check()
            n = len(stage.spec.corpora) * stages.spec.seeds
            heard.said(f"{name}: {plural(n, 'training')}. {stage.spec.question}")
            place = folder / "stages" / name
            found = workflow.run(stage, place, workers=workers, store=root, cluster=cluster, listener=heard, page=False)
            left[name] = found.scores, pd.read_parquet(place / "fits.parquet")
            failures |= {f"{name}: {' · '.join(map(str, run))}": why for run, why in found.failures.items()}
        outputs = outputs_of(study)
        better = trials_of(pd.concat([scores for scores, _ in left.values()]), outputs, pd.DataFrame(columns=RUN))[1]
        nothing = _trials(left.pop("value-nothing"), outputs, ["all"], UNTRAINED, stages).assign(subset="nothing")
        parts = []
        label = str(stages.settings[0]["label"])
        for name, one in left.items():
            trained = _trials(one, outputs, [name for name in members.index if name != "nothing"], label, stages)
            parts.append(pd.concat([trained, nothing], ignore_index=True).assign(way=name.removeprefix("value-")))
        trials = pd.concat(parts, ignore_index=True)
        trials.attrs["better"] = better
        result = _valued(study, folder, members, trials, failures)
        check()
        write_valuation(result)
    return result


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
    inner = {key: value for key, value in stages.settings[0].items() if key not in ("label", "budget", "replaces")}
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


def _trials(
    left: tuple[pd.DataFrame, pd.DataFrame], outputs: Sequence[Output], subsets: Sequence[str], label: str,
    stages: Stages,
) -> pd.DataFrame:  # fmt: skip
    """Lay out what a stage left; a fit that diverged is missing."""
    seeds = range(stages.first_seed, stages.first_seed + stages.spec.seeds)
    grid = pd.DataFrame([(str(name), label, seed) for name in subsets for seed in seeds], columns=RUN)
    scores, fits = left
    found, _ = trials_of(without_diverged(scores, fits), outputs, grid)
    return found.rename(columns={"mixture": "subset"})


def _valued(
    study: Study, folder: Path, members: pd.DataFrame, trials: pd.DataFrame, failures: Mapping[str, str]
) -> Valuation:
    """Make a ledger of each way."""
    outputs: list[Output] = outputs_of(study)
    better: dict[str, str] = trials.attrs["better"]
    names = [one.name for one in outputs if one.name in better]
    if not names:
        first = next(iter(failures.values()), "no task gave the scores that utility names")
        raise InputError(f"mixture.utility: there is no score to value sources by ({first})")
    spec = study.spec.mixture
    assert spec is not None, "the caller has looked"
    weights = {one.name: one.weight for one in outputs if one.name in better}
    ledgers, parts = {}, []
    for way, rows in trials.groupby("way", sort=False):
        scored = rows.reset_index(drop=True)
        scored[UTILITY] = merit(
            scored.rename(columns={"subset": "mixture"}), better, weights, worst=spec.combine == "worst"
        )
        ledgers[str(way)] = ledger(
            members.loc[scored["subset"]].reset_index(drop=True), scored[[*names, UTILITY]], seeds=scored["seed"],
            better={**{name: better[name] for name in names}, UTILITY: "higher"},
        )  # fmt: skip
        parts.append(scored)
    whole = pd.concat(parts, ignore_index=True)[["way", "subset", "seed", *names, UTILITY]]
    label = str(trials.loc[trials["model"] != UNTRAINED, "model"].iloc[0])
    return Valuation(study.name, folder, label, ledgers, whole, members, failures)
