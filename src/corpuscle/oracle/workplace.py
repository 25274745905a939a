"""Workplace: the folder of a study of mixtures at work, in which stages are run as ordinary studies in one store."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from corpuscle.core.errors import InputError, Problem
from corpuscle.core.text import plural
from corpuscle.execution import results_folder, workflow
from corpuscle.execution.default_listener import default_listener
from corpuscle.execution.listener import Listener
from corpuscle.execution.run_record import store_of
from corpuscle.oracle.stages import Stages
from corpuscle.store import Store
from corpuscle.study.mixing import mixing_of, whole_pools
from corpuscle.study.plan import Plan
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study

if TYPE_CHECKING:
    from corpuscle.execution.cluster.connection import Cluster


class Left(NamedTuple):
    """What a stage left: scores, how its fits were checked, and what went wrong, by training."""

    scores: pd.DataFrame
    fits: pd.DataFrame
    failures: dict[str, str]


@dataclass(frozen=True)
class Workplace:
    """Where stages are run.

    Attributes
    ----------
    study
        The study of mixtures.
    folder
        Its folder; stages are under ``stages``.
    stages
        What there is to mix, and the stages of a search.
    plan
        The study's data, opened.
    heard
        Hears what is being done; it knows the warnings of all stages.
    check
        Refuses to go on where another process has taken the folder.
    root, workers, cluster
        The store, processes, and cluster of all stages: connected once, so that SLURM's jobs outlive a stage.
    """

    study: Study
    folder: Path
    stages: Stages
    plan: Plan
    heard: "Once"
    check: Callable[[], None]
    root: Path
    workers: int | None
    cluster: "Cluster | None"

    def run(self, name: str, stage: Study) -> Left:
        """Train and score a stage."""
        seeds = stage.spec.seeds
        n = len(stage.spec.corpora) * len(stage.spec.models) * (seeds if isinstance(seeds, int) else 1)
        place = self._at(name, f"{plural(n, 'training')}. {stage.spec.question}")
        found = workflow.run(
            stage, place, workers=self.workers, store=self.root, cluster=self.cluster, listener=self.heard, page=False
        )
        fits = pd.read_parquet(place / "fits.parquet")
        return Left(found.scores, fits, {" · ".join(map(str, run)): why for run, why in found.failures.items()})

    def measure(self, name: str, stage: Study) -> pd.DataFrame:
        """Measure the corpora of a stage; nothing is trained."""
        place = self._at(name, f"{len(stage.spec.corpora)} mixtures. {stage.spec.question}")
        return workflow.describe(
            stage, place, workers=self.workers, store=self.root, notice=self.heard.notice, page=False
        ).measures

    def _at(self, name: str, said: str) -> Path:
        self.check()
        self.heard.said(f"{name}: {said}")
        return self.folder / "stages" / name


@contextmanager
def workplace(  # all but two by name
    study: Study | Path | str,
    folder: Path | str,
    *,
    workers: int | None,
    store: Path | None,
    cluster: Path | str | None,
    listener: Listener | None,
) -> Iterator[Workplace]:
    """Take a folder for a study of mixtures, and find what there is to mix.

    Parameters
    ----------
    study
        A study with a ``[mixture]`` table, or the path of such a file.
    folder
        Where everything is written.
    workers, store, cluster, listener
        As for `corpuscle.run`.

    Raises
    ------
    InputError
        When the study, its data or the folder cannot be used.
    """
    study = study if isinstance(study, Study) else Study.read(study)
    if study.spec.mixture is None:
        raise InputError("expected a study with a [mixture] table, which says what to mix; `corpuscle run` does others")
    folder, heard = Path(folder), Once(listener or default_listener())
    study = study.placed(folder)
    workflow.require_one_place(workers, cluster)
    with ExitStack() as stack:
        check = stack.enter_context(results_folder.claimed(folder, study))
        connection = None
        if cluster is not None:
            connection = stack.enter_context(workflow.connected_from(cluster, folder, heard.said))
        root = store_of(folder, store)
        plan = prepare(whole_pools(study), Store(root), heard.notice)
        results_folder.claim(folder, study)
        yield Workplace(
            study, folder, Stages(mixing_of(study, plan.pools)), plan, heard, check, root, workers, connection
        )  # fmt: skip


class Once(Listener):
    """Passes on what is heard of all stages; a warning that several of them have, once.

    Attributes
    ----------
    warnings
        The warnings that were heard, in their order.
    """

    def __init__(self, inner: Listener) -> None:
        self.warnings: list[str] = []
        # All else goes straight on: a listener's methods are independent of one another.
        self.notice, self.planned, self.update = inner.notice, inner.planned, inner.update  # type: ignore[method-assign]
        self.failed, self.left, self.said = inner.failed, inner.left, inner.said  # type: ignore[method-assign]
        self._warned = inner.warned

    def warned(self, warnings: Sequence[Problem]) -> None:
        """Hear what is legal and yet likely not meant."""
        fresh = [warning for warning in warnings if warning.message not in self.warnings]
        self.warnings += dict.fromkeys(warning.message for warning in fresh)
        self._warned([Problem("", warning.message) for warning in fresh])
