"""Fine-tuning: teach a fitted model cell types, with its weights frozen or all of them moving.

Axes in names: N cells, B cells of a batch, K latents, C labels.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from corpuscle.core.components import component
from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import BLOCK_CELLS, Corpus
from corpuscle.model.checkpoint import Saved, reading_checkpoint, save, set_state, state_of
from corpuscle.model.data.batches import Batch, CountTable, Rows, stream
from corpuscle.model.data.on_gpu import CPU, training_device
from corpuscle.model.families.log_expression import check_genes
from corpuscle.model.labels import Labelled, labelled
from corpuscle.model.model import FittedModel, Progress, silent
from corpuscle.model.nn.layers import Linear
from corpuscle.model.nn.perceptron import Perceptron
from corpuscle.model.size import MOST_LAYERS
from corpuscle.model.threads import one_thread
from corpuscle.model.training.loop import named_noise
from corpuscle.model.training.supervised import Codes, LabelTraining, train_labels

Weights = Literal["frozen", "whole", "last"]
# How many cells a spread is found of; and the least, over the root of an embedding's mean square: TranscriptFormer's
# tiny network has 0.003, and when that was scaled to 1, all cells got one answer at a learning rate of 1e-3.
SPREAD_CELLS, LEAST_SPREAD = 1000, 0.02


class TrainableEncoder(NamedTuple):
    """A network to go on training.

    Attributes
    ----------
    module
        Its weights, a copy of the fitted model's.
    encode
        Of a batch, and of a generator for dropout (None: none), what `FittedModel.embed` gives, shape (B, K); it can
        be differentiated.
    n_latent
        K.
    covariates
        Of cells, what its batches hold of them in addition to their counts; None: nothing.
    blocks
        Its blocks from first to last, what follows the last being part of it; none where it has no such.
    uses_gpu
        Whether it is trained on `training_device`, batches staying on the host.
    """

    module: nn.Module
    encode: Callable[[Batch, torch.Generator | None], Tensor]
    n_latent: int
    covariates: Callable[[Corpus], Rows | None] = lambda cells: None
    blocks: Sequence[nn.Module] = ()
    uses_gpu: bool = False


@runtime_checkable
class FineTunes(Protocol):
    """A fitted model whose whole network can be trained on."""

    def encoder(self) -> TrainableEncoder:
        """Return a copy of what embeds cells; the fitted model stays as it is."""
        ...


@component
class FineTuning(LabelTraining):
    """How a fitted model is taught labels: as `LabelTraining` says, and which weights learn.

    Parameters
    ----------
    weights
        ``"frozen"``: only the perceptron on top of the embedding learns. ``"whole"``: so does the model, which must be
        a `FineTunes`; the perceptron is given the embedding at the scale of its spread. ``"last"``: of the model, the
        last `n_blocks` blocks learn.
    n_blocks
        See `weights`.

    Examples
    --------
    >>> FineTuning(weights="whole", learning_rate=9e-4, remedy="class_weights", budget={"steps": 500}).n_hidden
    128
    """

    weights: Weights = "frozen"
    n_blocks: Annotated[int, Field(gt=0, le=MOST_LAYERS)] = 1


class FineTuned:
    """A model that was taught labels; it annotates (`Annotates`).

    Attributes
    ----------
    labels
        The labels that it can say, sorted, length C.
    history
        The training curve, ``cross_entropy_train`` and ``cross_entropy_validation``.
    n_unlabelled
        How many cells had no label and were left out.
    n_parameters
        How many numbers learned: those of the perceptron and, where the whole network was taught, of the encoder.
    """

    def __init__(self, learner: "_Learner", labels: tuple[str, ...], n_unlabelled: int, history: pd.DataFrame) -> None:
        self.labels, self.n_unlabelled, self.history = labels, n_unlabelled, history
        self.n_parameters = sum(weight.numel() for weight in learner.network.parameters() if weight.requires_grad)
        self._learner = learner

    @torch.no_grad()
    def label_probabilities(self, cells: Corpus) -> NDArray[np.float32]:
        """Return the probability of each label, shape (N, C)."""
        z_NK = torch.from_numpy(self._learner.embed(cells))
        found: NDArray[np.float32] = self._learner.head(z_NK).softmax(1).numpy()
        return found

    def save(self, folder: Path) -> None:
        """Write what was learned into an existing folder; `open_fine_tuned` reads it."""
        facts = {
            "labels": [*self.labels],
            "n_unlabelled": self.n_unlabelled,
            "n_latent": self._learner.n_latent,
        }
        save(folder, Saved({}, (), state_of(self._learner.network), self.history, facts))


def open_fine_tuned(folder: Path, fitted: FittedModel, settings: FineTuning) -> FineTuned:
    """Return what `FineTuned.save` wrote.

    Parameters
    ----------
    folder
        Where it was written.
    fitted, settings
        The model that was taught, and how.

    Raises
    ------
    ModelError
        When a file is missing, damaged or not what it should be.
    """
    with reading_checkpoint(folder, "fine-tuned model") as saved:
        labels = tuple(saved.facts["labels"])
        learner = _learner(fitted, settings, len(labels), saved.facts["n_latent"], seed=0)
        set_state(learner.network, saved.arrays)
        return FineTuned(learner, labels, saved.facts["n_unlabelled"], saved.history)


class _Spread(nn.Module):
    """A layer of what is given to it less a centre and over a scale, both of which stay.

    An embedding may lie far from 0 for how little its cells differ (scGPT's has length 1): at a learning rate that its
    network bears, a layer of the embedding itself would see next to nothing of a cell for hundreds of steps.

    Parameters
    ----------
    layer
        The layer.
    n_latent
        K.
    """

    def __init__(self, layer: nn.Module, n_latent: int) -> None:
        super().__init__()
        self.layer = layer
        self.centre: Tensor
        self.scale: Tensor
        self.register_buffer("centre", torch.zeros(n_latent))
        self.register_buffer("scale", torch.ones(n_latent))

    def find(self, z_MK: Tensor) -> None:
        """Take the centre and the scale of some cells: each number's mean, and its deviation or `LEAST_SPREAD`."""
        deviation_K = z_MK.std(0, correction=0)
        # A step moves a number by a share of its size: over next to no deviation, it would throw all cells far off.
        least = LEAST_SPREAD * float(z_MK.square().mean().sqrt()) or 1.0
        self.centre.copy_(z_MK.mean(0))
        self.scale.copy_(deviation_K.clamp(min=least))

    def forward(self, z_BK: Tensor) -> Tensor:
        """Return the layer's output, shape (B, …)."""
        out: Tensor = self.layer((z_BK - self.centre) / self.scale)
        return out


class _Learner(NamedTuple):
    """What learns (`network`), the perceptron in it, and how cells are embedded for that, to K latents."""

    network: nn.Module
    head: Perceptron
    embed: Callable[[Corpus], NDArray[np.float32]]
    n_latent: int
    covariates: Callable[[Corpus], Rows | None] = lambda cells: None
    uses_gpu: bool = False


def _learner(fitted: FittedModel, settings: FineTuning, n_labels: int, n_latent: int, seed: int) -> _Learner:
    """Return what learns so many labels, with new weights in the perceptron; of the whole network, a copy."""
    if settings.weights == "frozen":
        head = _head(n_latent, n_labels, settings, seed)
        return _Learner(head, head, fitted.embed, n_latent)
    assert isinstance(fitted, FineTunes), "others were refused"
    encoder = fitted.encoder()
    if settings.weights == "last":
        _freeze_all_but_last(encoder, settings.n_blocks, type(fitted).__name__)
    head = _head(encoder.n_latent, n_labels, settings, seed)

    @torch.no_grad()
    def embed(cells: Corpus) -> NDArray[np.float32]:
        check_genes(cells, fitted.genes)
        embedded_NK = np.empty((len(cells), encoder.n_latent), np.float32)
        for rows, batch in stream(cells, BLOCK_CELLS, encoder.covariates(cells)):
            embedded_NK[rows] = encoder.encode(batch, None).float().cpu().numpy()
        return embedded_NK

    return _Learner(_Network(encoder, head), head, embed, encoder.n_latent, encoder.covariates, encoder.uses_gpu)


def _freeze_all_but_last(encoder: TrainableEncoder, n_blocks: int, name: str) -> None:
    """Let only the last blocks of an encoder learn."""
    if len(encoder.blocks) < n_blocks:
        raise ModelError(
            f"{name} has {len(encoder.blocks)} blocks of which the last could learn, not {n_blocks}; fine-tune it with "
            'weights = "whole", or fewer n_blocks'
        )
    encoder.module.requires_grad_(requires_grad=False)
    for block in encoder.blocks[-n_blocks:]:
        block.requires_grad_(requires_grad=True)


class _Network(nn.Module):
    """An encoder and the perceptron on top of it."""

    def __init__(self, encoder: TrainableEncoder, head: Perceptron) -> None:
        super().__init__()
        self.module, self.head, self._encode = encoder.module, head, encoder.encode

    def forward(self, batch: Batch, noise: torch.Generator | None) -> Tensor:
        logit_BC: Tensor = self.head(self._encode(batch, noise), noise)
        return logit_BC


@one_thread()
def fine_tune(  # noqa: PLR0917
    fitted: FittedModel,
    cells: Corpus,
    label_N: NDArray[np.str_],
    settings: FineTuning,
    seed: int,
    progress: Progress = silent,
) -> FineTuned:
    """Teach a fitted model the labels of some cells, on one thread; the model itself stays as it is.

    The perceptron has one hidden layer with ReLU and dropout. With frozen weights it learns from the cells'
    embedding as it is, as published, which is made once; a model that embeds cells together, such as `Harmony`, embeds
    these by themselves. Where the network learns, the cells' counts are held in memory, and the perceptron is given
    each number of the embedding less its mean and over its deviation, as these were before the first step.

    Parameters
    ----------
    fitted
        The model.
    cells, label_N
        N cells and their labels; ``""`` for none.
    settings
        How it is taught.
    seed
        Where all random numbers come from.
    progress
        Called now and then with which share is done.

    Raises
    ------
    ModelError
        When there are not two labels, too few cells, or the model has no network that can be trained on.
    DivergedError
        When the loss is no longer a finite number.
    """
    known = labelled(cells, label_N)
    codes = Codes(known.code_N, known.times_N)
    embedded_NK = _embedded(fitted, known, settings)
    n_latent = 0 if embedded_NK is None else embedded_NK.shape[1]
    learner = _learner(fitted, settings, len(known.labels), n_latent, seed)
    if embedded_NK is None:
        batch: Callable[[NDArray[np.int64]], Any] = CountTable.of(known.cells, learner.covariates(known.cells)).batch
    else:
        batch = embedded_NK.__getitem__
    # Batches stay on the host: a network that is on a GPU moves what it is given.
    learner.network.to(training_device() if learner.uses_gpu else CPU)
    if isinstance(learner.head.first, _Spread):
        some = np.linspace(0, len(known.cells) - 1, min(len(known.cells), SPREAD_CELLS)).astype(np.int64)
        learner.head.first.find(torch.from_numpy(learner.embed(known.cells.take(some))))
    history = train_labels(learner.network, batch, codes, settings, seed=seed, progress=progress)
    learner.network.to(CPU)
    return FineTuned(learner, known.labels, known.n_unlabelled, history)


def _embedded(fitted: FittedModel, known: Labelled, settings: FineTuning) -> Tensor | None:
    """Return the embedding that is learned from, shape (N, K); None where the whole network learns, from counts."""
    if settings.weights == "frozen":
        return torch.from_numpy(fitted.embed(known.cells))
    if not isinstance(fitted, FineTunes):
        raise ModelError(
            f'{type(fitted).__name__} has no network that can be trained on; fine-tune it with weights = "frozen"'
        )
    check_genes(known.cells, fitted.genes)
    return None


def _head(n_latent: int, n_labels: int, settings: FineTuning, seed: int) -> Perceptron:
    init = named_noise(seed, "head")
    first: nn.Module = Linear(n_latent, settings.n_hidden, init)
    if settings.weights != "frozen":
        first = _Spread(first, n_latent)
    return Perceptron(
        first,
        settings.n_hidden,
        n_labels,
        dropout=settings.dropout,
        cosine=settings.remedy == "ldam",
        init=init,
    )
