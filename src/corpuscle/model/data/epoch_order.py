"""The order in which training sees the cells: a function of seed and sizes alone, the same from memory and from disk.

From disk, cells are read a block at a time, so the order is made of blocks wherever the counts lie: all uses of cells
are laid out once, at random; an epoch takes the blocks of this layout in a fresh order, a window of them at a time,
and shuffles within the window. Each use comes once an epoch. What fits into one window is simply shuffled.

Axes in names: N cells of the corpus, U its uses of cells: a cell has as many as `times` in the corpus' table says.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.randomness import generator

# A window is shuffled in memory, so its size is a compromise: at 1,000 nonzeros a cell these uses take 130 MB.
WINDOW_USES = 32_768
# Uses that are read together. A window mixes 64 blocks, and a block is already a random sample of the corpus.
BLOCK_USES = 512


class Window(NamedTuple):
    """A stretch of an epoch.

    Attributes
    ----------
    blocks
        The blocks of the layout that its uses lie in.
    places
        Places in the layout, in the order of training.
    ends_epoch
        Whether it is its epoch's last.
    """

    blocks: NDArray[np.int64]
    places: NDArray[np.int64]
    ends_epoch: bool


class EpochLayout:
    """Where each use of a cell lies, and the windows that training takes them in.

    Parameters
    ----------
    times_N
        How often an epoch uses each cell.

    Attributes
    ----------
    cell_U
        The cell at each place.

    Examples
    --------
    >>> layout = EpochLayout(np.array([1, 2, 1, 1]))
    >>> layout.cell_U
    array([0, 1, 1, 2, 3])
    >>> windows = layout.windows(np.array([2]), n_train=4, rng=np.random.default_rng(0))
    >>> [layout.cell_U[next(windows).places].tolist() for _ in range(2)]
    [[1, 0, 1, 3], [3, 1, 1, 0]]
    """

    def __init__(self, times_N: NDArray[np.int64]) -> None:
        cell_U = np.repeat(np.arange(len(times_N)), times_N)
        # It need not depend on the seed: windows are drawn from it by the seed.
        self.cell_U = cell_U if len(cell_U) <= WINDOW_USES else generator(0, "model", "layout").permutation(cell_U)

    def __len__(self) -> int:
        """Count the uses."""
        return len(self.cell_U)

    def windows(self, held: NDArray[np.int64], n_train: int, rng: np.random.Generator) -> Iterator[Window]:
        """Yield windows for ever, a fresh order each epoch.

        Repeated cells can leave a use or two more than an epoch has; those are left out by chance, others each epoch.

        Parameters
        ----------
        held
            Cells that are never trained on.
        n_train
            How many uses an epoch has, at most as many as the other cells have.
        rng
            Draws the order.
        """
        is_trained_N = np.ones(self.cell_U.max(initial=-1) + 1, bool)
        is_trained_N[held] = False
        n_blocks, n_windows = math.ceil(len(self) / BLOCK_USES), math.ceil(len(self) / WINDOW_USES)
        while True:
            blocks, left = np.arange(n_blocks) if n_windows == 1 else rng.permutation(n_blocks), n_train
            for part in np.array_split(blocks, n_windows):
                places = self.places(part)
                chosen = rng.permutation(places[is_trained_N[self.cell_U[places]]])[:left]
                left -= len(chosen)
                yield Window(part, chosen, ends_epoch=not left)
                if not left:
                    break

    def places(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """List the places of some blocks."""
        places = (blocks[:, None] * BLOCK_USES + np.arange(BLOCK_USES)).ravel()
        return places[places < len(self)]


def after_steps(windows: Iterator[Window], n_steps: int, steps_per_epoch: int, batch_size: int) -> Iterator[Window]:
    """Yield what is left of an order's windows when so many steps have had their batches; nothing of those is read.

    Examples
    --------
    >>> layout = EpochLayout(np.ones(5, np.int64))
    >>> orders = (layout.windows(np.array([], int), 5, np.random.default_rng(0)) for _ in range(2))
    >>> whole, rest = next(orders), after_steps(next(orders), n_steps=4, steps_per_epoch=3, batch_size=2)
    >>> [next(whole).places.tolist() for _ in range(2)], next(rest).places.tolist()
    ([[2, 4, 3, 0, 1], [4, 1, 2, 0, 3]], [2, 0, 3])
    """
    n_epochs, n_begun = divmod(n_steps, steps_per_epoch)
    while n_epochs:
        n_epochs -= next(windows).ends_epoch
    n_seen = n_begun * batch_size
    while n_seen:
        window = next(windows)
        if n_seen < len(window.places):
            yield window._replace(places=window.places[n_seen:])
        n_seen = max(0, n_seen - len(window.places))
    yield from windows


def hold_out(times_N: NDArray[np.int64], n_uses: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose cells for validation, in random order, with at most this many uses together.

    A cell is held out with all its uses, so that none is trained on and validated on.

    Examples
    --------
    >>> hold_out(np.array([1, 5, 1, 1]), 2, np.random.default_rng(0))
    array([2, 0])
    """
    held = []
    for cell in rng.permutation(len(times_N)):
        if n_uses <= 0:
            break
        if times_N[cell] <= n_uses:
            held.append(cell)
            n_uses -= int(times_N[cell])
    return np.array(held, np.int64)
