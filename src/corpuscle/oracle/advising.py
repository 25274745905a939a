"""Advising: what adding a data set would bring, before anything is trained on it; what the command line calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from corpuscle.core.errors import InputError
from corpuscle.execution.listener import Listener
from corpuscle.mixture.coalitions import subset_name
from corpuscle.mixture.marginal import left_out, marginal
from corpuscle.oracle.advice import Advice
from corpuscle.oracle.corpus_name import corpus_name
from corpuscle.oracle.mean_table import MeanTable, is_mean_table
from corpuscle.oracle.outputs import Output, outputs_of, trials_of
from corpuscle.oracle.stages import Stages
from corpuscle.oracle.stand_ins import stand_ins
from corpuscle.oracle.workplace import Left, Workplace, workplace
from corpuscle.oracle.writing import write_advice
from corpuscle.source.source import dataset_names
from corpuscle.source.stacking import free_name
from corpuscle.statistics.divergence import RUN, without_diverged
from corpuscle.study.mixing import expanded, pool_of
from corpuscle.study.spec import Study

# Known sources that it takes: each is predicted from the others.
FEWEST = 4
# Of a target, by which a source can be predicted; higher is made to be nearer.
FEATURES = ("knn_distance", "moment_proxy", "squared_mmd", "coverage", "gene_coverage")


def advise(  # noqa: PLR0913  # all but three by name
    study: Study | Path | str,
    folder: Path | str,
    candidate: Path | str,
    *,
    name: str = "candidate",
    workers: int | None = None,
    store: Path | None = None,
    cluster: Path | str | None = None,
    listener: Listener | None = None,
) -> Advice:
    """Predict what adding a data set to a study's sources would bring, from a pilot of its cells or from means of them.

    All sources but one are trained on, for each source, and all; so it is known what each adds, and how much nearer to
    each target it brings the corpus. Nothing is trained on the candidate: how much nearer it brings the corpus places
    it among the known sources (`corpuscle.mixture.marginal`). Each known source is predicted from the others, too, so
    that one sees what that is worth.

    Parameters
    ----------
    study
        A study with a ``[mixture]`` table of four sources or more, or the path of such a file.
    folder
        Where everything is written; that of `recommend` or `value` will do, whose trainings are used again.
    candidate
        Cells of the data set: a file or folder in any format that sources have, or a data set of the package. Two
        thousand are enough. Or a .csv, .tsv or .parquet file of mean counts per 10,000, a gene a row and a group of
        cells a column (`corpuscle.oracle.mean_table.MeanTable.read`): known sources are then reduced to means, too,
        and cells drawn around them are compared.
    name
        What it is called.
    workers, store, cluster, listener
        As for `corpuscle.run`.

    Raises
    ------
    InputError
        When the study or the candidate cannot be used: too few sources, or the candidate has other genes.
    ClusterError
        When the cluster is lost. What was made is kept.
    """
    means = MeanTable.read(Path(candidate).expanduser()) if _is_means(candidate) else None
    table = _table(candidate) if means is None else {}
    with workplace(study, folder, workers=workers, store=store, cluster=cluster, listener=listener) as place:
        stages = place.stages
        if name in {*place.study.spec.sources, *stages.mixing.names}:
            raise InputError(f"the study has a source {name!r} already; give the candidate another name")
        if len(stages.mixing.names) < FEWEST:
            raise InputError(
                f"mixture.sources: expected at least {FEWEST} sources, to learn from what a new one would add; got "
                f"{len(stages.mixing.names)}"
            )
        # First, as it takes no training, and a candidate that cannot be used ends here.
        compared = _from_cells(stages, name, table) if means is None else _from_means(place, name, means)
        measures = place.measure("candidate", _candidate(stages, compared))
        left = place.run("one-out", _one_out(stages))
        outputs = outputs_of(stages.mixing.study)
        features = _features(compared, outputs, measures)
        result = _advice(name, _known(stages, outputs, left), features, place.folder, compared.said)
        place.check()
        write_advice(result)
    return result


def _is_means(candidate: Path | str) -> bool:
    return is_mean_table(candidate) and Path(candidate).expanduser().is_file()


def _table(candidate: Path | str) -> dict[str, Any]:
    """Return a candidate as a table of ``[sources]``."""
    if str(candidate) in dataset_names():
        return {"dataset": str(candidate)}
    path = Path(candidate).expanduser()
    if not path.exists():
        raise InputError(
            f"--candidate: {path} does not exist; expected a file or folder of cells, a table of means (.csv, .tsv, "
            f".parquet), or a data set of the package: {', '.join(dataset_names())}"
        )
    return {"path": str(path.resolve())}


def _subsets(stages: Stages) -> dict[str, dict[str, float]]:
    """Return the weights of all sources, and of all but each, by the names that `value` gives them."""
    names, taken = stages.mixing.names, {"all"}
    found = {"all": dict(stages.prior)}
    for name in names:
        rest = np.array([one != name for one in names])
        found[corpus_name(subset_name(names, rest), taken)] = {one: stages.prior[one] for one in names if one != name}
    return found


def _one_out(stages: Stages) -> Study:
    """Return the ordinary study of all sources, and of all but each."""
    corpora = [stages.mixing.corpus(name, weights) for name, weights in _subsets(stages).items()]
    return stages.mixing.expand(
        corpora, models=[stages.settings[0]], seeds=stages.spec.confirm_seeds, first_seed=stages.first_seed,
        question="What does each known source add to all others? A stage of `corpuscle advise`.",
    )  # fmt: skip


@dataclass(frozen=True)
class _Compared:
    """How known sources and the candidate are compared.

    Attributes
    ----------
    sources
        What the study has not: tables of ``[sources]``.
    corpora
        Tables of ``[[corpora]]``.
    pairs
        By source, the candidate last, the corpora with and without it.
    said
        From what a summary was compared; empty for cells.
    """

    sources: Mapping[str, Mapping[str, Any]]
    corpora: Sequence[Mapping[str, Any]]
    pairs: Mapping[str, tuple[str, str]]
    said: str = ""


def _from_cells(stages: Stages, name: str, table: Mapping[str, Any], source: str | None = None) -> _Compared:
    """Compare cells of the candidate, which has an equal share, with those of known sources."""
    mixing, subsets = stages.mixing, _subsets(stages)
    corpora = [mixing.corpus(one, weights) for one, weights in subsets.items()]
    n_new = _n_new(stages)
    named = corpus_name(f"all and {name}", {one.casefold() for one in subsets})
    whole = mixing.corpus(named, stages.prior, mixing.spec.n_cells - n_new)
    part = {"source": source or name, "n_cells": n_new, "repeats": mixing.spec.most_repeats}
    corpora.append({**whole, "parts": [*whole["parts"], part]})
    pairs = {one: ("all", subset) for one, subset in zip(mixing.names, [*subsets][1:], strict=True)}
    return _Compared({source or name: table}, corpora, {**pairs, name: (whole["name"], "all")})


def _from_means(place: Workplace, name: str, means: MeanTable) -> _Compared:
    """Compare cells drawn around the candidate's means with such as are drawn around those of known sources."""
    stages = place.stages
    mixing, counts = stages.mixing, stages.mixing.counts(stages.prior)
    known = {one.name: pool_of(one, place.plan.pools) for one in mixing.ingredients}
    found = stand_ins(means, known, place.plan.by, {**counts, name: _n_new(stages)}, name=name)
    compared = _from_cells(stages, name, _drawn_source(found.candidate))
    taken, named = {*mixing.study.spec.sources, name}, {str(one["name"]).casefold() for one in compared.corpora}
    sources, corpora, pairs = {**compared.sources}, [*compared.corpora], {**compared.pairs}
    for at, one in enumerate(mixing.ingredients):
        if not counts[one.name]:
            continue
        source = free_name(f"means {at + 1}", taken)
        taken.add(source)
        sources[source] = _drawn_source(found.known[one.name])
        # In place of its cells, the others as they are.
        rest = mixing.corpus(
            corpus_name(f"all, {source}", named), {**counts, one.name: 0}, sum(counts.values()) - counts[one.name]
        )
        corpora.append({**rest, "parts": [*rest["parts"], {"source": source, "n_cells": counts[one.name]}]})
        pairs[one.name] = (rest["name"], pairs[one.name][1])
    return _Compared(sources, corpora, pairs, found.said)


def _drawn_source(cells: AnnData) -> dict[str, Any]:
    """Return drawn cells as a source: none is filtered, and none is anybody's cell."""
    quality = {"min_counts": 0, "min_genes": 0, "max_mito_fraction": 1.0, "near_duplicates": "keep"}
    return {"path": cells, "quality": quality | {"drop_duplicates": False}}


def _n_new(stages: Stages) -> int:
    """Return how many cells of the candidate its corpus has: an equal share."""
    return max(1, round(stages.mixing.spec.n_cells / (len(stages.mixing.names) + 1)))


def _candidate(stages: Stages, compared: _Compared) -> Study:
    """Return the ordinary study that measures what is compared."""
    question = "How much nearer to the targets is the corpus with each source? A stage of `corpuscle advise`."
    return expanded(
        stages.mixing.study, compared.corpora, models=[stages.settings[0]], first_seed=stages.first_seed,
        question=question, sources=compared.sources,
    )  # fmt: skip


def _advice(name: str, known: pd.DataFrame, features: pd.DataFrame, folder: Path, said: str) -> Advice:
    """Predict the candidate, and each known source as if it were one."""
    of_candidate = features["source"] == name
    found = marginal(known, features[~of_candidate], features[of_candidate])
    checked = left_out(known, features[~of_candidate])
    values = found.values.drop(columns="source")
    return Advice(name, folder, values, checked, features, found.slopes, said)


def _known(stages: Stages, outputs: Sequence[Output], left: Left) -> pd.DataFrame:
    """Return what each source adds to all others: the mean over seeds of the difference, positive is good."""
    label, subsets = str(stages.settings[0]["label"]), _subsets(stages)
    seeds = range(stages.first_seed, stages.first_seed + stages.spec.confirm_seeds)
    grid = pd.DataFrame([(name, label, seed) for name in subsets for seed in seeds], columns=RUN)
    trials, better = trials_of(without_diverged(left.scores, left.fits), outputs, grid)
    rows = []
    for one in outputs:
        if one.name not in better:
            continue
        table = trials.pivot_table(index="seed", columns="mixture", values=one.name)
        sign = 1.0 if better[one.name] == "higher" else -1.0
        for source, subset in zip(stages.mixing.names, list(subsets)[1:], strict=True):
            if {"all", subset} <= set(table.columns):
                added = sign * (table["all"] - table[subset]).dropna()
                if len(added) >= 2:
                    error = float(added.std(ddof=1) / np.sqrt(len(added)))
                    rows.append((source, one.name, f"{one.metric} of {one.task}", float(added.mean()), error))
    if not rows:
        raise InputError("mixture.utility: no two seeds have the scores that it names, so nothing is known of sources")
    return pd.DataFrame(rows, columns=["source", "output", "metric", "value", "se"])


def _features(compared: _Compared, outputs: Sequence[Output], measures: pd.DataFrame) -> pd.DataFrame:
    """Return how much better each measure of the corpus is with each source, the candidate last."""
    kept = measures[measures["measure"].isin(FEATURES)]
    # One size of each: of equal numbers of cells where there is that.
    equal = set(kept.loc[kept["size"] == "equal", "measure"])
    kept = kept[(kept["size"] == "equal") | ~kept["measure"].isin(equal)]
    value = kept.assign(value=kept["value"] * np.where(kept["better"] == "lower", -1.0, 1.0)).pivot_table(
        index="corpus", columns=["target", "measure"], values="value"
    )
    rows = []
    for source, (whole, less) in compared.pairs.items():
        for one in outputs:
            gained = value.loc[whole, one.target] - value.loc[less, one.target]
            rows.append({"source": source, "output": one.name, **gained.to_dict()})
    table = pd.DataFrame(rows)
    # What is not measured of some (too few cells for a distance) tells none apart.
    return table.dropna(axis=1)
