"""Alone: each sampler, alteration, measure, model and task on AnnData, without a study.

Axes in names: N cells, K dimensions.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.utils import make_index_unique
from numpy.typing import NDArray

from corpuscle.core.components import Component, build, guarded, legal_names
from corpuscle.core.disk import writing
from corpuscle.core.errors import InputError, MeasureError, ModelError, SourceError
from corpuscle.core.scores import score_table
from corpuscle.corpus.alteration import Alteration, altered
from corpuscle.corpus.cell_ontology import CellOntology, CellTypes, mapped, type_labels
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.sampler import Sampler
from corpuscle.evaluation.task import Task, answers
from corpuscle.measures.common_space import basis_of, common_space
from corpuscle.measures.measure import Measure, built_ins, measure_corpus
from corpuscle.measures.table import attempt
from corpuscle.measures.view import MOST_PAIRED, StudyView, View
from corpuscle.model.imputer import model_imputer
from corpuscle.model.model import Annotates, FittedModel, Model, Reconstructs
from corpuscle.source.genes import By, GeneSpace, gene_space, given_genes
from corpuscle.source.in_memory import LAYERS, RAW, X
from corpuscle.source.quality import survey
from corpuscle.source.source import Source, open_source
from corpuscle.store import write_text

C = TypeVar("C", bound=Component)
Rng = np.random.Generator | int
# What the cells of an AnnData are said to be from.
SOURCE = "adata"
SETTINGS = "fitted.json"
MEASURED = (
    "measure", "of", "target", "size", "value", "low", "high", "n_cells", "better", "reason", "title", "meaning",
)  # fmt: skip


def sample(  # all but three by name
    adata: AnnData,
    sampler: str | Sampler = "uniform",
    /,
    *,
    n_cells: int,
    rng: Rng = 0,
    layer: str | None = None,
    labels: Mapping[str, str] | None = None,
    **settings: Any,
) -> AnnData:
    """Choose cells.

    Parameters
    ----------
    adata
        Cells, with raw counts in ``X`` or `layer`.
    sampler
        The sampler's name; ``corpuscle list samplers`` shows all, with their settings. Or a sampler that was built.
    n_cells
        How many cells to choose.
    rng
        A generator, or the seed of one.
    layer
        Where the raw counts are: a layer, or ``"raw"``; by default ``X``.
    labels
        Which columns of ``obs`` hold the labels that components know by name (``cell_type``, ``donor``, ``batch``,
        ``study``, ``tissue``, ``disease``, ``assay``, ``organism``), where they have other names there, such as
        ``{"cell_type": "louvain"}``.
    settings
        The sampler's own.

    Returns
    -------
    AnnData
        A copy of the chosen cells, with all that `adata` has of them, in its order.

    Raises
    ------
    InputError
        When there are no raw counts, or the sampler cannot choose that many cells.

    Examples
    --------
    >>> import anndata, corpuscle
    >>> blood = anndata.read_h5ad(corpuscle.dataset_path("pbmc3k"))
    >>> corpuscle.sample(blood, "label_balanced", n_cells=400, by="cell_type").n_obs
    400
    """
    chooser = _settled(Sampler, sampler, settings)
    if chooser.sources or chooser.looks_at:
        raise InputError(f"the sampler {chooser.name!r} needs other sources, too, so it works in a study alone")
    pool = as_corpus(adata, layer=layer, labels=labels)
    if not 0 < n_cells <= len(pool):
        raise InputError(f"n_cells: expected 1 to {len(pool):,}, the cells that there are; got {n_cells:,}")
    with guarded(chooser):
        chosen = chooser.choose(pool, n_cells, np.random.default_rng(rng), _context(pool))
    found = adata[np.sort(chosen)]
    return found.to_memory() if adata.isbacked else found.copy()


def alter(  # all but two by name
    adata: AnnData,
    alteration: str | Alteration,
    /,
    *,
    rng: Rng = 0,
    layer: str | None = None,
    labels: Mapping[str, str] | None = None,
    **settings: Any,
) -> AnnData:
    """Change which cells there are, how often, their labels or their counts.

    Parameters
    ----------
    adata, rng, layer, labels
        As for `sample`.
    alteration
        The alteration's name; ``corpuscle list alterations`` shows all, with their settings. Or one that was built.
    settings
        The alteration's own.

    Returns
    -------
    AnnData
        A new one: raw counts in ``X``, labels in ``obs``, genes by name in ``var``; ``uns["corpuscle"]["account"]`` is
        what was done, as JSON. A cell that is used several times has as many rows, named apart by a suffix; cells that
        were made have the key of what made them in ``obs["made"]``.

    Raises
    ------
    InputError
        When there are no raw counts, the alteration cannot be done, or it would change nothing.

    Examples
    --------
    >>> import anndata, corpuscle
    >>> blood = anndata.read_h5ad(corpuscle.dataset_path("pbmc3k"))
    >>> fewer = corpuscle.alter(blood, "downsample", types=["B"], keep=0.1)
    >>> int((blood.obs["cell_type"] == "B").sum()), int((fewer.obs["cell_type"] == "B").sum())
    (198, 19)
    """
    step = _settled(Alteration, alteration, settings)
    corpus = as_corpus(adata, layer=layer, labels=labels)
    after = altered(step, corpus, np.random.default_rng(rng), _context(corpus))
    used = np.repeat(np.arange(len(after)), after.cells["times"])
    # What is said of rows of a corpus' table goes: each row of this one is a cell, used once.
    obs = after.obs().iloc[used].drop(columns=["source", "row", "barcode", "times"])
    names = make_index_unique(pd.Index(after.cells["barcode"].astype(str).to_numpy(object)[used]))
    found = AnnData(after.counts()[used], obs=obs.set_axis(names), var=after.var())
    found.uns["corpuscle"] = {"account": json.dumps(after.account)}
    return found


def measure(  # all but two by name
    adata: AnnData,
    measures: str | None = None,
    *,
    targets: Mapping[str, AnnData] | None = None,
    rng: Rng = 0,
    layer: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Measure what is in some cells, and how well they cover others.

    Parameters
    ----------
    adata, rng, layer, labels
        As for `sample`.
    measures
        The name of a measure (see docs/measures.md) or of one of its numbers; None: all.
    targets
        Cells that `adata` is compared with, by name; without any, measures that need them are left out.

    Returns
    -------
    DataFrame
        One row per number: ``measure``, what it is ``of``, ``target``, ``size``, ``value``, ``low`` and ``high`` (95 %
        interval over donors), ``n_cells``, ``better``, ``reason`` where there is no value; see docs/measures.md.

    Raises
    ------
    InputError
        When there are no raw counts, or no such measure.

    Examples
    --------
    >>> import anndata, corpuscle
    >>> blood = anndata.read_h5ad(corpuscle.dataset_path("pbmc3k"))
    >>> found = corpuscle.measure(blood, "richness")
    >>> found.loc[(found["of"] == "cell_type") & (found["size"] == "own"), "value"].item()
    8.0
    """
    chosen, only = _measures(measures, with_targets=bool(targets))
    sources = {SOURCE: adata, **{f"target {name}": cells for name, cells in (targets or {}).items()}}
    corpora = _corpora(sources, layer=layer, labels=labels)
    corpus, *others = corpora.values()
    cells = dict(zip(targets or {}, others, strict=True))
    ontology, known = attempt(CellOntology), sorted({*type_labels(corpus)})
    terms = dict.fromkeys(known) if isinstance(ontology, MeasureError) else mapped(known, ontology, {})
    basis = attempt(lambda: basis_of({SOURCE: corpus}))

    def space() -> Any:
        if isinstance(basis, MeasureError):
            raise MeasureError(str(basis))
        return common_space(basis)

    n_equal = min(MOST_PAIRED, *(len(one) for one in corpora.values()))
    view = View(corpus, _seed(rng), StudyView(n_equal, CellTypes(ontology, terms), cells, space))
    found, _ = measure_corpus(chosen, view)
    if only:
        found = found[found["measure"] == only]
    order = [
        "measure",
        "of",
        "target",
        "size",
        "value",
        "low",
        "high",
        "n_cells",
        "better",
        "reason",
        "title",
        "meaning",
    ]
    return found[order].reset_index(drop=True)


def _measures(name: str | None, *, with_targets: bool) -> tuple[list[Measure], str]:
    """Return the measures of a name, and the one of their numbers that is meant; empty: all."""
    known = built_ins()
    if name is None:
        return known, ""
    found = [one for one in known if name in (one.name, *(metric.name for metric in one.metrics))]
    if not found:
        legal = [*(one.name for one in known), *(metric.name for one in known for metric in one.metrics)]
        raise InputError(f"there is no measure {name!r}; {legal_names(name, legal)}")
    if found[0].needs_targets and not with_targets:
        raise InputError(f'the measure {name!r} compares cells with targets; give some: targets = {{"blood": adata}}')
    return found, "" if name == found[0].name else name


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model that was fitted on AnnData, or read from a folder.

    Attributes
    ----------
    name
        The model's name.
    model
        Its settings.
    fitted
        Its weights.
    genes
        The genes that it knows, and by what they are matched, ``"ensembl"`` ids or ``"symbol"``.
    training
        The cells that it was fitted on; None where it was read from a folder.
    """

    name: str
    model: Model
    fitted: FittedModel
    genes: tuple[tuple[str, ...], By]
    training: Corpus | None = None

    def __repr__(self) -> str:
        cells = "" if self.training is None else f", fitted on {self.training.n_cells:,} cells"
        return f"Fitted({self.name}: {len(self.genes[0]):,} genes{cells})"

    @property
    def history(self) -> pd.DataFrame:
        """The training curve: ``step``, ``epoch``, ``quantity``, ``value``; no rows where no steps were taken."""
        return self.fitted.history

    def cells(self, adata: AnnData, *, layer: str | None = None, labels: Mapping[str, str] | None = None) -> Corpus:
        """Return cells in the model's genes: those that `adata` lacks count as not measured.

        Raises
        ------
        InputError
            When there are no raw counts, or none of the model's genes.
        """
        return as_corpus(adata, layer=layer, labels=labels, genes=self.genes)

    def embed(
        self,
        adata: AnnData,
        *,
        layer: str | None = None,
        labels: Mapping[str, str] | None = None,
        key_added: str | None = None,
    ) -> AnnData:
        """Embed cells.

        Parameters
        ----------
        adata, layer, labels
            As for `sample`.
        key_added
            The entry of ``obsm`` that the embedding is written into, float32 of shape (cells, dimensions); by default
            ``X_`` and the model's name.

        Returns
        -------
        AnnData
            The same one.
        """
        with guarded(self.model):
            adata.obsm[key_added or f"X_{self.name}"] = self.fitted.embed(self.cells(adata, layer=layer, labels=labels))
        return adata

    def annotate(
        self,
        adata: AnnData,
        *,
        layer: str | None = None,
        labels: Mapping[str, str] | None = None,
        key_added: str = "predicted_cell_type",
    ) -> AnnData:
        """Write the likeliest cell type of each cell into ``obs``, and its probability (``…_probability``).

        Raises
        ------
        InputError
            When the model knows no cell types.
        """
        if not isinstance(self.fitted, Annotates):
            raise ModelError(f"the model {self.name} knows no cell types; logistic_regression and mlp_classifier do")
        with guarded(self.model):
            share_NL = self.fitted.label_probabilities(self.cells(adata, layer=layer, labels=labels))
        adata.obs[key_added] = pd.Categorical.from_codes(share_NL.argmax(axis=1), list(self.fitted.labels))
        adata.obs[f"{key_added}_probability"] = share_NL.max(axis=1)
        return adata

    def expected(
        self,
        adata: AnnData,
        *,
        layer: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> pd.DataFrame:
        """Return the share of each gene that the model expects in each cell: cells × genes, float32; rows sum to 1.

        Raises
        ------
        InputError
            When the model does not reconstruct counts.
        """
        if not isinstance(self.fitted, Reconstructs):
            raise ModelError(f"the model {self.name} does not reconstruct counts")
        cells = self.cells(adata, layer=layer, labels=labels)
        with guarded(self.model):
            blocks = [block for _, block in self.fitted.expected_fractions(cells)]
        return pd.DataFrame(np.concatenate(blocks), index=adata.obs_names, columns=list(self.genes[0]))

    def save(self, folder: Path | str) -> None:
        """Write weights (safetensors), settings and genes (JSON) into a new folder.

        Raises
        ------
        InputError
            When there is something already, or it cannot be written.
        """
        folder = Path(folder)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise InputError(f"{folder} is not empty; choose a new folder")
            with guarded(self.model):
                self.fitted.save(folder)
            genes, by = self.genes
            facts = {"model": self.model.spec(), "genes": list(genes), "by": by}
            write_text(folder / SETTINGS, json.dumps(facts))

    @staticmethod
    def load(folder: Path | str) -> "Fitted":
        """Read what `save` wrote; no code in the folder is executed.

        Raises
        ------
        InputError
            When it holds no such model.
        """
        folder = Path(folder)
        try:
            facts = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            spec, genes, by = dict(facts["model"]), tuple(map(str, facts["genes"])), facts["by"]
            name = str(spec.pop("name"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{folder} holds no model that Fitted.save wrote ({error})") from None
        model = build(Model, name, spec)
        with guarded(model):
            return Fitted(name, model, model.load_fitted(folder), (genes, by))


def fit(  # all but two by name
    adata: AnnData,
    model: str | Model = "ldvae",
    /,
    *,
    rng: Rng = 0,
    layer: str | None = None,
    labels: Mapping[str, str] | None = None,
    **settings: Any,
) -> Fitted:
    """Fit a model, on one thread.

    Parameters
    ----------
    adata, rng, layer, labels
        As for `sample`.
    model
        The model's name; ``corpuscle list models`` shows all, with their settings. Or a model that was built, such as
        ``Geneformer(layer=-1)``, whose setting is called as an argument here.
    settings
        The model's own, such as ``budget={"steps": 5000}``.

    Returns
    -------
    Fitted
        Embeds cells, of this AnnData or another; see there.

    Raises
    ------
    InputError
        When there are no raw counts, or these cells cannot train the model.

    Examples
    --------
    >>> import anndata, corpuscle
    >>> blood = anndata.read_h5ad(corpuscle.dataset_path("pbmc3k"))
    >>> fitted = corpuscle.fit(blood, "pca", n_components=10)
    >>> fitted.embed(blood).obsm["X_pca"].shape
    (1500, 10)
    """
    settled = _settled(Model, model, settings)
    source = _opened(SOURCE, adata, layer, labels)
    by: By = "ensembl" if source.gene_names.has_ensembl else "symbol"
    corpus = _corpus(source, gene_space({SOURCE: source.gene_names}, "intersection", by))
    with guarded(settled):
        settled.check(corpus.space)
        fitted = settled.fit(corpus, _seed(rng))
    return Fitted(settled.name, settled, fitted, (corpus.space.ids, by), corpus)


def evaluate(  # noqa: PLR0913  # all but two by name
    adata: AnnData,
    task: str | Task,
    /,
    *,
    model: Fitted | None = None,
    embedding: str | None = None,
    rng: Rng = 0,
    layer: str | None = None,
    labels: Mapping[str, str] | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Ask a task about some cells.

    Parameters
    ----------
    adata, rng, layer, labels
        As for `sample`.
    task
        The task's name; ``corpuscle list tasks`` shows all, with their settings. Or a task that was built.
    model
        A fitted model to ask.
    embedding
        In its place, the entry of ``obsm`` that holds an embedding, from wherever.
    settings
        The task's own.

    Returns
    -------
    DataFrame
        One row per metric, way and unit: ``metric``, ``way``, ``unit`` (``"all"``, or a donor, batch or type),
        ``value``, ``n_cells``, ``better``, ``reason`` where there is no value, ``title`` and ``meaning``.

    Raises
    ------
    InputError
        When there are no raw counts, no such embedding, or the task needs a model.

    Warns
    -----
    UserWarning
        When cells are asked about that the model was fitted on, by a task that is for others.

    Examples
    --------
    >>> import anndata, corpuscle
    >>> blood = anndata.read_h5ad(corpuscle.dataset_path("pbmc3k"))
    >>> blood = corpuscle.fit(blood, "pca", n_components=10).embed(blood)
    >>> found = corpuscle.evaluate(blood, "annotation", embedding="X_pca")
    >>> f1 = found.query("metric == 'macro_f1' and unit == 'all' and way == '15 nearest'")["value"].item()
    >>> f1 > 0.7
    True
    """
    if (model is None) == (embedding is None):
        raise InputError('give either model, a fitted one, or embedding, the name of an entry of obsm such as "X_pca"')
    asked = _settled(Task, task, settings)
    if model is None:
        assert embedding is not None
        target = as_corpus(adata, layer=layer, labels=labels)
        fitted: FittedModel = _Given(_embedding(adata, embedding))
        training = None
    else:
        target, fitted, training = model.cells(adata, layer=layer, labels=labels), model.fitted, model.training
    if training is not None and not asked.in_place:
        _warn_of_training_cells(target, training, asked.name)
    # What a task looks up in training cells is not there, if they are not known.
    train = target.take(np.empty(0, np.int64)) if training is None else training
    with guarded(asked):
        scores = list(answers(asked, fitted, train, target, np.random.default_rng(rng)))
    columns = ["metric", "way", "unit", "value", "n_cells", "better", "reason", "title", "meaning"]
    name = "" if model is None else model.name
    return score_table(scores, corpus="", model=name, seed=0, task=asked.name, target="")[columns]


class _Given(FittedModel):
    """An embedding that was made elsewhere, as a fitted model that embeds these cells and no others."""

    def __init__(self, z_NK: NDArray[np.float32]) -> None:
        self.z_NK, self.genes, self.history = z_NK, (), pd.DataFrame()

    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Return where the cells are."""
        found: NDArray[np.float32] = self.z_NK[cells.cells["row"].to_numpy(np.int64)]
        return found

    def save(self, folder: Path) -> None:
        """Refuse: there is no model."""
        raise ModelError("an embedding that was given has no model")


def _embedding(adata: AnnData, key: str) -> NDArray[np.float32]:
    if key not in adata.obsm:
        raise InputError(f"obsm has no {key!r}; {legal_names(key, list(adata.obsm))}")
    found = adata.obsm[key]
    return np.asarray(found.toarray() if hasattr(found, "toarray") else found, np.float32)


def _warn_of_training_cells(target: Corpus, training: Corpus, task: str) -> None:
    shared = target.cells["barcode"].isin(set(training.cells["barcode"]))
    n_shared = int(shared.sum())
    if n_shared:
        warnings.warn(
            f"{n_shared:,} of {len(target):,} cells have names of cells that the model was fitted on: scores of "
            f"{task} are meant for cells that it has not seen",
            stacklevel=3,
        )


def as_corpus(
    adata: AnnData,
    *,
    layer: str | None = None,
    labels: Mapping[str, str] | None = None,
    genes: tuple[tuple[str, ...], By] | None = None,
) -> Corpus:
    """Return an AnnData's cells as a corpus: what samplers, measures, models and tasks are given.

    Parameters
    ----------
    adata, layer, labels
        As for `sample`.
    genes
        The genes to have, and by what they are matched; by default all that there are.

    Raises
    ------
    InputError
        When there are no raw counts, a column is not there, or none of the genes is.
    """
    source = _opened(SOURCE, adata, layer, labels)
    names = source.gene_names
    space = gene_space({SOURCE: names}) if genes is None else given_genes(SOURCE, names, *genes)
    return _corpus(source, space)


def _corpora(
    adatas: Mapping[str, AnnData], *, layer: str | None, labels: Mapping[str, str] | None
) -> dict[str, Corpus]:
    """Return several AnnDatas as corpora in one gene space: the genes that all have."""
    opened = {name: _opened(name, adata, layer, labels) for name, adata in adatas.items()}
    space = gene_space({name: source.gene_names for name, source in opened.items()})
    return {name: _corpus(source, space) for name, source in opened.items()}


def _settled(kind: type[C], named: str | C, settings: Mapping[str, Any]) -> C:
    """Return the component of a name and settings; itself, where it was built already."""
    if isinstance(named, kind):
        if settings:
            raise InputError(f"{kind.kind} {named.name!r} has its settings already: {', '.join(settings)}; give either")
        return named
    if not isinstance(named, str):
        raise InputError(f"expected the name of a {kind.kind}, or one that was built; got a {type(named).__name__}")
    return build(kind, named, settings)


def _opened(name: str, adata: AnnData, layer: str | None, labels: Mapping[str, str] | None) -> Source:
    if not isinstance(adata, AnnData):
        raise InputError(f"expected an AnnData, got a {type(adata).__name__}; anndata.read_h5ad reads one from a file")
    counts = X if layer is None else layer if layer == RAW and RAW not in adata.layers else f"{LAYERS}{layer}"
    try:
        return open_source(name, adata, counts=counts, roles=labels)
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from error


def _corpus(source: Source, space: GeneSpace) -> Corpus:
    """Return a source's cells as a corpus; what is no raw counts is refused."""
    survey(source, space)
    cells = source.cells.copy()
    cells.insert(0, "source", source.name)
    cells.insert(3, "times", 1)
    return Corpus(source.name, cells, {source.name: source.reader}, space)


def _context(corpus: Corpus) -> Context:
    return Context({SOURCE: corpus}, imputer=model_imputer)


def _seed(rng: Rng) -> int:
    """Return a seed; a generator gives one."""
    return int(rng.integers(2**31)) if isinstance(rng, np.random.Generator) else int(rng)
