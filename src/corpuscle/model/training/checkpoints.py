"""Checkpoints during training: a fit that was killed goes on from its last one and ends with the same bits.

Whoever calls `Model.fit` or `fine_tune` says where checkpoints lie (`checkpoints_in`), so that models need not know;
the loops ask here. A checkpoint holds all that steps change: weights, Adam's moments, the state of the generator of
noise, the curve. What the seed alone decides, such as the order of the cells, is drawn again. Nothing in the file is
executed.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from corpuscle.core.disk import writing
from corpuscle.core.errors import DivergedError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.usage import Meter, Usage
from corpuscle.model.training.optimiser import Adam

_log = logging.getLogger(__name__)

FORMAT = 3
EVERY_SECONDS = 300.0


class _Place:
    """Where checkpoints lie, and what the fit took that they are of: by processes that were killed, and by this one."""

    def __init__(self, folder: Path, every_seconds: float) -> None:
        self.folder, self.every_seconds, self.earlier = folder, every_seconds, Usage()
        self._meter = Meter()

    def spent(self) -> Usage:
        return self._meter.usage().with_earlier(self.earlier)


_place: ContextVar[_Place | None] = ContextVar("place of checkpoints", default=None)


@contextmanager
def checkpoints_in(folder: Path, every_seconds: float = EVERY_SECONDS) -> Iterator[None]:
    """Keep checkpoints of all trainings in the block in a folder, and let them go on from those that are there.

    The folder belongs to one fit: its name should depend on all that the fit's result depends on (settings, versions,
    corpus, seed). The caller removes it when the fit is complete. Trainings in it, of which a fit may have several, are
    distinguished by what they begin with. On the CPU, what was interrupted ends with the same bits as what was not; a
    checkpoint of another kind of device is not used.

    Parameters
    ----------
    folder
        Where; it is made if need be.
    every_seconds
        How long, by the clock, after the last checkpoint (or the beginning) of a training the next is written; with 0,
        after every step.

    Raises
    ------
    FolderError, DiskError
        When the folder cannot be made.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place, checkpoints_in(Path(place) / "3f2a"):
    ...     pass  # model.fit(corpus, seed=0)
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    token = _place.set(_Place(folder, every_seconds))
    try:
        yield
    finally:
        _place.reset(token)


@contextmanager
def checkpoints_until_done(folder: Path) -> Iterator[Callable[[], Usage]]:
    """Keep checkpoints as `checkpoints_in` does, until the block is done: what a fit left that was killed is used.

    Yields
    ------
    What returns what the fit took until then: since the block began, and before the checkpoints that it went on from.
    """
    with checkpoints_in(folder):
        place = _place.get()
        assert place is not None, "it was set"
        try:
            yield place.spent
        except DivergedError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    shutil.rmtree(folder, ignore_errors=True)


class Network(Protocol):
    """What has weights and buffers: a torch module."""

    def state_dict(self) -> dict[str, Any]:
        """Return them."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Set them."""
        ...


class Curve(Protocol):
    """A training curve in the making, and what decides when to stop."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that steps change: tensors, and plain data."""
        ...

    def set_state(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        ...


class Training(NamedTuple):
    """All that a training's steps change."""

    network: Network
    adam: Adam
    noise: torch.Generator
    curve: Curve

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return it as arrays and plain data."""
        of_curve, facts = self.curve.state()
        parts = {
            "network": self.network.state_dict(),
            "adam": self.adam.state(),
            "noise": {"state": self.noise.get_state()},
            "curve": of_curve,
        }
        # Not `ascontiguousarray`, which would give a single number an axis.
        return {
            f"{part}/{name}": np.asarray(tensor.numpy(force=True), order="C")
            for part, tensors in parts.items()
            for name, tensor in tensors.items()
        }, facts

    def set_state(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in ("network", "adam", "noise", "curve")}
        for key, array in arrays.items():
            part, _, name = key.partition("/")
            parts[part][name] = torch.from_numpy(np.array(array))
        self.network.load_state_dict(parts["network"])
        self.adam.set_state(parts["adam"])
        self.noise.set_state(parts["noise"]["state"])
        self.curve.set_state(parts["curve"], facts)


class Checkpoint:
    """The checkpoint of one training; nothing is read or written outside a block of `checkpoints_in`.

    Parameters
    ----------
    training
        The training, before its first step.
    *begins_with
        Plain data and arrays: what its course depends on besides its first weights, such as its schedule, its seed and
        its cells.
    """

    def __init__(self, training: Training, *begins_with: Any) -> None:
        self._training, self._place, self._last = training, _place.get(), time.monotonic()
        if self._place is not None:
            arrays, _ = training.state()
            kind = training.noise.device.type
            self._identity = fingerprint(FORMAT, kind, {name: arrays[name] for name in sorted(arrays)}, *begins_with)
            self._path = self._place.folder / f"{self._identity}.safetensors"

    def resume(self) -> int:
        """Bring the training to where its checkpoint was; return how many steps it has taken: 0 without one.

        A checkpoint that is damaged or of another training is left aside, with a warning in the log.
        """
        if self._place is None or not self._path.exists():
            return 0
        try:
            arrays, facts = self._read()
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            _log.warning("%s cannot be used (%s): the training starts from its beginning", self._path, error)
            return 0
        self._training.set_state(arrays, facts["curve"])
        # Of several trainings of a fit, the last one's checkpoint has what all of them took.
        self._place.earlier = max(self._place.earlier, Usage(**facts["spent"]), key=lambda usage: usage.seconds)
        _log.info("%s: the training goes on after %d steps", self._path, facts["taken"])
        return int(facts["taken"])

    def _read(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        with safe_open(self._path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            text, identity, content = (file.metadata()[key] for key in ("facts", "identity", "content"))
        if identity != self._identity:
            raise ValueError("it is of another training")
        if content != fingerprint(text, arrays):
            raise ValueError("it does not hold what was written")
        return arrays, json.loads(text)

    def keep(self, n_taken: int) -> None:
        """Write a checkpoint after so many steps, if it is time; whole, in place of the one before.

        A disk that refuses it does not end the training: the log has a warning.
        """
        if self._place is None or time.monotonic() - self._last < self._place.every_seconds:
            return
        arrays, facts = self._training.state()
        spent, part = asdict(self._place.spent()), self._path.with_suffix(".part")
        text = json.dumps({"taken": n_taken, "curve": facts, "spent": spent})
        about = {"facts": text, "identity": self._identity, "content": fingerprint(text, arrays)}
        try:
            save_file(arrays, part, metadata=about)
            part.replace(self._path)
        except (OSError, SafetensorError) as error:
            _log.warning("%s cannot be written (%s): the training goes on without it", self._path, error)
        self._last = time.monotonic()
