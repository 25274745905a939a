"""Fitting: a model on the cells of an AnnData, which then embeds those of others."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from corpuscle.alone.cells import SOURCE, Rng, corpus_of, opened_cells, seed_of, settled
from corpuscle.alone.known_genes import known_genes
from corpuscle.alone.label_columns import label_columns
from corpuscle.core.components import build, guarded
from corpuscle.core.disk import writing
from corpuscle.core.errors import InputError, ModelError
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.model import Annotates, FittedModel, Model, Reconstructs
from corpuscle.source.genes import By, gene_space
from corpuscle.source.in_memory import column_to_add
from corpuscle.store import write_text

SETTINGS = "fitted.json"


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
    symbols
        The symbols of its genes, by which they are found in cells without Ensembl ids; empty where they are not known.
    """

    name: str
    model: Model
    fitted: FittedModel
    genes: tuple[tuple[str, ...], By]
    training: Corpus | None = None
    symbols: tuple[str, ...] = ()

    def __repr__(self) -> str:
        cells = "" if self.training is None else f", fitted on {self.training.n_cells:,} cells"
        return f"Fitted({self.name}: {len(self.genes[0]):,} genes{cells})"

    @property
    def history(self) -> pd.DataFrame:
        """The training curve: ``step``, ``epoch``, ``quantity``, ``value``; no rows where no steps were taken."""
        return self.fitted.history

    def cells(self, adata: AnnData, *, layer: str | None = None, labels: Mapping[str, str] | None = None) -> Corpus:
        """Return cells in the model's genes: those that `adata` lacks count as not measured.

        Genes are matched by Ensembl id where the model knows these; in cells that have none, by symbol.

        Raises
        ------
        InputError
            When there are no raw counts, or less than 1 % of the model's genes.

        Warns
        -----
        UserWarning
            When there is less than half of the model's genes, and when genes with Ensembl ids are matched by symbol.
        """
        return cells_for(self, adata, layer, label_columns(labels, self.model))

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
        key = f"X_{self.name}" if key_added is None else column_to_add(key_added)
        cells = cells_for(self, adata, layer, label_columns(labels, self.model))
        with guarded(self.model):
            adata.obsm[key] = self.fitted.embed(cells)
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
        key = column_to_add(key_added)
        cells = cells_for(self, adata, layer, label_columns(labels, self.model))
        with guarded(self.model):
            share_NL = self.fitted.label_probabilities(cells)
        adata.obs[key] = pd.Categorical.from_codes(share_NL.argmax(axis=1), list(self.fitted.labels))
        adata.obs[f"{key}_probability"] = share_NL.max(axis=1)
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
        cells = cells_for(self, adata, layer, label_columns(labels, self.model))
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
            facts = {"model": self.model.spec(), "genes": list(genes), "by": by, "symbols": list(self.symbols)}
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
            name, symbols = str(spec.pop("name")), tuple(map(str, facts.get("symbols", ())))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{folder} holds no model that Fitted.save wrote ({error})") from None
        if len(symbols) not in (0, len(genes)):
            raise ModelError(f"{folder}: {SETTINGS} has {len(symbols):,} symbols of {len(genes):,} genes")
        model = build(Model, name, spec)
        with guarded(model):
            return Fitted(name, model, model.load_fitted(folder), (genes, by), symbols=symbols)


def cells_for(model: Fitted, adata: AnnData, layer: str | None, labels: Mapping[str, str]) -> Corpus:
    """Return cells in a model's genes, as `Fitted.cells`; labels were checked."""
    source = opened_cells(SOURCE, adata, layer, labels)
    return corpus_of(source, known_genes(source, model.genes, model.symbols))


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
    chosen = settled(Model, model, settings)
    source = opened_cells(SOURCE, adata, layer, label_columns(labels, chosen))
    by: By = "ensembl" if source.gene_names.has_ensembl else "symbol"
    corpus = corpus_of(source, gene_space({SOURCE: source.gene_names}, "intersection", by))
    with guarded(chosen):
        chosen.check(corpus.space)
        fitted = chosen.fit(corpus, seed_of(rng))
    return Fitted(chosen.name, chosen, fitted, (corpus.space.ids, by), corpus, corpus.space.symbols)
