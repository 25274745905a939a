"""Recommending: from a study of mixtures to a folder that says what to train on; what the command line calls."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from corpuscle.core.text import plural
from corpuscle.execution.listener import Listener
from corpuscle.mixture.forecast import MEASURES
from corpuscle.oracle.answer import answered
from corpuscle.oracle.outputs import outputs_of
from corpuscle.oracle.recommendation import Recommendation
from corpuscle.oracle.search import searched
from corpuscle.oracle.stages import Stage, Stages
from corpuscle.oracle.workplace import Left, workplace
from corpuscle.oracle.writing import write
from corpuscle.study.spec import Study


def recommend(
    study: Study | Path | str,
    folder: Path | str,
    *,
    workers: int | None = None,
    store: Path | None = None,
    cluster: Path | str | None = None,
    listener: Listener | None = None,
) -> Recommendation:
    """Find which mixture of a study's sources to train on, in stages, each of which is an ordinary study.

    What a stage does is a function of the study and of the scores of the stages before it. Called again with the same
    folder, it so goes on where it stopped, and makes only what is missing.

    Parameters
    ----------
    study
        A study with a ``[mixture]`` table, or the path of such a file.
    folder
        Where everything is written: tables, ``recommendation.json``, a page, and each stage under ``stages``.
    workers, store, cluster, listener
        As for `corpuscle.run`; all stages share the store.

    Raises
    ------
    InputError
        When the study, its data or the folder cannot be used.
    ModelError
        When no setting of the proxy gives scores.
    ClusterError
        When the cluster is lost. What was made is kept.
    """
    with workplace(study, folder, workers=workers, store=store, cluster=cluster, listener=listener) as place:
        place.heard.said(_costs(place.stages))
        mixing = place.stages.mixing

        def runs(stage: Stage) -> Left:
            return place.run(stage.name, stage.study(mixing))

        def measures(stage: Stage) -> pd.DataFrame:
            found = place.measure(stage.name, stage.study(mixing))
            return found[found["measure"].isin(MEASURES)]

        found = answered(searched(place.stages, outputs_of(place.study), runs, measures), place.folder)
        found = replace(found, warnings=tuple(place.heard.warnings))
        place.check()
        write(found)
    return found


def _costs(stages: Stages) -> str:
    parts = ", ".join(f"{name} {n}" for name, n in stages.costs._asdict().items() if n)
    named = ", ".join(f"{name} ({n:,})" for name, n in stages.mixing.cells.items())
    return f"At most {plural(stages.costs.total, 'training')}: {parts}. Mixed, with cells for training: {named}"
