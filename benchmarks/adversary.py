"""Hiding batches from an embedding: a linear adversary that is solved anew at each step, beside a trained head.

Run ``python benchmarks/adversary.py``; about two minutes. Cells are generated: two types that express one half of 35
genes each, in two batches that differ in five genes more. A small Geneformer is trained on 240 of them for 400 steps,
plainly, against `corpuscle.model.nn.adversary`, and against the published adversary (Ganin et al. 2016, arXiv
1505.07818): a perceptron that is trained along, its gradients reversed, their weight rising over the training. For
each: which share of a cell's 15 nearest neighbours is of its own batch (half would be none the wiser), and how often a
logistic regression finds batch and type of cells that it has not seen.
"""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn
from torch.nn import functional

from corpuscle.corpus.corpus import Corpus
from corpuscle.model.architectures.geneformer import Geneformer
from corpuscle.model.families import foundation
from corpuscle.model.nn.adversary import AdversarialNetwork
from corpuscle.source.genes import GeneSpace
from corpuscle.source.readers.h5ad import H5ad

N_CELLS, N_GENES = 240, 40
SIZE = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 16, "longest": 40}


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, z: Tensor, weight: float) -> Tensor:
        context.weight = weight
        return z.view_as(z)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -context.weight * gradients[0], None


class TrainedHead(AdversarialNetwork):
    """The published adversary, in the place of the linear one."""

    def __init__(self, network: Any, n_batches: int, weight: float) -> None:
        super().__init__(network, n_batches, weight)
        torch.manual_seed(0)
        self.head = nn.Sequential(nn.Linear(16, 16), nn.LeakyReLU(), nn.Linear(16, n_batches))

    def loss(self, batch: Any, noise: torch.Generator, at: Any) -> tuple[Tensor, dict[str, Tensor]]:
        own, label = self._parted(batch)
        loss, terms = self.network.loss(own, noise, at)
        weight = self.weight * (2 / (1 + math.exp(-10 * (at.step + 1) / at.n_steps)) - 1)
        z = functional.layer_norm(_Reversed.apply(self.network.encode(own, noise), weight), (16,))
        error = functional.cross_entropy(self.head(z), label.argmax(1))
        return loss + error, terms | {"batch_share": error.detach() * len(batch)}


def generated(folder: Path) -> Corpus:
    """Write the cells, and open them."""
    rng = np.random.default_rng(0)
    types, batches = rng.integers(2, size=N_CELLS), rng.integers(2, size=N_CELLS)
    rates = np.where((np.arange(N_GENES) < 20) == types[:, None].astype(bool), 3.0, 0.2)
    rates[:, 35:] = np.where(batches[:, None], 2.0, 0.3)
    ids = tuple(f"G{at}" for at in range(N_GENES))
    names = [f"c{at}" for at in range(N_CELLS)]
    counts = csr_matrix(rng.poisson(rates).astype(np.float32))
    data = ad.AnnData(counts, obs=pd.DataFrame(index=names), var=pd.DataFrame(index=list(ids)))
    data.write_h5ad(folder / "cells.h5ad")
    table = {"source": "s", "row": np.arange(N_CELLS), "barcode": names, "times": 1}
    cells = pd.DataFrame(table | {"cell_type": types.astype(str), "batch": batches.astype(str)})
    space = GeneSpace(ids, ids, {"s": np.arange(N_GENES, dtype=np.int32)})
    return Corpus("cells", cells, {"s": H5ad(path=folder / "cells.h5ad")}, space)


def shown(title: str, model: Geneformer, cells: Corpus) -> None:
    """Train a model and print what its embedding shows."""
    z, batch, kind = model.fit(cells, 0).embed(cells), cells.labels("batch"), cells.labels("cell_type")
    nearest = NearestNeighbors(n_neighbors=16).fit(z).kneighbors(z)[1][:, 1:]
    own, half, scaled = (batch[nearest] == batch[:, None]).mean(), N_CELLS // 2, (z - z.mean(0)) / z.std(0)
    found = [
        LogisticRegression(max_iter=2000).fit(scaled[:half], label[:half]).score(scaled[half:], label[half:])
        for label in (batch, kind)
    ]
    print(f"{title:32} own batch {own:.2f}, batch found {found[0]:.2f}, type found {found[1]:.2f}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    settings = {"size": SIZE, "budget": {"steps": 400}, "learning_rate": 3e-3, "batch_size": 32, "layer": 0}
    with TemporaryDirectory() as folder:
        cells = generated(Path(folder))
        shown("plain", Geneformer(**settings), cells)
        for weight in (1.0, 3.0):
            hiding = Geneformer(**settings, adversary={"label": "batch", "weight": weight})
            shown(f"solved anew, weight {weight:g}", hiding, cells)
            linear, foundation.AdversarialNetwork = foundation.AdversarialNetwork, TrainedHead
            shown(f"trained head, weight {weight:g}", hiding, cells)
            foundation.AdversarialNetwork = linear


if __name__ == "__main__":
    main()
