"""Files as they are: variations of one .h5ad as people have them, each read right or refused with one message."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_matrix

import corpuscle
from corpuscle.core.errors import StudyError
from malformed import counts, sound

GENES = [f"G{at}" for at in range(30)]
ENSEMBL = [f"ENSG{at:011d}" for at in range(1, 31)]
TYPES = ["B", "T"] * 6
STUDY = """
name = "door"
seeds = 1
sources.s = {{ path = {path!r}{more} }}
quality = {{ min_genes = 1 }}
corpora = [{{ name = "A", parts = [{{ source = "s", fraction = 1.0 }}] }}]
models = [{{ name = "pca", n_components = 2 }}]
"""


@dataclass(frozen=True)
class Read:
    """What a variation is read as: by default, the cells, genes and labels of the sound file."""

    change: Callable[[ad.AnnData], object]
    more: str = ""
    genes: list[str] = field(default_factory=lambda: GENES)
    counts: Any = None
    cells: list[str] | None = None
    types: list[str] = field(default_factory=lambda: TYPES)
    warns: str = ""
    file: Callable[[h5py.File], object] = lambda _file: None


@dataclass(frozen=True)
class Refused:
    """What a variation is refused with."""

    change: Callable[[ad.AnnData], object]
    says: str
    more: str = ""
    file: Callable[[h5py.File], object] = lambda _file: None


def into(**values: Any) -> Callable[[ad.AnnData], None]:
    """Set attributes."""

    def change(data: ad.AnnData) -> None:
        for name, value in values.items():
            setattr(data, name, value(data) if callable(value) else value)

    return change


def labels(name: str, values: Any) -> Callable[[ad.AnnData], None]:
    """Put a column of labels."""

    def change(data: ad.AnnData) -> None:
        data.obs[name] = values

    return change


def var(name: str, values: Any) -> Callable[[ad.AnnData], None]:
    """Put a column of genes."""

    def change(data: ad.AnnData) -> None:
        data.var[name] = values

    return change


def normalised(data: ad.AnnData) -> csr_matrix:
    """The counts, scaled to equal sums, and their logarithm."""
    dense = data.X.toarray() if hasattr(data.X, "toarray") else data.X
    return csr_matrix(np.log1p(dense / dense.sum(axis=1, keepdims=True) * 1e4).astype(np.float32))


def both(*changes: Callable[[ad.AnnData], object]) -> Callable[[ad.AnnData], None]:
    """Make several changes."""

    def change(data: ad.AnnData) -> None:
        for one in changes:
            one(data)

    return change


def counts_in(place: str, *, keep: bool = False) -> Callable[[ad.AnnData], None]:
    """Have the counts elsewhere, and normalised values in X."""

    def change(data: ad.AnnData) -> None:
        if place == "raw":
            data.raw = data.copy()
        else:
            data.layers[place] = data.X.copy()
        if not keep:
            data.X = normalised(data)

    return change


def fewer_in_x(data: ad.AnnData) -> ad.AnnData:
    """The file of a usual workflow: all genes in raw, the highly variable in X."""
    data.raw = data.copy()
    return data[:, ::2].copy()


def uncategorised(name: str, values: Any) -> Callable[[h5py.File], None]:
    """Put plain strings or numbers in the place of a column."""

    def change(file: h5py.File) -> None:
        del file["obs"][name]
        file["obs"].create_dataset(name, data=values)
        file["obs"][name].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})

    return change


SOME_MISSING = ["B", "T", None, "B", np.nan, "T"] * 2
SAME = counts()
DOORS: dict[str, Read | Refused] = {
    "counts in X, CSR": Read(into()),
    "CSC": Read(into(X=lambda data: csc_matrix(data.X))),
    "dense": Read(into(X=lambda data: data.X.toarray())),
    "Fortran order": Read(into(X=lambda data: np.asfortranarray(data.X.toarray()))),
    "float32": Read(into(X=lambda data: data.X.astype(np.float32))),
    "float64": Read(into(X=lambda data: data.X.astype(np.float64))),
    "uint16": Read(into(X=lambda data: data.X.astype(np.uint16))),
    "counts in a layer": Read(counts_in("counts"), ', counts = "layers/counts"'),
    "counts in a layer that is not named": Refused(
        counts_in("counts"), "say where the raw counts are: counts = .layers/counts."
    ),
    "counts in raw": Read(counts_in("raw"), ', counts = "raw"'),
    "counts in raw that is not named": Refused(counts_in("raw"), "say where the raw counts are: counts = 'raw'"),
    "X and raw normalised": Refused(
        both(into(X=normalised), into(raw=lambda data: data.copy())), "log-normalised.*nor are there any"
    ),
    "a layer whose name is odd": Read(counts_in("raw counts (UMI)"), ', counts = "layers/raw counts (UMI)"'),
    "counts in X and in a layer": Read(counts_in("counts", keep=True)),
    "all genes in raw, some in X": Read(fewer_in_x, ', counts = "raw"'),
    "some genes in X, all in raw": Read(fewer_in_x, genes=GENES[::2], counts=SAME[:, ::2]),
    "rounding error": Refused(into(X=lambda data: data.X * np.float32(1 + 1e-6)), "rounding error.*counts"),
    "estimated counts": Refused(into(X=lambda data: csr_matrix(data.X.toarray() * 1.0 + (data.X.toarray() > 5) * 0.37)),
                                "fractions"),
    "NaN among counts": Refused(
        into(X=lambda data: np.where(np.arange(360).reshape(12, 30) == 7, np.nan, data.X.toarray())), "NaN"
    ),
    "infinite counts": Refused(
        into(X=lambda data: np.where(np.arange(360).reshape(12, 30) == 7, np.inf, data.X.toarray())), "infinite"
    ),
    "negative values": Refused(into(X=lambda data: data.X.toarray() - 1), "negative"),
    "scaled values": Refused(
        into(X=lambda data: (data.X.toarray() - data.X.toarray().mean(0)) / (data.X.toarray().std(0) + 1)), "negative"
    ),
    "explicit zeros": Read(into(X=lambda data: csr_matrix((np.r_[data.X.data], data.X.indices, data.X.indptr)))),
    "duplicate observations": Read(
        into(obs_names=["same"] * 12), cells=["same"] * 12
    ),
    "observations that are numbers": Read(
        into(obs_names=[str(at) for at in range(12)]), cells=[str(at) for at in range(12)]
    ),
    "observations with special characters": Read(
        into(obs_names=[f"AAA{at}-1 ü;\"'<b>" for at in range(12)]), cells=[f"AAA{at}-1 ü;\"'<b>" for at in range(12)]
    ),
    "symbols as index, Ensembl in a column": Read(
        var("gene_ids", ENSEMBL), ', genes = "gene_ids"', genes=ENSEMBL
    ),
    "Ensembl as index, symbols in a column": Read(both(var("feature_name", GENES), into(var_names=ENSEMBL)),
                                                  genes=ENSEMBL),
    "genes that are numbers, symbols in a column": Read(
        both(var("symbol", GENES), into(var_names=[str(at) for at in range(30)]))
    ),
    "genes that are numbers, and no names": Refused(into(var_names=[str(at) for at in range(30)]), "gene"),
    "a column of genes that is not there": Refused(into(), "'ids'", ', genes = "ids"'),
    "versions of Ensembl ids": Read(
        into(var_names=[f"{name}.{at % 9 + 1}" for at, name in enumerate(ENSEMBL)]), genes=ENSEMBL
    ),
    "labels as categories": Read(labels("cell_type", pd.Categorical(TYPES, categories=["T", "B", "never"]))),
    "labels as plain text": Read(into(), file=uncategorised("cell_type", np.array(TYPES, dtype=h5py.string_dtype()))),
    "labels that are numbers": Read(labels("cell_type", [1, 2] * 6), types=["1", "2"] * 6),
    "labels that are truth values": Read(labels("cell_type", [True, False] * 6), types=["True", "False"] * 6),
    "labels with blanks, dots and slashes": Read(
        labels("cell_type", ["CD14+ Mono/DC", " T. reg ", "a b"] * 4), types=["CD14+ Mono/DC", " T. reg ", "a b"] * 4
    ),
    "missing labels": Read(labels("cell_type", SOME_MISSING), types=["B", "T", "", "B", "", "T"] * 2),
    "labels under another name": Read(
        lambda data: data.obs.rename(columns={"cell_type": "louvain"}, inplace=True), ', cell_type = "louvain"'
    ),
    "labels under a name that is not there": Refused(into(), "'louvain'", ', cell_type = "louvain"'),
    "no labels": Read(lambda data: data.obs.drop(columns=["cell_type"], inplace=True), types=[""] * 12),
    "conflicting columns of labels": Read(labels("celltype", ["x"] * 12)),
    "a column with a slash in its name": Read(labels("n_counts", np.arange(12))),
    "no columns at all": Read(lambda data: data.obs.drop(columns=[*data.obs], inplace=True), types=[""] * 12),
    "transposed": Refused(lambda data: both(into(var_names=ENSEMBL))(data) or data.T.copy(), "transpose"),
    "a cell without counts": Read(
        into(X=lambda data: csr_matrix(np.r_[np.zeros((1, 30), np.int32), data.X.toarray()[1:]])),
        counts=SAME[1:], cells=[f"cell{at}" for at in range(1, 12)], types=TYPES[1:],
    ),
    "a gene twice": Read(
        into(var_names=["G0", "G0", *GENES[2:]]), genes=["G0", *GENES[2:]],
        counts=np.c_[SAME[:, :1] + SAME[:, 1:2], SAME[:, 2:]],
    ),
}  # fmt: skip


def opened(folder: Path, case: Read | Refused) -> corpuscle.Plan:
    data = sound()
    data.uns["colours"], data.obsm["X_pca"] = ["#ff0000"], np.zeros((12, 2))
    changed = case.change(data)
    data = changed if isinstance(changed, ad.AnnData) else data
    data.write_h5ad(folder / "data.h5ad")
    with h5py.File(folder / "data.h5ad", "r+") as file:
        case.file(file)
    return corpuscle.prepare(corpuscle.Study.parse(STUDY.format(path=str(folder / "data.h5ad"), more=case.more)))


@pytest.mark.filterwarnings("ignore:Observation names are not unique", "ignore:Variable names are not unique")
@pytest.mark.parametrize("name", [name for name, case in DOORS.items() if isinstance(case, Read)])
def test_it_is_read_right(name: str, tmp_path: Path) -> None:
    case = DOORS[name]
    assert isinstance(case, Read)
    corpus = opened(tmp_path, case).corpora["A", 0]
    found = pd.DataFrame(corpus.counts().toarray(), columns=list(corpus.space.ids))
    expected = SAME if case.counts is None else case.counts
    assert sorted(found.columns) == sorted(case.genes)
    np.testing.assert_array_equal(found[case.genes].to_numpy(), expected)
    assert corpus.cells["barcode"].tolist() == (case.cells or [f"cell{at}" for at in range(12)])
    assert corpus.labels("cell_type").tolist() == case.types


@pytest.mark.filterwarnings("ignore:Observation names are not unique", "ignore:Variable names are not unique")
@pytest.mark.parametrize("name", [name for name, case in DOORS.items() if isinstance(case, Refused)])
def test_it_is_refused_with_one_message(name: str, tmp_path: Path) -> None:
    case = DOORS[name]
    assert isinstance(case, Refused)
    with pytest.raises(StudyError, match=case.says) as refusal:
        opened(tmp_path, case)
    assert len(refusal.value.problems) == 1
    assert len(str(refusal.value)) < 1000


def test_there_are_as_many_as_promised() -> None:
    assert len(DOORS) >= 40
