"""Training on a GPU: which device there is, counts that stay on it, and batches gathered there.

Axes in names: N cells, B cells of a batch, G genes; "nz" runs over nonzero counts.
"""

import os
from collections.abc import Generator, Iterator

import numpy as np
import torch
from torch import Tensor

from corpuscle.core.errors import ModelError
from corpuscle.model.data.batches import CountTable, Rows
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.data.epoch_order import EpochLayout, Window

VARIABLE = "CORPUSCLE_DEVICE"
CPU = torch.device("cpu")


def training_device() -> torch.device:
    """Return where this process trains count models: a GPU where torch finds one, else the CPU.

    The environment variable ``CORPUSCLE_DEVICE`` names another, such as ``cpu`` or ``cuda:1``; of several, separated by
    commas (see `gpus`), the first.

    Raises
    ------
    ModelError
        When it names none that is here.

    Examples
    --------
    >>> import os
    >>> os.environ["CORPUSCLE_DEVICE"] = "cpu"
    >>> training_device()
    device(type='cpu')
    >>> del os.environ["CORPUSCLE_DEVICE"]
    """
    name = next(iter(_named()), "cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise _not_here(name, str(error).splitlines()[0]) from error
    return device


def gpus() -> tuple[str, ...]:
    """Return the GPUs that models are to be trained on, one on each at a time.

    Each is what ``CORPUSCLE_DEVICE`` is to be in a process that trains on it. By default they are all that torch finds;
    or those that the variable names: ``cuda:0,cuda:2``, for example, or ``cuda:0,cuda:0`` for two models at a time on
    one GPU. Nothing is allocated on them to find out.

    Raises
    ------
    ModelError
        When the variable names one that is not here.

    Examples
    --------
    >>> import os
    >>> os.environ["CORPUSCLE_DEVICE"] = "cpu"
    >>> gpus()
    ()
    >>> del os.environ["CORPUSCLE_DEVICE"]
    """
    n_here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = _named() or [f"cuda:{number}" for number in range(n_here)]
    for name in names:
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise _not_here(name, str(error).splitlines()[0]) from error
        if device.type == "cuda" and (device.index or 0) >= n_here:
            raise _not_here(name, f"torch finds {n_here} GPUs")
    return tuple(name for name in names if torch.device(name).type != CPU.type)


def _named() -> list[str]:
    return [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]


def _not_here(name: str, why: str) -> ModelError:
    return ModelError(
        f'{VARIABLE} = {name!r} is no device that torch finds here ({why}); set it to "cpu", or leave it out'
    )


def release_memory() -> None:
    """Give back the memory of GPUs that torch keeps for later, so that another process can have it."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch
        torch.cuda.empty_cache()


class Resident:
    """A table of counts on a device, as compressed sparse rows; batches are gathered there without waiting for it.

    Parameters
    ----------
    table
        The counts.
    device
        Where they are kept: 8 bytes a nonzero.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> table = CountTable(csr_matrix(np.array([[0, 2, 0], [1, 0, 3]], np.float32)))
    >>> Resident(table, CPU).batch(torch.tensor([1, 1])).counts
    tensor([[1., 0., 3.],
            [1., 0., 3.]])
    """

    def __init__(self, table: CountTable, device: torch.device) -> None:
        packed = table.packed
        self._starts = torch.from_numpy(packed.starts).to(device)
        self._genes = torch.from_numpy(packed.genes.astype(np.int32)).to(device)
        self._counts = torch.from_numpy(packed.counts.astype(np.float32)).to(device)
        # Known beforehand, the longest cell gives batches their shape; to ask the device would be to wait for it.
        longest = int(np.diff(packed.starts).max(initial=0))
        self._places = torch.arange(longest, device=device)
        self._n_genes = packed.n_genes
        self._covariates = [_on_device(rows, device) if rows else None for rows in table.covariates]

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self._starts.device

    def batch(self, cell_B: Tensor) -> DenseBatch:
        """Gather some cells, repeats allowed; `cell_B` is on the device, too."""
        start_B = self._starts[cell_B]
        place_BL = start_B[:, None] + self._places
        is_count_BL = place_BL < self._starts[cell_B + 1][:, None]
        place_BL = place_BL.clamp(max=max(len(self._genes) - 1, 0))
        counts_BG = self._counts.new_zeros((len(cell_B), self._n_genes))
        if len(self._genes):
            gene_BL = self._genes[place_BL].masked_fill(~is_count_BL, 0).long()
            counts_BG.scatter_add_(1, gene_BL, self._counts[place_BL] * is_count_BL)
        unmeasured, covariates = (rows and rows[0][rows[1][cell_B]] for rows in self._covariates)
        return DenseBatch(counts_BG, unmeasured, covariates)

    def batches(self, windows: Iterator[Window], layout: EpochLayout, batch_size: int) -> Generator[DenseBatch]:
        """Yield the batches of some windows; see `TrainingCounts.batches`."""
        left = torch.empty(0, dtype=torch.long, device=self.device)
        for window in windows:
            cells = torch.from_numpy(layout.cell_U[window.places]).to(self.device, non_blocking=True)
            pieces = torch.split(torch.cat([left, cells]), batch_size)
            whole = pieces if window.ends_epoch or len(pieces[-1]) == batch_size else pieces[:-1]
            yield from map(self.batch, whole)
            left = pieces[-1] if len(whole) < len(pieces) else cells[:0]


def _on_device(rows: Rows, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(rows.table_RX).to(device), torch.from_numpy(rows.row_N).to(device)
