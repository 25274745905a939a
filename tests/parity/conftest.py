"""The oracle scvi-tools, and real cells."""

import importlib
from collections.abc import Iterator
from importlib.resources import files
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from corpuscle.corpus.corpus import Corpus
from corpuscle.source.genes import GeneSpace
from corpuscle.source.readers.h5ad import H5ad
from scvi_oracle import N_GENES, N_HELD, N_TRAIN, quietly


@pytest.fixture(scope="module")
def scvi() -> Iterator[ModuleType]:
    """The oracle; one thread, set after its import, for the tests that use it."""
    with quietly():
        module = importlib.import_module("scvi")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield module
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pbmc() -> Corpus:
    """The packaged PBMCs, the genes with most counts."""
    reader = H5ad(path=files("corpuscle.source.datasets") / "kang2018.h5ad")
    counts_NG = reader.read_counts(np.arange(N_TRAIN + N_HELD))
    most = np.sort(np.argsort(-np.asarray(counts_NG.sum(0)).ravel(), kind="stable")[:N_GENES])
    column = np.full(counts_NG.shape[1], -1, np.int32)
    column[most] = np.arange(N_GENES)
    ids = tuple(reader.read_genes().index[most].astype(str))
    rows = np.random.default_rng(0).permutation(N_TRAIN + N_HELD)
    cells = pd.DataFrame({"source": "kang2018", "row": rows, "barcode": rows.astype(str), "times": 1})
    return Corpus("kang2018", cells, {"kang2018": reader}, GeneSpace(ids, ids, {"kang2018": column}))
