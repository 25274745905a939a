"""Embedding: a target's cells as a model sees them, computed once and shared by all tasks that look at it.

Axes in names: N cells, K dimensions.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.components import guarded
from corpuscle.core.errors import ModelError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.randomness import generator
from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.metrics.neighbours import Neighbours, connectivities, nearest
from corpuscle.model.model import FittedModel, Notes

# Raised when what is kept of an embedding changes in form, or by code of no component.
EMBEDDINGS = 1
# Each cell's nearest that are found, itself among them: what LISI at its usual perplexity of 30 looks at.
N_NEAREST = 90
# Cells that are embedded without the others, to see whether they are put elsewhere.
N_ALONE = 16
# What graphs are built on: the default of scanpy, and of the published studies.
N_GRAPH = 15


@dataclass(frozen=True, eq=False)
class Embedding:
    """Cells, and where a model puts them.

    Attributes
    ----------
    cells
        The cells, N of them.
    z_NK
        Where they are.
    note
        What there is to know of them, in words: which share of all cells they are, which of them the model knows no
        gene of. Empty where there is nothing.
    """

    cells: Corpus
    z_NK: NDArray[np.float32]
    note: str = ""

    def __len__(self) -> int:
        """Count the cells."""
        return len(self.cells)

    @cached_property
    def problem(self) -> str:
        """Why nothing can be said of it; empty where something can."""
        broken = int((~np.isfinite(self.z_NK)).any(axis=1).sum())
        if broken:
            return f"the embedding of {broken:,} of {len(self):,} cells is not finite"
        if len(self) < 2:
            return f"{len(self)} cell: nothing to compare"
        if not (self.z_NK != self.z_NK[0]).any():
            return "the embedding is the same for all cells"
        return ""

    @cached_property
    def neighbours(self) -> Neighbours:
        """The `N_NEAREST` nearest of each cell, itself among them."""
        return nearest(self.z_NK, N_NEAREST)

    @cached_property
    def graph(self) -> csr_matrix:
        """Connectivities among the `N_GRAPH` nearest of each cell, shape (N, N)."""
        return connectivities(self.neighbours.first(N_GRAPH))

    def among(self, mask_N: NDArray[np.bool_]) -> "Embedding":
        """Return the embedding of some of the cells; itself, with the neighbours it has, where they are all."""
        return self if mask_N.all() else replace(self, cells=self.cells.take(mask_N), z_NK=self.z_NK[mask_N])


# The embeddings that a process has, by model and cells: gone when either is. Tasks are asked one by one, of one model.
_known: "WeakKeyDictionary[FittedModel, WeakKeyDictionary[Corpus, dict[int, Embedding]]]" = WeakKeyDictionary()


def embedded(model: FittedModel, cells: Corpus, max_cells: int) -> Embedding:
    """Embed cells, or take the embedding that another task of this process had made.

    Parameters
    ----------
    model
        What embeds.
    cells
        The cells.
    max_cells
        Where there are more, as many are drawn: the same for every corpus, model and seed, so that scores can be
        compared.
    """
    made = _known.setdefault(model, WeakKeyDictionary()).setdefault(cells, {})
    if max_cells not in made:
        drawn = draw_cells(cells, max_cells)
        share = f"{len(drawn):,} of {len(cells):,} cells drawn" if len(drawn) < len(cells) else ""
        note = reasons(share, model.note(drawn) if isinstance(model, Notes) else "")
        made[max_cells] = Embedding(drawn, _places(model, drawn), note)
    return made[max_cells]


def _places(model: FittedModel, cells: Corpus) -> NDArray[np.float32]:
    """Embed cells, or take what the store has of them, where the model is in one."""
    if model.stored is None:
        return _embed(model, cells)

    def write(folder: Path) -> None:
        np.save(folder / "embedding.npy", _embed(model, cells), allow_pickle=False)

    store, key = model.stored
    embedded = fingerprint("embedding", EMBEDDINGS, model.embeds_as or key, cells.identity())
    folder = store.kept("embeddings", embedded, write, label=f"embedding of {cells.name}")
    found: NDArray[np.float32] = np.load(folder / "embedding.npy")
    return found


def _embed(model: FittedModel, cells: Corpus) -> NDArray[np.float32]:
    """Embed cells; refuse what is no place for each of them."""
    with guarded(model):
        z_NK = np.asarray(model.embed(cells))
    if z_NK.ndim != 2 or len(z_NK) != len(cells) or not np.issubdtype(z_NK.dtype, np.number):
        raise ModelError(
            f"{type(model).__name__}.embed gave {z_NK.dtype} of shape {z_NK.shape} for {len(cells):,} cells; expected "
            "numbers of shape (cells, latents)"
        )
    return z_NK


def embeds_one_by_one(model: FittedModel, embedding: Embedding, positions: NDArray[np.intp]) -> bool:
    """Return whether a model puts some cells where it put them, when it is given them without the others.

    Most models do. Those that move cells towards each other (Harmony) do not, and commands of others may not: this asks
    them, rather than what they say of themselves.

    Parameters
    ----------
    model, embedding
        The model, and where it put all cells.
    positions
        Which cells to look at: so many of them, at most, as `N_ALONE`, spread evenly.
    """
    if not len(positions):
        return True
    few = positions[np.unique(np.linspace(0, len(positions) - 1, N_ALONE).astype(np.intp))]
    alone_NK = _embed(model, embedding.cells.take(few))
    if alone_NK.shape[1] != embedding.z_NK.shape[1]:
        return False
    # Rounding, as by batches of another size, moves no cell by a thousandth of how far cells are apart.
    apart = float(np.nanstd(embedding.z_NK))
    return bool(np.allclose(alone_NK, embedding.z_NK[few], rtol=0, atol=1e-3 * apart, equal_nan=True))


def draw_cells(cells: Corpus, max_cells: int) -> Corpus:
    """Draw cells evenly, at most so many, in their order: the same cells each time."""
    if len(cells) <= max_cells:
        return cells.take(np.arange(len(cells)))
    order = generator(0, "evaluated cells", cells.name).permutation(len(cells))
    return cells.take(np.sort(order[:max_cells]))


def left_out(labels: Mapping[str, NDArray[np.str_]]) -> str:
    """Return how many cells have no label of each kind; empty where all have.

    Examples
    --------
    >>> left_out({"cell type": np.array(["B", "", ""]), "batch": np.array(["1", "1", "2"])})
    '2 of 3 cells have no cell type'
    """
    missing = Counter({kind: int((label_N == "").sum()) for kind, label_N in labels.items()})
    return "; ".join(f"{n:,} of {len(labels[kind]):,} cells have no {kind}" for kind, n in missing.items() if n)


def reasons(*parts: str) -> str:
    """Join what there is to say."""
    return "; ".join(dict.fromkeys(part for part in parts if part))
