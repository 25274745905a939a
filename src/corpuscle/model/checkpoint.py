"""How fitted models lie on disk: numbers as safetensors, settings as JSON, the curve as parquet; nothing executes."""

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from corpuscle.core.errors import ModelError
from corpuscle.core.fingerprint import hash_file
from corpuscle.model.model import FittedModel, Model

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1
SETTINGS, WEIGHTS, HISTORY = "model.json", "weights.safetensors", "history.parquet"


# What a fitted model gives to be written: the `arrays` and the `facts` of `Saved`.
Parts = tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]


class Saved(NamedTuple):
    """A fitted model as it lies on disk.

    Attributes
    ----------
    settings
        The parameters of its `Model`.
    genes
        Ids of its genes.
    arrays
        Its numbers.
    history
        Its training curve.
    facts
        What else there is to know, plain data.
    """

    settings: Mapping[str, Any]
    genes: tuple[str, ...]
    arrays: Mapping[str, NDArray[Any]]
    history: pd.DataFrame
    facts: Mapping[str, Any]


def state_of(network: "nn.Module") -> dict[str, NDArray[Any]]:
    """Return a network's weights as arrays."""
    return {name: tensor.numpy(force=True) for name, tensor in network.state_dict().items()}


def set_state(network: "nn.Module", arrays: Mapping[str, NDArray[Any]]) -> None:
    """Give a network the weights that it was saved with; leaves it in evaluation mode."""
    import torch

    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    network.eval()


def save(folder: Path, saved: Saved) -> None:
    """Write a fitted model into an existing folder."""
    save_file({name: np.ascontiguousarray(array) for name, array in saved.arrays.items()}, folder / WEIGHTS)
    saved.history.to_parquet(folder / HISTORY)
    table = {
        "format": FORMAT,
        "weights": hash_file(folder / WEIGHTS),
        "settings": saved.settings,
        "genes": list(saved.genes),
        "facts": saved.facts,
    }
    (folder / SETTINGS).write_text(json.dumps(table, allow_nan=False), encoding="utf-8")


@contextmanager
def reading_checkpoint(folder: Path, name: str) -> Iterator[Saved]:
    """Give what `save` wrote; whatever fails in the block because of what is in the folder is one clear error.

    Parameters
    ----------
    folder
        The folder.
    name
        The model's name, for the error.

    Raises
    ------
    ModelError
        When a file is missing, damaged or not what it should be.
    """
    try:
        table = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        if table["format"] != FORMAT or table["weights"] != hash_file(folder / WEIGHTS):
            raise ModelError(f"{folder}: the weights are not those that {SETTINGS} was written with; fit it again")
        arrays, history = load_file(folder / WEIGHTS), pd.read_parquet(folder / HISTORY)
        yield Saved(table["settings"], tuple(table["genes"]), arrays, history, table["facts"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: no fitted {name} can be read here; fit it again ({error})") from error


class SavedModel(FittedModel):
    """A fitted model that is written as `Saved` has it.

    Attributes
    ----------
    settings
        The `LoadsSaved` that it was fitted with.
    """

    settings: Any

    @abstractmethod
    def parts(self) -> Parts:
        """Return its numbers, and what else there is to know, all that `LoadsSaved.restored` needs."""

    @final
    def save(self, folder: Path) -> None:
        """Write weights, settings, genes and curve into an existing folder."""
        settings = {key: value for key, value in self.settings.spec().items() if key != "name"}
        arrays, facts = self.parts()
        save(folder, Saved(settings, self.genes, arrays, self.history, facts))


class LoadsSaved(Model):
    """A model whose fitted ones are a `SavedModel`."""

    @abstractmethod
    def restored(self, saved: Saved) -> SavedModel:
        """Return the fitted model that was written; it was fitted with the settings of this model."""

    @final
    def load_fitted(self, folder: Path) -> SavedModel:
        """Load what `SavedModel.save` wrote; the settings are the folder's.

        Raises
        ------
        ModelError
            When a file is missing, damaged or not what it should be.
        """
        with reading_checkpoint(folder, self.name) as saved:
            return type(self)(**saved.settings).restored(saved)
