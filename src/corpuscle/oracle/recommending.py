"""Recommending: from a study of mixtures to a folder that says what to train on; what the command line calls."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from corpuscle.core.errors import InputError, Problem
from corpuscle.core.text import plural
from corpuscle.execution import results_folder, workflow
from corpuscle.execution.default_listener import default_listener
from corpuscle.execution.listener import Listener
from corpuscle.execution.run_record import store_of
from corpuscle.mixture.forecast import MEASURES
from corpuscle.oracle.answer import answered
from corpuscle.oracle.outputs import outputs_of
from corpuscle.oracle.recommendation import Recommendation
from corpuscle.oracle.search import searched, stage_folder
from corpuscle.oracle.stages import Stage, Stages
from corpuscle.oracle.writing import write
from corpuscle.store import Store
from corpuscle.study.mixing import mixing_of, whole_pools
from corpuscle.study.preparation import prepare
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
    study = study if isinstance(study, Study) else Study.read(study)
    if study.spec.mixture is None:
        raise InputError("expected a study with a [mixture] table, which says what to mix; `corpuscle run` does others")
    folder, heard = Path(folder), _Once(listener or default_listener())
    study = study.placed(folder)
    with results_folder.claimed(folder, study) as check:
        root = store_of(folder, store)
        plan = prepare(whole_pools(study), Store(root), heard.notice)
        results_folder.claim(folder, study)
        stages = Stages(mixing_of(study, plan.pools))
        heard.said(_costs(stages))

        def runs(stage: Stage) -> tuple[pd.DataFrame, pd.DataFrame, Mapping[str, str]]:
            check()
            heard.said(f"{stage.name}: {plural(stage.n_runs, 'training')}. {stage.purpose}")
            place = stage_folder(folder, stage)
            found = workflow.run(
                stage.study(stages.mixing), place, workers=workers, store=root, cluster=cluster, listener=heard,
                page=False,
            )  # fmt: skip
            fits = pd.read_parquet(place / "fits.parquet")
            return found.scores, fits, {str(run): why for run, why in found.failures.items()}

        def measures(stage: Stage) -> pd.DataFrame:
            check()
            heard.said(f"{stage.name}: {plural(len(stage.mixtures), 'mixture')}. {stage.purpose}")
            place = stage_folder(folder, stage)
            found = workflow.describe(
                stage.study(stages.mixing), place, workers=workers, store=root, notice=heard.notice, page=False
            ).measures
            return found[found["measure"].isin(MEASURES)]

        found = answered(searched(stages, outputs_of(study), runs, measures), folder)
        check()
        write(found)
    return found


def _costs(stages: Stages) -> str:
    parts = ", ".join(f"{name} {n}" for name, n in stages.costs._asdict().items() if n)
    named = ", ".join(f"{name} ({n:,})" for name, n in stages.mixing.cells.items())
    return f"At most {plural(stages.costs.total, 'training')}: {parts}. Mixed, with cells for training: {named}"


class _Once(Listener):
    """Passes on what is heard of all stages; a warning that several of them have, once."""

    def __init__(self, inner: Listener) -> None:
        self._said = set[str]()
        # All else goes straight on: a listener's methods are independent of one another.
        self.notice, self.planned, self.update = inner.notice, inner.planned, inner.update  # type: ignore[method-assign]
        self.failed, self.left, self.said = inner.failed, inner.left, inner.said  # type: ignore[method-assign]
        self._warned = inner.warned

    def warned(self, warnings: Sequence[Problem]) -> None:
        """Hear what is legal and yet likely not meant."""
        fresh = [warning for warning in warnings if warning.message not in self._said]
        self._said |= {warning.message for warning in fresh}
        self._warned([Problem("", warning.message) for warning in fresh])
