"""Integration: whether an embedding brings batches together and keeps cell types apart.

Axes in names: N cells, K dimensions, T types.
"""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.spatial.distance import cdist
from sklearn.model_selection import train_test_split

from corpuscle.core.components import component
from corpuscle.core.scores import Metric, Score, declared
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.principal_components import find_axes, project
from corpuscle.evaluation.embedding import N_GRAPH, Embedding, embedded, left_out, reasons
from corpuscle.evaluation.metrics import classification, mixing
from corpuscle.evaluation.metrics.neighbours import nearest_in
from corpuscle.evaluation.task import Task
from corpuscle.model.model import FittedModel

K, TEST_SHARE, SPLIT_SEED = 15, 0.7, 42
# Of the principal components of expression: how many centres of types are compared in, as published.
N_CENTRE = 20

# Silhouette widths are scaled to 0 … 1, where 0.5 is what says nothing: ratios of them have no meaning.
METRICS = declared(
    Metric(
        "avg_bio", "avg-bio", "Mean of NMI, ARI and silhouette width of cell types, as published.", "higher", "share"
    ),
    Metric("avg_batch", "avg-batch", "Mean of ASW of batches and graph connectivity, as published.", "higher", "share"),
    Metric(
        "nmi", "NMI", "Normalised mutual information of cell types and the best Leiden clusters.", "higher", "share"
    ),
    Metric("ari", "ARI", "Adjusted Rand index of cell types and the same clusters.", "higher", "correlation"),
    Metric("asw_label", "ASW of types", "Silhouette width of cell types, scaled to 0 to 1.", "higher", "correlation"),
    Metric(
        "asw_batch", "ASW of batches", "Silhouette width of batches within types, as 1 - |s|.", "higher", "correlation"
    ),
    Metric("isolated_labels", "Isolated labels", "ASW of the types in the fewest batches.", "higher", "share"),
    Metric("graph_connectivity", "Graph connectivity", "Of each type among 15 neighbours.", "higher", "share"),
    Metric("pcr", "PCR comparison", "How much less variance batches explain than in expression.", "higher", "share"),
    Metric("ilisi", "iLISI", "How many batches are among a cell's 90 neighbours, scaled.", "higher", "share"),
    Metric("clisi", "cLISI", "How few types are among a cell's 90 neighbours, scaled.", "higher", "share"),
    Metric("kbet", "kBET", "How often neighbours have the batches of their type; mean over types.", "higher", "share"),
    Metric(
        "knn_f1", "F1 of neighbours", "F1 of a type where each cell is given that of its 15 nearest.", "higher", "share"
    ),
    Metric("log2_support", "log2 of support", "How many cells the type has in the published test.", "none"),
    Metric(
        "centre_distance",
        "Distance of centres",
        "Least cosine distance of a type's centre from another's.",
        "none",
        "positive",
    ),
)
WHOLE = (
    "avg_bio", "avg_batch", "nmi", "ari", "asw_label", "asw_batch", "isolated_labels", "graph_connectivity", "pcr",
    "ilisi", "clisi", "kbet",
)  # fmt: skip
PER_BATCH = ("asw_label", "asw_batch", "ilisi", "clisi")
# The metrics that types have, each with its way.
OTHERS, PUBLISHED = ("knn_f1", "other batches"), ("knn_f1", "published split")
PER_TYPE = (
    OTHERS, PUBLISHED, ("kbet", ""), ("asw_label", ""), ("asw_batch", ""), ("log2_support", ""),
    ("centre_distance", ""),
)  # fmt: skip


@component
class Integration(Task):
    """Measure how batches mix and types stay apart in an embedding; needs the extra ``integration``.

    Metrics over all cells (`WHOLE`), 0 to 1 and higher is better, as scib has them (Luecken et al. 2022; scib-metrics):

    - ``avg_bio``: mean of ``nmi``, ``ari``, ``asw_label``; ``avg_batch``: mean of ``asw_batch``,
      ``graph_connectivity``;
    - ``nmi``, ``ari``: of the Leiden clustering, of ten resolutions, with the best NMI;
    - ``pcr``: by how much of its share less of the variance batches explain than in 50 principal components of the
      cells' log expression; 0 where they explain more, with the reason.

    Some of them per batch (unit ``batch=…``) and per type (``cell_type=…``), where there are also:

    - ``knn_f1``: F1 where each cell is given its type by its 15 nearest cells, of ``other batches``; or on the
      ``published split``, 70 % of all cells, stratified, seed 42; the other 30 % vote, of the cell's own batch as well
      (Maan et al. 2024);
    - ``log2_support``: log2 of the type's cells in that test; ``centre_distance``: the least cosine distance of its
      centre from another type's, of all batches, in 20 principal components of the cells' log expression, weighted by
      their variance. No way is better: they show how hard a type is.

    Cells without a type or batch are left out.

    Parameters
    ----------
    by
        The label that holds the batches.
    max_cells
        Where the target has more cells, so many are drawn.
    """

    maps: ClassVar[bool] = True
    in_place: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = tuple(METRICS.values())

    by: Literal["batch", "donor", "study", "assay", "source"] = "batch"
    max_cells: Annotated[int, Field(ge=10)] = 20_000

    @model_validator(mode="after")
    def _scib_metrics_is_there(self) -> "Integration":
        if find_spec("scib_metrics") is None:
            raise ValueError("it needs scib-metrics: pip install 'corpuscle[integration]'")
        return self

    @property
    def asks_about(self) -> tuple[str, ...]:
        """Cell types and batches; see `Task.asks_about`."""
        return ("cell_type", self.by)

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Measure the target's cells; see `Task.run`."""
        whole = embedded(model, target, self.max_cells)
        labels = {"cell type": whole.cells.labels("cell_type"), self.by: whole.cells.labels(self.by)}
        cells = whole.among(np.all([label_N != "" for label_N in labels.values()], axis=0))
        type_N, batch_N = cells.cells.labels("cell_type"), cells.cells.labels(self.by)
        note = reasons(whole.note, left_out(labels))
        problem = cells.problem or _too_few(type_N, batch_N, self.by)
        yield from _whole(cells, type_N, batch_N, problem, note)
        yield from _by_batch(cells, type_N, batch_N, self.by, reasons(problem, note), problem=bool(problem))
        yield from _by_type(cells, type_N, batch_N, reasons(problem, note), problem=bool(problem))


def _too_few(type_N: NDArray[np.str_], batch_N: NDArray[np.str_], by: str) -> str:
    """Return why nothing can be measured; empty where something can."""
    n_types, n_batches = len(np.unique(type_N)), len(np.unique(batch_N))
    if n_batches < 2:
        return f"the cells have {n_batches} {by} labels: no batches to mix"
    if n_types < 2:
        return f"the cells have {n_types} types: none to keep apart"
    if len(np.unique(np.char.add(np.char.add(type_N, "\x1f"), batch_N))) == len(type_N):
        return "no two cells have the same type and batch"
    return ""


def _whole(
    cells: Embedding, type_N: NDArray[np.str_], batch_N: NDArray[np.str_], problem: str, note: str
) -> Iterator[Score]:
    """Yield the metrics over all cells."""
    values, why = dict.fromkeys(WHOLE, float("nan")), dict.fromkeys(WHOLE, problem)
    if not problem:
        values, why = _measured(cells, type_N, batch_N)
    for metric in WHOLE:
        yield METRICS[metric].score("all", values[metric], len(cells), reasons(why.get(metric, ""), note))


def _measured(
    cells: Embedding, type_N: NDArray[np.str_], batch_N: NDArray[np.str_]
) -> tuple[dict[str, float], dict[str, str]]:
    """Return every metric over all cells, and why it is not what one might expect."""
    values, why = {}, {}
    values["nmi"], values["ari"] = mixing.optimal_leiden(cells.neighbours.first(N_GRAPH), type_N)
    apart_N = _apart(cells, type_N)
    values["asw_label"] = float(apart_N.mean())
    isolated = mixing.isolated_types(type_N, batch_N)
    values["isolated_labels"] = float(np.mean([apart_N[type_N == label].mean() for label in isolated]))
    mixed_N = mixing.batch_silhouettes(cells.z_NK, type_N, batch_N)
    values["asw_batch"] = _mean_over_types(mixed_N, type_N)
    values["graph_connectivity"] = mixing.graph_connectivity(cells.neighbours.first(N_GRAPH), type_N)
    values["pcr"], why["pcr"] = _pcr(cells, batch_N)
    values["ilisi"] = float(np.nanmedian(_scaled_ilisi(cells, batch_N)))
    values["clisi"] = float(np.nanmedian(_scaled_clisi(cells, type_N)))
    rates = [rate for rate in mixing.kbet(cells.graph, type_N, batch_N).values() if np.isfinite(rate)]
    values["kbet"] = float(np.mean(rates)) if rates else float("nan")
    values["avg_bio"] = float(np.mean([values["nmi"], values["ari"], values["asw_label"]]))
    values["avg_batch"] = float(np.mean([values["asw_batch"], values["graph_connectivity"]]))
    alone = "no type is in two batches with more cells than batches"
    why |= dict.fromkeys(("asw_batch", "avg_batch"), "" if np.isfinite(values["asw_batch"]) else alone)
    why["kbet"] = "" if rates else "no type has 10 cells and two batches"
    return values, why


def _apart(cells: Embedding, type_N: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return scaled silhouette widths of types; NaN where each cell has a type of its own."""
    if len(np.unique(type_N)) == len(type_N):
        return np.full(len(type_N), np.nan)
    return mixing.silhouettes(cells.z_NK, type_N)


def _mean_over_types(value_N: NDArray[np.float64], type_N: NDArray[np.str_]) -> float:
    """Average over types the means of those that have one."""
    means = [value_N[type_N == label].mean() for label in np.unique(type_N)]
    defined = [mean for mean in means if np.isfinite(mean)]
    return float(np.mean(defined)) if defined else float("nan")


def _pcr(cells: Embedding, batch_N: NDArray[np.str_]) -> tuple[float, str]:
    """Compare the variance that batches explain in the embedding with that in the cells' expression."""
    axes = find_axes(cells.cells)
    before_NK = np.empty((len(cells), len(axes.variance_K)), np.float32)
    project(cells.cells, axes, before_NK)
    if not before_NK.any():
        return float("nan"), "the cells' expression does not vary"
    before, after = mixing.batch_variance(before_NK, batch_N), mixing.batch_variance(cells.z_NK, batch_N)
    if before == 0:
        return float("nan"), "batches explain no variance of the cells' expression"
    note = f"batches explain more of the embedding's variance ({after:.3f}) than of expression's ({before:.3f})"
    return max(0.0, (before - after) / before), note if after > before else ""


def _scaled_ilisi(cells: Embedding, batch_N: NDArray[np.str_]) -> NDArray[np.float64]:
    return (mixing.lisi(cells.neighbours, batch_N) - 1) / (len(np.unique(batch_N)) - 1)


def _scaled_clisi(cells: Embedding, type_N: NDArray[np.str_]) -> NDArray[np.float64]:
    n_types = len(np.unique(type_N))
    return (n_types - mixing.lisi(cells.neighbours, type_N)) / (n_types - 1)


def _by_batch(
    cells: Embedding, type_N: NDArray[np.str_], batch_N: NDArray[np.str_], by: str, note: str, *, problem: bool
) -> Iterator[Score]:
    """Yield what can be said of each batch: means and medians over its cells."""
    value: Mapping[str, NDArray[np.float64]] = {metric: np.full(len(cells), np.nan) for metric in PER_BATCH}
    if not problem:
        value = {
            "asw_label": _apart(cells, type_N),
            "asw_batch": mixing.batch_silhouettes(cells.z_NK, type_N, batch_N),
            "ilisi": _scaled_ilisi(cells, batch_N),
            "clisi": _scaled_clisi(cells, type_N),
        }
    for batch in np.unique(batch_N):
        here = batch_N == batch
        for metric in PER_BATCH:
            of_cells = value[metric][here]
            known = of_cells[np.isfinite(of_cells)]
            middle = np.median if metric.endswith("lisi") else np.mean
            found = float(middle(known)) if len(known) else float("nan")
            why = "" if problem or len(known) else "no type of this batch is in another"
            yield METRICS[metric].score(f"{by}={batch}", found, int(here.sum()), reasons(why, note))


def _by_type(
    cells: Embedding, type_N: NDArray[np.str_], batch_N: NDArray[np.str_], note: str, *, problem: bool
) -> Iterator[Score]:
    """Yield what can be said of each type."""
    types = np.unique(type_N)
    table: dict[tuple[str, str], dict[str, tuple[float, str]]] = {of: {} for of in PER_TYPE}
    if not problem:
        table = {
            OTHERS: _f1_from_other_batches(cells, type_N, batch_N),
            **_published_f1(cells, type_N),
            ("kbet", ""): {
                label: (rate, "" if np.isfinite(rate) else "fewer than 10 cells, or one batch")
                for label, rate in mixing.kbet(cells.graph, type_N, batch_N).items()
            },
            ("asw_label", ""): _means(_apart(cells, type_N), type_N),
            ("asw_batch", ""): _means(mixing.batch_silhouettes(cells.z_NK, type_N, batch_N), type_N),
            ("centre_distance", ""): _centre_distances(cells.cells, type_N, batch_N),
        }
    for label in types.tolist():
        n_cells = int((type_N == label).sum())
        for metric, way in PER_TYPE:
            value, why = table[metric, way].get(label, (float("nan"), ""))
            yield METRICS[metric].score(f"cell_type={label}", value, n_cells, reasons(why, note), way)


def _means(value_N: NDArray[np.float64], type_N: NDArray[np.str_]) -> dict[str, tuple[float, str]]:
    found = {str(label): float(value_N[type_N == label].mean()) for label in np.unique(type_N)}
    return {label: (mean, "" if np.isfinite(mean) else "the type is in one batch") for label, mean in found.items()}


def _f1_from_other_batches(
    cells: Embedding, type_N: NDArray[np.str_], batch_N: NDArray[np.str_]
) -> dict[str, tuple[float, str]]:
    """Give each cell the type that its nearest cells of other batches have, and score each type."""
    types, code_N = np.unique(type_N, return_inverse=True)
    predicted_N = np.empty(len(type_N), dtype=type_N.dtype)
    for batch in np.unique(batch_N):
        here = batch_N == batch
        k = min(K, int((~here).sum()))
        index = nearest_in(cells.z_NK[~here], cells.z_NK[here], k)
        predicted_N[here] = types[classification.vote(code_N[~here][index], len(types)).argmax(axis=1)]
    f1_T = classification.per_type(type_N, predicted_N, types).f1
    n_batches = [len(np.unique(batch_N[type_N == label])) for label in types]
    return {
        str(label): (float(f1), "" if n > 1 else "the type is in one batch: no other has one to learn from")
        for label, f1, n in zip(types, f1_T, n_batches, strict=True)
    }


def _published_f1(cells: Embedding, type_N: NDArray[np.str_]) -> dict[tuple[str, str], dict[str, tuple[float, str]]]:
    """Score each type on the published split: 70 % of the cells, stratified; 15 of the other 30 % vote."""
    types, size_T = np.unique(type_N, return_counts=True)
    usable = np.flatnonzero(np.isin(type_N, types[size_T > 1]))
    alone = {str(label): (float("nan"), "one cell: it cannot be split") for label in types[size_T == 1]}
    n_usable = int((size_T > 1).sum())
    if len(usable) - int(np.ceil(TEST_SHARE * len(usable))) < max(K, n_usable):
        few = (float("nan"), f"{len(usable)} cells: too few for the published split")
        every = {str(label): few for label in types}
        return {PUBLISHED: every | alone, ("log2_support", ""): dict(every | alone)}
    train, test = train_test_split(usable, stratify=type_N[usable], test_size=TEST_SHARE, random_state=SPLIT_SEED)
    index = nearest_in(cells.z_NK[train], cells.z_NK[test], K)
    share = classification.vote(np.searchsorted(types, type_N[train])[index], len(types))
    found = classification.per_type(type_N[test], types[share.argmax(axis=1)], types)
    n_train = np.bincount(np.searchsorted(types, type_N[train]), minlength=len(types))
    few_T = [f"{n} cells vote for this type, fewer than k = {K}" if n < K else "" for n in n_train]
    named = [str(label) for label in types]
    f1 = {label: (float(value), few) for label, value, few in zip(named, found.f1, few_T, strict=True)}
    support = {
        label: (float(np.log2(n)) if n else float("nan"), "") for label, n in zip(named, found.support, strict=True)
    }
    return {PUBLISHED: f1 | alone, ("log2_support", ""): support | alone}


def _centre_distances(
    cells: Corpus, type_N: NDArray[np.str_], batch_N: NDArray[np.str_]
) -> dict[str, tuple[float, str]]:
    """Return how near each type's centre comes to another's, in any batch, in components of that batch's expression."""
    nearest_of: dict[str, float] = {}
    for batch in np.unique(batch_N):
        here = np.flatnonzero(batch_N == batch)
        types = np.unique(type_N[here])
        if len(types) < 2:
            continue
        axes = find_axes(cells.take(here))
        z_NK = np.empty((len(here), len(axes.variance_K)), np.float32)
        project(cells.take(here), axes, z_NK)
        weight_K = axes.variance_K[:N_CENTRE]
        centre_TK = np.stack([z_NK[type_N[here] == label, :N_CENTRE].mean(axis=0) for label in types])
        if not weight_K.any() or not (centre_TK != 0).any(axis=1).all():
            continue
        distance_TT = cdist(centre_TK, centre_TK, "cosine", w=weight_K / weight_K.sum())
        np.fill_diagonal(distance_TT, np.inf)
        for label, least in zip(types.tolist(), distance_TT.min(axis=1).tolist(), strict=True):
            nearest_of[label] = min(least, nearest_of.get(label, np.inf))
    alone = (float("nan"), "no batch has this type and another")
    return {label: (nearest_of[label], "") if label in nearest_of else alone for label in np.unique(type_N).tolist()}
