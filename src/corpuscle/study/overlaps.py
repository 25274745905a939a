"""What a study does about cells that are in it twice: which sources are compared, and what is dropped."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.overlap import Copies
from corpuscle.source.quality import KEPT
from corpuscle.source.source import Source
from corpuscle.study.spec import Study

OF_EVALUATION = "copy of an evaluation cell"
OF_TRAINING = "copy of an earlier training cell"


def training(study: Study) -> set[str]:
    """Return the sources that any corpus draws from."""
    return {source for recipe in study.recipes for source in recipe.sources}


def keeping(study: Study) -> frozenset[str]:
    """Return the sources whose near-duplicates of evaluation cells may be trained on."""
    return frozenset(name for name, quality in study.quality.items() if quality.near_duplicates == "keep")


def pairs(study: Study) -> set[tuple[str, str]]:
    """Return which sources are compared: those trained on with those evaluated on, and what is to be dropped."""
    trained, evaluated = training(study), {target.source for target in study.targets.values()}
    found = {(one, two) for one in trained for two in evaluated}
    for name, quality in study.quality.items():
        if quality.drop_duplicates:
            found |= {(name, other) for other in study.quality}
        if quality.near_duplicates == "drop" and name in trained:
            found |= {(name, other) for other in trained}
    return found


def places_of(copies: Copies, source: str) -> NDArray[np.int64]:
    """Return where a source's cells stand among all cells, in its order."""
    found: NDArray[np.int64] = np.flatnonzero(copies.cells.get_level_values("source") == source)
    return found


def without_copies(
    study: Study,
    pools: Mapping[str, Corpus],
    targets: Mapping[str, Corpus],
    copies: Copies,
    filtered: tuple[dict[str, Source], pd.DataFrame],
) -> tuple[dict[str, Corpus], dict[str, Source], pd.DataFrame]:
    """Drop the training cells that are copies, where the study says so; evaluation cells are never dropped.

    Parameters
    ----------
    filtered
        The sources, and the table of how many cells each kept.

    Returns
    -------
    The three, without what was dropped.
    """
    sources, quality = dict(filtered[0]), filtered[1]
    dropping = sorted(name for name in training(study) & set(pools) if study.quality[name].near_duplicates == "drop")
    if not dropping:
        return dict(pools), sources, quality
    place_of = {name: copies.cells.get_indexer(pd.MultiIndex.from_frame(pool.cells[["source", "row"]]))
                for name, pool in pools.items() if name in training(study)}  # fmt: skip
    held = [
        copies.cells.get_indexer(pd.MultiIndex.from_frame(target.cells[["source", "row"]]))
        for target in targets.values()
    ]
    evaluated = np.unique(np.concatenate([np.empty(0, np.int64), *held])).astype(np.int64)
    of_evaluation = np.setdiff1d(copies.of(evaluated)["cell"].to_numpy(np.int64), evaluated)
    trained = np.setdiff1d(np.concatenate(list(place_of.values())), np.union1d(of_evaluation, evaluated))
    later = np.setdiff1d(copies.later(trained, exact=False), of_evaluation)
    kept = dict(pools)
    for name in dropping:
        for dropped, reason in ((of_evaluation, OF_EVALUATION), (later, OF_TRAINING)):
            gone = np.isin(place_of[name], dropped)
            if gone.any():
                rows = kept[name].cells["row"].to_numpy()[gone]
                kept[name] = kept[name].take(~gone)
                place_of[name] = place_of[name][~gone]
                sources[name] = sources[name].keep(~np.isin(sources[name].cells["row"].to_numpy(), rows))
                quality = _moved(quality, name, reason, int(gone.sum()))
    return kept, sources, quality


def _moved(quality: pd.DataFrame, source: str, reason: str, n: int) -> pd.DataFrame:
    """Count cells under a reason that were counted as kept."""
    n_cells = quality["n_cells"] - n * ((quality["source"] == source) & (quality["reason"] == KEPT))
    row = pd.DataFrame({"source": [source], "reason": [reason], "n_cells": [n]})
    return pd.concat([quality.assign(n_cells=n_cells), row], ignore_index=True)


def repeated_files(opened: Mapping[str, Source]) -> Iterator[tuple[str, str]]:
    """Find sources that offer the same cells of the same file, with what to say at which place."""
    names = list(opened)
    for at, name in enumerate(names):
        for other in names[:at]:
            one, two = opened[name], opened[other]
            if one.content == two.content and one.reader.opened.counts == two.reader.opened.counts:
                n = int(np.isin(one.cells["row"].to_numpy(), two.cells["row"].to_numpy()).sum())
                if n:
                    yield (
                        f"sources.{name}",
                        (
                            f"{n:,} cells of source {name!r} are also in {other!r}, as the files are equal; a corpus "
                            "of both counts them twice. Name the file once, or part the cells of the sources with where"
                        ),
                    )


def undecidable(copies: Copies, opened: Mapping[str, Source]) -> Iterator[tuple[str, str]]:
    """Return of which sources cells are too poor to be recognised."""
    names, counts = np.unique(copies.cells[copies.undecidable].get_level_values("source"), return_counts=True)
    for name, n in zip(names.tolist(), counts.tolist(), strict=True):
        yield (
            f"sources.{name}",
            f"{n:,} of {len(opened[name]):,} cells of source {name!r} have too few counts, or too few genes in common "
            "with the other files, for a copy of them to be recognised: whether they leak is not known. Raise "
            "min_genes under [quality] to leave them out, or compare more genes",
        )
