"""What the parity tests with scvi-tools share: its quiet use, its data, and its weights in our networks."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anndata
import pandas as pd
import torch

from corpuscle.corpus.corpus import Corpus

N_GENES, N_TRAIN, N_HELD = 1000, 3000, 400
QUIET = {"enable_progress_bar": False, "logger": False, "enable_model_summary": False, "enable_checkpointing": False}


@contextmanager
def quietly() -> Iterator[None]:
    """scvi-tools, Lightning and what they import warn and log; the strictness of our tests is for our code."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "scvi")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def as_anndata(corpus: Corpus) -> anndata.AnnData:
    var = pd.DataFrame(index=list(corpus.space.ids))
    return anndata.AnnData(corpus.counts(), obs=pd.DataFrame(index=corpus.cells["barcode"].to_list()), var=var)


def settle(model: Any) -> None:
    """Train for five epochs with a batch-norm that adapts at once: else evaluation compares only extreme numbers."""
    norms = [layer for layer in model.module.modules() if isinstance(layer, torch.nn.BatchNorm1d)]
    for norm in norms:
        norm.momentum = 0.5
    model.train(max_epochs=5, accelerator="cpu", train_size=1.0, plan_kwargs={"lr": 5e-3}, **QUIET)
    for norm in norms:
        norm.momentum = 0.01
    model.module.zero_grad()


def copy(target: torch.Tensor, *sources: torch.Tensor) -> None:
    """Write weights of theirs, one after the other, into a tensor of ours."""
    target.data.copy_(torch.cat(sources))


def copy_norm(target: Any, *sources: Any) -> None:
    """Write their batch-norms into one of ours."""
    names = {"scale": "weight", "shift": "bias", "running_mean": "running_mean", "running_variance": "running_var"}
    for own, name in names.items():
        copy(getattr(target, own), *(getattr(source, name) for source in sources))


def copy_encoder(target: Any, *encoders: Any) -> None:
    """Write the encoder of z, and perhaps that of the library size, into ours."""
    firsts = [encoder.encoder.fc_layers[0] for encoder in encoders]
    copy(target.first.weight.T, *(layer[0].weight for layer in firsts))
    copy(target.first.bias, *(layer[0].bias for layer in firsts))
    copy_norm(target.first_norm, *(layer[1] for layer in firsts))
    for layer, norm, theirs in zip(target.deeper, target.deeper_norms, encoders[0].encoder.fc_layers[1:], strict=True):
        layer.load_state_dict(theirs[0].state_dict())
        copy_norm(norm, theirs[1])
    for head, encoder in zip((target.z_head, target.library_head), encoders, strict=False):
        for name in ("weight", "bias"):
            copy(getattr(head, name), getattr(encoder.mean_encoder, name), getattr(encoder.var_encoder, name))
