"""Evaluating: ask a task about the cells of an AnnData, and a model, or an embedding from wherever."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from corpuscle.alone.cells import SOURCE, Rng, as_corpus, settled
from corpuscle.alone.fitting import Fitted, cells_for
from corpuscle.alone.label_columns import label_columns
from corpuscle.core.components import guarded, legal_names
from corpuscle.core.errors import InputError, ModelError
from corpuscle.core.randomness import given_generator
from corpuscle.core.scores import score_table
from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.task import Task, answers, refuse_absent_columns
from corpuscle.model.model import FittedModel


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
    asked = settled(Task, task, settings)
    _refuse_references(asked)
    if model is not None and not isinstance(model, Fitted):
        raise InputError(f"model: expected what corpuscle.fit returned, got a {type(model).__name__}")
    if model is None:
        assert embedding is not None
        target = as_corpus(adata, layer=layer, labels=label_columns(labels, asked))
        fitted: FittedModel = _Given(_embedding(adata, embedding))
        training = None
    else:
        columns = label_columns(labels, asked, model.model)
        target, fitted, training = cells_for(model, adata, layer, columns), model.fitted, model.training
    refuse_absent_columns(asked, {SOURCE: target})
    if training is not None and not asked.in_place:
        _warn_of_training_cells(target, training, asked.name)
    # What a task looks up in training cells is not there, if they are not known.
    train = target.take(np.empty(0, np.int64)) if training is None else training
    with guarded(asked):
        scores = list(answers(asked, fitted, train, target, given_generator(rng)))
    shown = ["metric", "way", "unit", "value", "n_cells", "better", "reason", "title", "meaning"]
    name = "" if model is None else model.name
    return score_table(scores, corpus="", model=name, seed=0, task=asked.name, target="")[shown]


def _refuse_references(task: Task) -> None:
    """Refuse what names a corpus or a model of a study: there is none here."""
    for name in ("reference_corpus", "reference_model"):
        if given := getattr(task, name, ""):
            raise InputError(
                f"{task.name}: {name} = {given!r} is a name in a study, and outside of one there is nothing to compare "
                "with; leave it out, or write a study"
            )


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
    if not isinstance(key, str) or key not in adata.obsm:
        raise InputError(f"obsm has no {key!r}; {legal_names(str(key), list(adata.obsm))}")
    found = adata.obsm[key]
    try:
        z_NK = np.asarray(found.toarray() if hasattr(found, "toarray") else found, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"obsm {key!r}: expected numbers, cells × dimensions ({error})") from None
    if z_NK.ndim != 2 or not z_NK.shape[1]:
        raise InputError(f"obsm {key!r}: expected cells × dimensions, got an array of shape {z_NK.shape}")
    return z_NK


def _warn_of_training_cells(target: Corpus, training: Corpus, task: str) -> None:
    shared = target.cells["barcode"].isin(set(training.cells["barcode"]))
    n_shared = int(shared.sum())
    if n_shared:
        warnings.warn(
            f"{n_shared:,} of {len(target):,} cells have names of cells that the model was fitted on: scores of "
            f"{task} are meant for cells that it has not seen",
            stacklevel=3,
        )
