"""Perturbation: whether a perturbation's effect on cells that were never seen perturbed is predicted from embeddings.

Axes in names: N cells, G genes, K latents.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.sparse import csr_matrix, vstack
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from corpuscle.core.components import component
from corpuscle.core.scores import Metric, Score
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.variable_genes import cp10k
from corpuscle.evaluation.embedding import Embedding, embedded, embeds_one_by_one, reasons
from corpuscle.evaluation.metrics.rank_test import rank_tests
from corpuscle.evaluation.metrics.top_genes import among_top
from corpuscle.evaluation.task import Task
from corpuscle.model.model import FittedModel

Array = NDArray[np.float64]
DELTA = Metric(
    "pearson_delta",
    "Pearson of changes",
    "Correlation over genes of predicted and true mean change from control to perturbed cells.",
    "higher",
    "correlation",
)
PROFILE = Metric(
    "pearson_profile",
    "Pearson of profiles",
    "Correlation over genes of predicted and true mean profile of perturbed cells; high for no change, too.",
    "higher",
    "correlation",
)
MSE = Metric("mse", "Squared error", "Mean over genes of the squared error of the mean profile.", "lower", "positive")
TOP = Metric(
    "top_genes",
    "Overlap of top genes",
    "Share of the genes that change most surely which are among as many that are predicted to change most; ties are "
    "ordered at random, on average.",
    "higher",
    "share",
)
DIRECTION = Metric(
    "direction",
    "Right direction",
    "Share of the genes that change most surely whose change is predicted to go the right way; none counts as wrong.",
    "higher",
    "share",
)
# Of fewer cells of a kind, control or perturbed, there is no mean to speak of.
FEWEST_CELLS = 10
N_EPOCHS = 30
# What is predicted with the embedding; and without it: baselines that every prediction has to beat.
LEARNED = ("MLP", "linear")
BASELINES = ("no change", "mean change of the others", "mean of the others")


class Line(NamedTuple):
    """The cells of one line or type: which are control, and which perturbed."""

    name: str
    control: NDArray[np.intp]
    treated: NDArray[np.intp]


@component
class Perturbation(Task):
    """Predict the mean response of each line to a perturbation, from the responses of the other lines.

    One line (or cell type) after the other is held out: none of its perturbed cells is seen by any prediction. A model
    that puts cells elsewhere without the others (`Harmony`, say; a few cells are tried) embeds the target anew for each
    line, without that line's perturbed cells; an embedding that is given (`corpuscle.evaluate`) stays as it is, and may
    have seen them. What the training corpus has of them the model has seen, too: scores say how many cells. From
    embeddings of control cells, a perceptron (``MLP``, one hidden layer of 128, as DenAdel et al. 2024) and a ridge
    regression (``linear``) learn the expression of perturbed cells that are drawn for them at random from the same
    line; what they predict for the held-out line's control cells is averaged. Next to them stand, in the same table,
    ``no change`` (the line's control cells), ``mean change of the others`` (added to these) and ``mean of the others``
    (perturbed cells). A model is of use where it is better than all of these.

    Expression is log1p of counts per 10,000, over genes that all sources measured. Each line has a row (unit
    ``cell_type=…`` or what `by` is), and ``all`` is their mean. Metrics: `DELTA`, `PROFILE`, `MSE`, `TOP` and
    `DIRECTION`; the published "R2" is `PROFILE`, and is high where nothing changes. `TOP` and `DIRECTION` are of the
    `n_top` genes with the largest rank test statistic; genes that stay as they are, or are predicted to, are none of
    them, and of equally sure genes each has the same chance: the score is what is expected.

    Parameters
    ----------
    condition
        The label column that says which cells are perturbed.
    control, treated
        Its values for control and for perturbed cells; other cells are left out.
    by
        The label column of lines.
    n_top
        How many genes count as those that change most. Where fewer change in a line, it has no `TOP` and `DIRECTION`.
    max_cells
        Where the target has more cells, so many are drawn.
    max_pairs
        So many pairs of a control and a perturbed cell are learned from, at most, evenly over lines.

    References
    ----------
    DenAdel et al. 2024, bioRxiv 2024.12.13.628448; Ahlmann-Eltze, Huber and Anders 2025, Nat Methods (baselines).

    Examples
    --------
    >>> Perturbation(condition="batch", control="ctrl", treated="stim").by
    'cell_type'
    """

    version: ClassVar[int] = 2
    metrics: ClassVar[tuple[Metric, ...]] = (DELTA, PROFILE, MSE, TOP, DIRECTION)

    condition: str
    control: str
    treated: str
    by: str = "cell_type"
    n_top: Annotated[int, Field(ge=1, le=10_000)] = 50
    max_cells: Annotated[int, Field(ge=10)] = 20_000
    max_pairs: Annotated[int, Field(ge=10, le=100_000)] = 4000

    @model_validator(mode="after")
    def _differ(self) -> "Perturbation":
        if self.control == self.treated:
            raise ValueError("control and treated are the same value")
        return self

    @property
    def asks_about(self) -> tuple[str, ...]:
        """Lines and conditions; see `Task.asks_about`."""
        return (self.by, self.condition)

    @property
    def asks_for(self) -> Mapping[str, tuple[str, ...]]:
        """Control and perturbed cells; see `Task.asks_for`."""
        return {self.condition: (self.control, self.treated)}

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Hold out one line after the other; see `Task.run`."""
        whole = embedded(model, target, self.max_cells)
        kept_G = whole.cells.measured_SG.all(axis=0)
        log_NG = cp10k(whole.cells.counts()).log1p().tocsc()[:, kept_G].tocsr()
        lines, few = self._lines(whole.cells)
        problem = whole.problem
        if not problem and len(lines) < 2:
            problem = f"{len(lines)} of {self.by} with {FEWEST_CELLS} cells of {self.control!r} and {self.treated!r}: "
            problem += "one is held out, and another is needed to learn from"
        if not problem and log_NG.shape[1] < max(2, self.n_top):
            problem = f"the cells have {log_NG.shape[1]} genes, too few for {self.n_top} that change most"
        note = reasons(few, whole.note)
        n_cells = sum(len(line.treated) for line in lines)
        if problem:
            for way in (*LEARNED, *BASELINES):
                for metric in self.metrics:
                    yield metric.score("all", float("nan"), n_cells, reasons(problem, note), way)
            return
        found: dict[tuple[str, str], list[float]] = {}
        controls = np.concatenate([line.control for line in lines])
        one_by_one = embeds_one_by_one(model, whole, controls)
        for held in lines:
            others = [line for line in lines if line.name != held.name]
            z_NK, said = (whole.z_NK, "") if one_by_one else self._without(held.treated, model, whole)
            noted = reasons(said, self._trained_on(held.name, train), note)
            for way, predicted_G in self._predictions(held, others, z_NK, log_NG, rng):
                for name, (value, why) in self._values(held, log_NG, predicted_G).items():
                    found.setdefault((way, name), []).append(value)
                    unit = f"{self.by}={held.name}"
                    yield _named(name).score(unit, value, len(held.treated), reasons(why, noted), way)
        for (way, name), values in found.items():
            lacking = sum(not np.isfinite(value) for value in values)
            why = f"{lacking} of {len(values)} lines have no value" if lacking else ""
            mean = float(np.mean(values)) if not lacking else float("nan")
            yield _named(name).score("all", mean, n_cells, reasons(why, note), way)

    def _lines(self, cells: Corpus) -> tuple[list[Line], str]:
        """Return the lines with enough control and perturbed cells, and what is left out."""
        line_N, condition_N = cells.labels(self.by), cells.labels(self.condition)
        found, few = [], []
        for name in np.unique(line_N[line_N != ""]):
            here = [np.flatnonzero((line_N == name) & (condition_N == kind)) for kind in (self.control, self.treated)]
            if min(map(len, here)) >= FEWEST_CELLS:
                found.append(Line(str(name), *here))
            else:
                few.append(str(name))
        return found, f"too few control or perturbed cells: {', '.join(few)}" if few else ""

    def _without(
        self, treated: NDArray[np.intp], model: FittedModel, whole: Embedding
    ) -> tuple[NDArray[np.float32], str]:
        """Embed the cells without some, whose places are then NaN; and say that this was done, or why it could not."""
        kept = np.delete(np.arange(len(whole)), treated)
        found = embedded(model, whole.cells.take(kept), self.max_cells)
        z_NK = np.full((len(whole), found.z_NK.shape[1]), np.nan, np.float32)
        if not found.problem:
            z_NK[kept] = found.z_NK
        return z_NK, reasons(found.problem, "embedded without them, as this model embeds cells together")

    def _trained_on(self, line: str, train: Corpus) -> str:
        """Say how many perturbed cells of a line the training corpus has."""
        n = int(((train.labels(self.by) == line) & (train.labels(self.condition) == self.treated)).sum())
        return f"the training corpus has {n:,} of this line's perturbed cells" if n else ""

    def _predictions(
        self, held: Line, others: list[Line], z_NK: NDArray[np.floating], log_NG: csr_matrix, rng: np.random.Generator
    ) -> Iterator[tuple[str, Array]]:
        """Yield each way, and the mean profile that it predicts for the held-out line's perturbed cells."""
        each = max(1, self.max_pairs // len(others))
        given, wanted = [], []
        for line in others:
            n = min(each, max(len(line.control), len(line.treated)))
            given.append(_drawn(line.control, n, rng))
            wanted.append(_drawn(line.treated, n, rng))
        seed = int(rng.integers(2**31))
        if not np.isfinite(z_NK[held.control]).all():
            yield from ((way, np.full(log_NG.shape[1], np.nan)) for way in LEARNED)
            yield from _baselines(held, others, log_NG)
            return
        scaler = StandardScaler().fit(z_NK[np.concatenate(given)].astype(np.float64))
        x_PK, asked_NK = (
            scaler.transform(z_NK[at].astype(np.float64)).astype(np.float32)
            for at in (np.concatenate(given), held.control)
        )
        y_PG = vstack([log_NG[at] for at in wanted]).toarray().astype(np.float32)
        base_G = y_PG.mean(axis=0)
        size = min(128, len(x_PK))
        network = MLPRegressor(hidden_layer_sizes=(128,), batch_size=size, max_iter=N_EPOCHS, random_state=seed)
        for way, learner in (("MLP", network), ("linear", Ridge(alpha=1.0))):
            with warnings.catch_warnings():
                # It stops after so many rounds on purpose: all models' have as many.
                warnings.simplefilter("ignore", ConvergenceWarning)
                learner.fit(x_PK, y_PG - base_G)
            yield way, learner.predict(asked_NK).reshape(len(asked_NK), -1).mean(axis=0, dtype=np.float64) + base_G
        yield from _baselines(held, others, log_NG)

    def _values(self, held: Line, log_NG: csr_matrix, predicted_G: Array) -> dict[str, tuple[float, str]]:
        """Compare a predicted with the true mean profile; each value has the reason why there is none."""
        if not np.isfinite(predicted_G).all():
            return {metric.name: (float("nan"), "no prediction") for metric in self.metrics}
        control_G, true_G = _mean(log_NG, held.control), _mean(log_NG, held.treated)
        both = np.concatenate([held.control, held.treated])
        group_N = np.repeat([0, 1], [len(held.control), len(held.treated)])
        z_G = np.nan_to_num(np.abs(rank_tests(log_NG[both], group_N, 2).z_CG[1]))
        surest_G, largest_G = (among_top(each, self.n_top) for each in (z_G, np.abs(predicted_G - control_G)))
        same_way_G = np.sign(predicted_G - control_G) * np.sign(true_G - control_G) > 0
        n_changed, delta = int((z_G > 0).sum()), _pearson(predicted_G - control_G, true_G - control_G)
        few = f"{n_changed:,} genes change, fewer than {self.n_top:,}" if n_changed < self.n_top else ""
        still = "" if np.isfinite(delta) else "nothing is predicted to change, or nothing does"
        profile = _pearson(predicted_G, true_G)
        return {
            "pearson_delta": (delta, still),
            "pearson_profile": (profile, "" if np.isfinite(profile) else "all genes are expressed alike"),
            "mse": (float(np.mean((predicted_G - true_G) ** 2)), ""),
            "top_genes": (float("nan") if few else float(surest_G @ largest_G) / self.n_top, few),
            "direction": (float("nan") if few else float(surest_G @ same_way_G) / self.n_top, few),
        }


def _baselines(held: Line, others: list[Line], log_NG: csr_matrix) -> Iterator[tuple[str, Array]]:
    """Yield each of `BASELINES`, and the mean profile that it predicts."""
    control_G = _mean(log_NG, held.control)
    yield "no change", control_G
    changes = [_mean(log_NG, line.treated) - _mean(log_NG, line.control) for line in others]
    yield "mean change of the others", control_G + np.mean(changes, axis=0)
    yield "mean of the others", np.mean([_mean(log_NG, line.treated) for line in others], axis=0)


def _named(name: str) -> Metric:
    return next(metric for metric in Perturbation.metrics if metric.name == name)


def _drawn(cells: NDArray[np.intp], n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw cells, each as often as any other, to one."""
    return np.concatenate([rng.permutation(cells) for _ in range(-(-n // len(cells)))])[:n]


def _mean(log_NG: csr_matrix, at: NDArray[np.intp]) -> Array:
    found: Array = np.asarray(log_NG[at].mean(axis=0)).ravel()
    return found


def _pearson(one: Array, other: Array) -> float:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])
