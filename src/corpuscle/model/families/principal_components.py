"""Principal components as models use them: found on the corpus alone, then where any cell lies on them.

Axes in names: N cells, H variable genes, K components.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.principal_components import Axes, find_axes, project
from corpuscle.model.families.log_expression import repeated
from corpuscle.model.model import Progress


def corpus_axes(corpus: Corpus, n_genes: int, n_components: int, progress: Progress) -> Axes:
    """Find the principal components of all uses of a corpus' cells, out of core.

    Raises
    ------
    ModelError
        When nothing varies over the corpus.
    """
    axes = find_axes(repeated(corpus), progress, n_genes=n_genes, n_components=n_components) if len(corpus) else None
    if axes is None or not len(axes.variance_K):
        raise ModelError(
            f"corpus {corpus.name!r} ({len(corpus)} cells, {corpus.n_genes} genes) has no principal component: "
            "it needs at least two cells and a gene that varies"
        )
    return axes


def coordinates(cells: Corpus, axes: Axes) -> NDArray[np.float32]:
    """Return where cells lie on the axes, shape (N, K), the corpus' mean at the origin."""
    found_NK = np.empty((len(cells), len(axes.variance_K)), np.float32)
    project(cells, axes, found_NK)
    return found_NK


def axes_of(arrays: Mapping[str, NDArray[Any]]) -> Axes:
    """Take the axes out of saved arrays."""
    return Axes(**{name: arrays[name] for name in Axes._fields})
