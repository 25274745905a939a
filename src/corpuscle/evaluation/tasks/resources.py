"""Resources: what a model costs: to fit, and to embed cells with."""

from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.core.scores import Metric, Score, declared
from corpuscle.core.usage import NO_PEAK, measured
from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.embedding import draw_cells
from corpuscle.evaluation.task import Task
from corpuscle.model.model import FittedModel

NOT_MEASURED = "the model was not fitted by this run, so what fitting took is not known"
NO_WEIGHTS = "the model keeps no weights in a form that is known here"
METRICS = declared(
    Metric("fit_seconds", "Seconds to fit", "By the clock, on the machine of the run.", "lower", "positive"),
    Metric("fit_cpu_seconds", "Processor seconds to fit", "Of all threads.", "lower", "positive"),
    Metric("fit_peak_gb", "Peak memory to fit, GB", "Of the whole process, libraries included.", "lower", "positive"),
    Metric("n_parameters", "Parameters", "Numbers in the saved weights.", "lower", "positive"),
    Metric(
        "embed_seconds_per_1000_cells",
        "Seconds to embed 1,000 cells",
        "By the clock, reading the counts included.",
        "lower",
        "positive",
    ),
    Metric(
        "embed_peak_gb", "Peak memory to embed, GB", "Of the whole process, libraries included.", "lower", "positive"
    ),
)


@component
class Resources(Task):
    """Measure what fitting a model took, and what embedding the target takes; lower is better.

    The metrics, unit ``all``, are `METRICS`, measured on the machine of the run, one thread per model; timings differ
    from run to run. A fit that was killed and went on counts with all that it took.

    Parameters
    ----------
    max_cells
        Where the target has more cells, so many are drawn.
    """

    metrics: ClassVar[tuple[Metric, ...]] = tuple(METRICS.values())

    max_cells: Annotated[int, Field(ge=1)] = 20_000

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Measure; see `Task.run`."""
        cost, n_train = model.cost, len(train)
        fit = cost.fit if cost else None
        yield _score("fit_seconds", fit.seconds if fit else None, n_train, NOT_MEASURED)
        yield _score("fit_cpu_seconds", fit.cpu_seconds if fit else None, n_train, NOT_MEASURED)
        yield _score("fit_peak_gb", fit.peak_gb if fit else None, n_train, NO_PEAK if fit else NOT_MEASURED)
        n_parameters = cost.n_parameters if cost else 0
        yield _score("n_parameters", n_parameters or None, n_train, NO_WEIGHTS if cost else NOT_MEASURED)
        cells = draw_cells(target, self.max_cells)
        with measured() as usage:
            model.embed(cells)
        yield _score("embed_seconds_per_1000_cells", 1000 * usage.seconds / len(cells), len(cells), "")
        yield _score("embed_peak_gb", usage.peak_gb, len(cells), NO_PEAK)


def _score(metric: str, value: float | None, n_cells: int, why: str) -> Score:
    return METRICS[metric].score(
        "all", float("nan") if value is None else float(value), n_cells, "" if value is not None else why
    )
