"""What a fit is fed: its batches and its held-out cells, in the form that its device works on."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
import torch

from corpuscle.core.errors import ModelError
from corpuscle.core.randomness import generator
from corpuscle.model import kernels
from corpuscle.model.data.batches import Batch, CountTable, TrainingCounts
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.data.epoch_order import after_steps, hold_out
from corpuscle.model.data.on_gpu import Resident
from corpuscle.model.training.budget import Schedule

# Each point of a curve is from at most this many held-out cells, so that it stays cheap.
VALIDATION_CELLS = 2048


class Supply:
    """One fit's split of a corpus, and the order of its cells; both by its seed.

    Parameters
    ----------
    table
        The counts.
    schedule
        How many cells a batch has, and how many are held out.
    seed
        The fit's seed.
    device
        Where batches are needed. On the CPU they are sparse, where there are kernels for such; elsewhere dense, and
        gathered from counts that stay there, unless the corpus is on disk.
    sparse
        Whether they stay as they are, sparse and on the host, for a network that writes cells as tokens.

    Raises
    ------
    ModelError
        When none can be held out where the budget has patience.
    """

    def __init__(
        self, table: TrainingCounts, schedule: Schedule, seed: int, device: torch.device, *, sparse: bool = False
    ) -> None:
        self.table, self._schedule, self._seed, self._device = table, schedule, seed, device
        self._sparse = sparse or (device.type == "cpu" and kernels.available())
        self._held = hold_out(table.times_N, schedule.n_validation, generator(seed, "model", "split"))
        if schedule.budget.patience is not None and not len(self._held):
            raise ModelError(
                f"a budget with patience needs held-out cells; of {schedule.n_cells} cells none could be held"
            )
        self.held = table.take(np.sort(self._held[:VALIDATION_CELLS]))

    @contextmanager
    def batches(self, n_taken: int = 0) -> Iterator[Iterator[Batch | DenseBatch]]:
        """Give the batches to train on, for ever, from that which follows so many steps."""
        n_train, batch_size = self._schedule.n_train, self._schedule.batch_size
        layout = self.table.layout
        windows = layout.windows(self._held, n_train, generator(self._seed, "model", "order"))
        if n_taken:
            windows = after_steps(windows, n_taken, self._schedule.steps_per_epoch, batch_size)
        if not self._sparse and self._device.type != "cpu" and isinstance(self.table, CountTable):
            yield Resident(self.table, self._device).batches(windows, layout, batch_size)
            return
        with closing(self.table.batches(windows, batch_size)) as batches:
            yield map(self._prepared, batches)

    def held_batches(self) -> Iterator[Batch | DenseBatch]:
        """Yield the held-out cells."""
        for start in range(0, len(self.held), self._schedule.batch_size):
            yield self._prepared(self.held.batch(slice(start, start + self._schedule.batch_size)))

    def _prepared(self, batch: Batch) -> Batch | DenseBatch:
        return batch if self._sparse else batch.dense(self._device)
