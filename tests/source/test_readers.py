"""Every format gives the same cells: any of them, in any order, from the chunks that hold them."""

import gzip
import os
import pickle

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from corpuscle.core.errors import SourceError
from corpuscle.source.readers.census import _hosted_census
from corpuscle.source.readers.h5ad import H5ad
from corpuscle.source.readers.zarr import Zarr
from corpuscle.source.source import open_source
from corpuscle.source.storage import anndata_layout, ranges, row_cache
from stores import STORES, write_census

ROWS = {
    "all": np.arange(40),
    "some, with gaps": np.array([0, 1, 2, 25, 39]),
    "in any order, repeated": np.array([7, 3, 3, 39, 0, 20]),
    "none": np.array([], np.int64),
}


@pytest.fixture
def counts(counts_of):
    found = counts_of(40)
    found[7], found[:, 3], found[:, -1] = 0, 0, 0  # an empty cell, empty genes
    return found


def test_every_format_gives_the_same_cells(store, counts):
    path = store(counts)
    source = open_source("blood", path)
    assert source.cells["barcode"].tolist() == [f"cell{at}" for at in range(40)]
    assert source.genes.index.tolist() == [f"G{at}" for at in range(30)]
    for rows in ROWS.values():
        found = source.reader.read_counts(rows)
        assert found.format == "csr"
        np.testing.assert_array_equal(found.toarray(), counts[rows])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source.reader)).read_counts(rows).toarray(), counts[rows])


def test_every_format_knows_its_content(store, counts, tmp_path):
    path = store(counts)
    one = open_source("blood", path)
    assert one.content == open_source("blood", path).content
    assert one.reader.stamp() == open_source("blood", path).reader.stamp()


@pytest.mark.parametrize("name", [name for name in STORES if "10x" not in name])
def test_a_where_offers_the_same_cells_in_every_format(tmp_path, annotated, counts, name):
    sizes = {"size": np.arange(40), "part": pd.Categorical([("x", None, "y")[at % 3] for at in range(40)])}
    path = STORES[name](tmp_path, annotated(counts, obs=sizes))
    source = open_source(
        "blood",
        path,
        where="kind == 'T' and size >= 5 and not part == 'x' and barcode != 'cell7'",
        roles={"kind": "cell_type"},
    )
    expected = [at for at in range(5, 40) if at % 2 and at % 3 and at != 7]
    assert source.cells["row"].tolist() == expected
    assert source.cells["barcode"].tolist() == [f"cell{at}" for at in expected]
    with pytest.raises(SourceError, match="matches none of 40 cells; cell_type holds 'B', 'T'"):
        open_source("blood", path, where="cell_type == 'Mono'")


def test_a_file_that_may_not_be_read_is_told(write, monkeypatch):
    def refuse(_path):
        raise PermissionError(13, "Permission denied", "data.h5ad")

    path = write()
    monkeypatch.setattr("corpuscle.source.storage.file_hash.hash_file", refuse)
    with pytest.raises(SourceError, match=r"cannot be read: .*Permission denied: 'data\.h5ad'"):
        open_source("blood", path)


# --- chunks ---------------------------------------------------------------------------------------------------------


class _Counted:
    """An array that notes what is read of it."""

    def __init__(self, values, chunk):
        self.values, self.chunks, self.dtype, self.shape = values, (chunk,), values.dtype, values.shape
        self.read = []

    def __getitem__(self, key):
        self.read.append((key.start or 0, key.stop))
        return self.values[key]


@pytest.fixture
def counted(counts_of):
    whole = csr_matrix(counts_of(400))
    arrays = {name: _Counted(getattr(whole, name), 32) for name in ("data", "indices", "indptr")}
    return whole, arrays


def test_chunks_without_a_cell_are_not_read_and_others_once(counted, monkeypatch):
    monkeypatch.setattr(ranges, "GAP", 0)
    whole, arrays = counted
    rows = np.array([3, 4, 60, 61, 200, 399])
    found = anndata_layout.read_csr(arrays, rows[::-1], 30)
    np.testing.assert_array_equal(found.toarray(), whole[rows[::-1]].toarray())
    stretches = arrays["data"].read
    assert len(stretches) == 4
    assert stretches == sorted(stretches)
    assert sum(stop - start for start, stop in stretches) <= whole[rows].nnz + 4 * 32
    chunks = [chunk for start, stop in stretches for chunk in range(start // 32, -(-stop // 32))]
    assert len(chunks) == len(set(chunks))


def test_near_chunks_are_read_in_one_go_and_far_ones_are_not(counted, monkeypatch):
    whole, arrays = counted
    per_cell = whole.nnz / 400
    for gap, reads in ((0, 2), (50 * per_cell, 1)):
        monkeypatch.setattr(ranges, "GAP", gap)
        arrays["data"].read.clear()
        anndata_layout.read_csr(arrays, np.array([10, 40]), 30)
        assert len(arrays["data"].read) == reads


def test_a_read_is_bounded_however_many_cells_are_asked_for(counted, monkeypatch):
    monkeypatch.setattr(ranges, "SPAN", 1000)
    whole, arrays = counted
    np.testing.assert_array_equal(anndata_layout.read_csr(arrays, np.arange(400), 30).toarray(), whole.toarray())
    sizes = [stop - start for start, stop in arrays["data"].read]
    assert max(sizes) < 1000 + 64
    assert len(sizes) >= whole.nnz // 1000


# --- copies laid out by cell ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["h5ad, CSC", "zarr 3, CSC", "10x mtx"])
def test_counts_that_are_not_stored_by_cell_are_laid_out_once(tmp_path, annotated, counts, form, monkeypatch):
    monkeypatch.setattr(anndata_layout, "CSC_BLOCK", 50)
    monkeypatch.setattr(row_cache, "BUCKET", 100)
    monkeypatch.setattr("corpuscle.source.readers.tenx_mtx.LINES", 70)
    source = open_source("blood", STORES[form](tmp_path, annotated(counts)))
    rows = np.array([7, 3, 39, 3])
    np.testing.assert_array_equal(source.reader.read_counts(rows).toarray(), counts[rows])
    folder = row_cache.scratch_path("x").parent
    (copy,) = folder.iterdir()
    monkeypatch.setattr(row_cache, "write_by_cell", None)
    np.testing.assert_array_equal(source.reader.read_counts(np.arange(40)).toarray(), counts)
    assert [copy] == list(folder.iterdir())


def test_a_copy_that_does_not_fit_on_the_disk_says_what_to_do(tmp_path, annotated, counts, monkeypatch):
    source = open_source("blood", STORES["10x mtx"](tmp_path, annotated(counts)))

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(row_cache, "_write_sorted", full)
    with pytest.raises(SourceError, match=r"cannot hold a copy of the counts.*No space left.*set TMPDIR"):
        source.reader.read_counts(np.arange(3))
    assert not list(row_cache.scratch_path("x").parent.iterdir())


def test_old_copies_are_removed(tmp_path):
    old, new = row_cache.scratch_path("old"), row_cache.scratch_path("new")
    old.touch()
    os.utime(old, (0, 0))
    blocks = [row_cache.Triples(np.array([1]), np.array([0]), np.array([5]))]
    whole = row_cache.Counts((2, 1), 1, np.dtype(np.int64), lambda: blocks)
    assert anndata_layout.read_copy("new", np.array([0, 1]), whole).toarray().tolist() == [[0], [5]]
    assert new.exists()
    assert not old.exists()


def test_a_copy_that_another_process_removes_is_made_again(tmp_path, annotated, counts, monkeypatch):
    source, real, made = (
        open_source("blood", STORES["10x mtx"](tmp_path, annotated(counts))),
        row_cache.write_by_cell,
        [],
    )

    def write_and_lose(path, whole):
        real(path, whole)
        made.append(path)
        if len(made) == 1:
            path.unlink()

    monkeypatch.setattr(row_cache, "write_by_cell", write_and_lose)
    np.testing.assert_array_equal(source.reader.read_counts(np.arange(3)).toarray(), counts[:3])
    assert len(made) == 2


def test_a_folder_of_many_files_is_not_looked_at_to_read_what_lies_by_cell(tmp_path, annotated, counts, monkeypatch):
    reader = Zarr(path=STORES["zarr 3"](tmp_path, annotated(counts)))
    monkeypatch.setattr(Zarr, "stamp", None)
    np.testing.assert_array_equal(reader.read_counts(np.arange(40)).toarray(), counts)


# --- collections ----------------------------------------------------------------------------------------------------


def test_files_become_one_source_by_folder_pattern_or_list(write, tmp_path, counts_of):
    paths = [write(name, 4, seed=at, obs={name: [at] * 4}) for at, name in enumerate("ab")]
    for given in (tmp_path, tmp_path / "*.h5ad", paths):
        source = open_source("atlas", given)
        assert source.cells["file"].tolist() == ["a.h5ad"] * 4 + ["b.h5ad"] * 4
        assert source.cells["row"].tolist() == list(range(8))
        assert isinstance(source.cells["cell_type"].dtype, pd.CategoricalDtype)
        assert source.cells["b"].isna().tolist() == [True] * 4 + [False] * 4
        rows = np.array([7, 0, 4, 7])
        expected = np.vstack([counts_of(4), counts_of(4, seed=1)])[rows]
        np.testing.assert_array_equal(source.reader.read_counts(rows).toarray(), expected)


def test_a_collection_may_be_of_folders_that_are_told_apart(tmp_path, annotated, counts):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        STORES["10x mtx"](tmp_path / name, annotated(counts))
    source = open_source("atlas", tmp_path / "*" / "filtered")
    assert source.cells["file"].unique().tolist() == ["one/filtered", "two/filtered"]
    np.testing.assert_array_equal(source.reader.read_counts(np.arange(80)).toarray(), np.vstack([counts, counts]))


def test_files_with_other_genes_are_refused_with_the_way_out(write, tmp_path):
    write("a", 4)
    write("b", 4, genes=[f"G{at}" for at in range(1, 31)])
    message = r"b\.h5ad lacks 1 \(G0\) of a\.h5ad's and has 1 \(G30\) of its own; make a source of each"
    with pytest.raises(SourceError, match=message):
        open_source("atlas", tmp_path)


def test_a_file_that_is_listed_twice_is_refused(write):
    with pytest.raises(SourceError, match="stands twice"):
        open_source("atlas", [write(), write()])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda folder: folder, "nothing in it can be read"),
        (lambda folder: folder / "*.h5ad", "no file matches this pattern"),
        (lambda folder: [folder / "none.h5ad"], "no such file: .*none.h5ad"),
    ],
    ids=["folder", "pattern", "list"],
)
def test_a_collection_of_nothing_is_told(tmp_path, given, message):
    (tmp_path / "readme.txt").touch()
    with pytest.raises(SourceError, match=message):
        open_source("atlas", given(tmp_path))


# --- 10x ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_10x_h5_reads_as_scanpy_reads_it(tmp_path, annotated, counts, version):
    scanpy = pytest.importorskip("scanpy")
    path = STORES[f"10x h5, version {version}"](tmp_path, annotated(counts))
    theirs, ours = scanpy.read_10x_h5(path), open_source("blood", path)
    np.testing.assert_array_equal(ours.reader.read_counts(np.arange(40)).toarray(), theirs.X.toarray())
    assert ours.genes.index.tolist() == theirs.var["gene_ids"].tolist()
    assert ours.cells["barcode"].tolist() == theirs.obs_names.tolist()


def test_a_file_of_several_genomes_asks_which(tmp_path, annotated, counts):
    path = STORES["10x h5, version 2"](tmp_path, annotated(counts))
    with h5py.File(path, "r+") as file:
        file.copy("GRCh38", "mm10")
    with pytest.raises(SourceError, match="no counts at 'X'; the file has: GRCh38, mm10; say which"):
        open_source("blood", path)
    assert len(open_source("blood", path, counts="mm10")) == 40


def test_a_geo_sample_is_found_by_its_prefix(tmp_path, annotated, counts):
    folder = STORES["10x mtx.gz"](tmp_path, annotated(counts))
    for file in list(folder.iterdir()):
        file.rename(folder / f"GSM1_s_{file.name}")
    assert len(open_source("blood", folder / "GSM1_s_matrix.mtx.gz")) == 40


def test_a_matrix_by_another_name_is_told(tmp_path):
    (tmp_path / "counts.mtx").touch()
    with pytest.raises(SourceError, match=r"10x files are called …matrix\.mtx, …features\.tsv and …barcodes\.tsv"):
        open_source("blood", tmp_path / "counts.mtx")


def _replace(name, old, new):
    def damage(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return damage


def _zip_half(folder):
    path = folder / "matrix.mtx"
    packed = gzip.compress(path.read_bytes())
    (folder / "matrix.mtx.gz").write_bytes(packed[: len(packed) // 2])
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "barcodes.tsv").unlink(), r"there is no barcodes\.tsv \(or \.gz\)"),
        (lambda folder: (folder / "barcodes.tsv").write_text("a\n"), "barcodes.tsv has 1 rows, matrix.mtx is for 40"),
        (lambda folder: (folder / "genes.tsv").write_text(""), "genes.tsv has 0 rows, matrix.mtx is for 30"),
        (_replace("matrix.mtx", "integer", "pattern"), "no sparse MatrixMarket file of numbers"),
        (_replace("matrix.mtx", "general", "symmetric"), "a symmetric matrix"),
        (lambda folder: (folder / "matrix.mtx").write_text(""), "no sparse MatrixMarket"),
        (
            lambda folder: (folder / "matrix.mtx").write_text("%%MatrixMarket matrix coordinate integer\n"),
            "ends before",
        ),
        (_replace("matrix.mtx", "\n1 1 ", "\n99 1 "), "a gene or a cell that does not exist"),
        (lambda folder: _cut(folder / "matrix.mtx"), "truncated: matrix.mtx should have"),
        (_zip_half, "truncated, damaged"),
        (_replace("matrix.mtx", "\n1 1 ", "\none 1 "), "truncated, damaged"),
    ],
)
def test_what_is_no_10x_folder_is_told(tmp_path, annotated, counts, damage, message):
    folder = STORES["10x mtx"](tmp_path, annotated(counts))
    damage(folder)
    with pytest.raises(SourceError, match=message):
        open_source("blood", folder).reader.read_counts(np.arange(3))


def _cut(path):
    path.write_text("\n".join(path.read_text().splitlines()[:-5]) + "\n")


@pytest.mark.parametrize("form", ["10x h5, version 2", "10x h5, version 3"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_10x_file_is_told(tmp_path, annotated, counts, form, share):
    path = STORES[form](tmp_path, annotated(counts))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SourceError, match=r"cannot be read as 10x \.h5; the file is truncated"):
        open_source("blood", path)


def test_another_hdf5_is_no_10x(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["numbers"] = [1]
    with pytest.raises(SourceError, match="not 10x's"):
        open_source("blood", tmp_path / "data.h5")


def test_antibodies_alone_are_no_genes(tmp_path, annotated, counts):
    path = STORES["10x h5, version 3"](tmp_path, annotated(counts))
    with h5py.File(path, "r+") as file:
        file["matrix/features/feature_type"][:] = b"Antibody Capture"
    with pytest.raises(SourceError, match=r"no feature is of the type Gene Expression.*Antibody Capture"):
        open_source("blood", path)


# --- zarr -----------------------------------------------------------------------------------------------------------


def _remove(name):
    return lambda path: [file.unlink() for file in path.rglob(name)]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "zarr.json").write_text("{"), "cannot be read as zarr"),
        (lambda path: (path / "X" / "zarr.json").unlink(), "no counts at 'X'; the file has: none|damaged"),
        (lambda path: (path / "X" / "data" / "c" / "0").write_bytes(b"nonsense"), "cannot be read as zarr"),
        (lambda path: (path / "obs" / "zarr.json").unlink(), "it has no obs table|damaged"),
    ],
)
def test_a_damaged_zarr_is_told(tmp_path, annotated, counts, damage, message):
    path = STORES["zarr 3"](tmp_path, annotated(counts))
    (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    damage(path)
    with pytest.raises(SourceError, match=message):
        open_source("blood", path).reader.read_counts(np.arange(3))


def test_a_file_is_no_zarr(tmp_path):
    (tmp_path / "data.zarr").touch()
    with pytest.raises(SourceError, match="a zarr source is a folder"):
        open_source("blood", tmp_path / "data.zarr")


def test_a_zarr_folder_needs_no_suffix(tmp_path, annotated, counts):
    path = STORES["zarr 2"](tmp_path, annotated(counts))
    assert len(open_source("blood", path.rename(tmp_path / "atlas"))) == 40


# --- the census -----------------------------------------------------------------------------------------------------


OBS = {
    "size": np.arange(40),
    "small": (np.arange(40) % 7).astype(np.uint8),
    "share": np.linspace(0, 1, 40),
    "is_primary_data": [True, False] * 20,
    # Labels that are no texts in the file, or texts that stand for none.
    "batch": np.arange(40) % 3,
    "study": np.array([0.1, 1.0] * 20, np.float32),
    "disease": [True, False, False, False] * 10,
    "assay": ["NA", "10x", "", "Smart-seq"] * 10,
}


@pytest.fixture(autouse=True)
def _census_opened_anew():
    _hosted_census.cache_clear()


@pytest.fixture
def census(tmp_path, annotated, counts):
    pytest.importorskip("tiledbsoma")
    return write_census(tmp_path / "census", annotated(counts, obs=OBS))


def test_a_census_opens_as_cellxgene_census_opens_it(census):
    cellxgene_census = pytest.importorskip("cellxgene_census")
    with cellxgene_census.open_soma(uri=str(census)) as found:
        theirs = found["census_data"]["homo_sapiens"].obs.read().concat().to_pandas()
    ours = open_source("blood", census / "census_data" / "homo_sapiens")
    assert ours.cells["donor"].astype(str).tolist() == theirs["donor"].astype(str).tolist()


WHERES = [
    "cell_type == 'B'",
    "cell_type != 'B'",
    "not cell_type in ['B', 'none']",
    "cell_type in ['T'] and donor in ['d0', 'd2']",
    "cell_type == 'B' or donor == 'd1'",
    "cell_type == 'B' or barcode == 'cell3'",
    "not (cell_type == 'B' or size < 9)",
    "3 <= size < 20 and is_primary_data",
    "is_primary_data == True and not size > 7",
    "size != 3 and share <= 0.5",
    "share > 0.25 and 0.75 > share",
    "size < 1000000000000000000000 and cell_type < 'C'",
    "is_primary_data in [True]",
    "is_primary_data not in [True, False] or share in [-1, 0.0, 1.0]",
    "size not in [-1, 3, 5] and not small in [1, 2]",
    "small in [0, 3] or size in [-2, 4]",
    "batch == 1 and study == 0.1",
    "batch in ['0', '2'] and not study != '1'",
    "batch > 1 or disease",
    "not disease == False",
    "assay != 'NA'",
    "assay not in ['', '10x']",
    "assay in ['NA', '10x']",
    "assay == '' and batch != ''",
    "not assay < 'A'",
    "not assay == 'Smart-seq' and assay == assay",
]


@pytest.mark.parametrize("where", WHERES)
def test_a_filter_that_is_pushed_down_means_what_it_means(census, tmp_path, annotated, counts, where):
    plain = STORES["h5ad, CSR"](tmp_path, annotated(counts, obs=OBS))
    expected = open_source("blood", plain, where=where)
    found = open_source("blood", census / "census_data" / "homo_sapiens", where=where)
    assert found.cells["barcode"].tolist() == expected.cells["barcode"].tolist()
    rows = found.cells["row"].to_numpy()[::-1]
    np.testing.assert_array_equal(found.reader.read_counts(rows).toarray(), counts[rows])


def test_only_cells_that_can_match_are_read(census):
    from corpuscle.source.cell_filter import parse
    from corpuscle.source.readers.census import Census

    reader = Census(path=census / "census_data" / "homo_sapiens")
    found = reader.read_cells(parse("size >= 10 and cell_type == 'T' and cell_type != 'x'"))
    assert found.rows.tolist() == list(range(11, 40, 2))


def test_a_filter_is_pushed_down_into_every_file_of_a_collection(tmp_path, annotated, counts, monkeypatch):
    pytest.importorskip("tiledbsoma")
    from corpuscle.source.readers.census import Census

    for at, name in enumerate("ab"):
        obs = {"size": np.arange(40) + 40 * at}
        write_census(tmp_path / name, annotated(counts, obs=obs))
    lengths, read_cells = [], Census.read_cells

    def counting(reader, where=None):
        found = read_cells(reader, where)
        lengths.append(len(found.rows))
        return found

    monkeypatch.setattr(Census, "read_cells", counting)
    paths = [tmp_path / name / "census_data" / "homo_sapiens" for name in "ab"]
    source = open_source("atlas", paths, where="size >= 70 and cell_type == 'T' and file != 'none'")
    assert lengths == [0, 5]
    assert source.cells["row"].tolist() == list(range(71, 80, 2))
    assert source.cells["file"].unique().tolist() == ["b/census_data/homo_sapiens"]
    np.testing.assert_array_equal(source.reader.read_counts(np.array([79, 3])).toarray(), counts[[39, 3]])
    with pytest.raises(SourceError, match="matches none of 80 cells; cell_type holds 'B', 'T'"):
        open_source("atlas", paths, where="cell_type == 'Mono'")


@pytest.mark.parametrize(
    ("place", "layer", "message"),
    [
        ("", "X", "a whole Census; say which organism: census_data/ and one of homo_sapiens"),
        ("census_data", "X", "a SOMA Collection, but not an experiment"),
        ("census_data/homo_sapiens", "protein/raw", "no counts at 'protein/raw'; the experiment has: RNA/raw"),
        ("census_data/homo_sapiens", "RNA", "no counts at 'RNA/'; the experiment has: RNA/raw"),
        ("census_data/homo_sapiens/obs", "X", "cannot be read|nothing in it"),
    ],
)
def test_what_is_no_experiment_is_told(census, place, layer, message):
    with pytest.raises(SourceError, match=message):
        open_source("blood", census / place, counts=layer)


def test_an_experiment_without_measurements_is_told(tmp_path):
    soma = pytest.importorskip("tiledbsoma")
    import pyarrow as pa

    with soma.Experiment.create(str(tmp_path / "empty.soma")) as experiment:
        schema = pa.schema([("soma_joinid", pa.int64())])
        experiment.add_new_dataframe("obs", schema=schema, index_column_names=["soma_joinid"], domain=[(0, 1)])
    with pytest.raises(SourceError, match="no counts at 'RNA/raw'; the experiment has: none"):
        open_source("blood", tmp_path / "empty.soma")


def test_a_damaged_experiment_is_told(census):
    for file in (census / "census_data" / "homo_sapiens" / "ms" / "RNA" / "X" / "raw").rglob("*.tdb"):
        file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(SourceError, match="truncated, damaged"):
        open_source("blood", census / "census_data" / "homo_sapiens").reader.read_counts(np.arange(9))


@pytest.mark.parametrize("name", ["census:stable/homo_sapiens", "census:2025-01-30", "census:2025-01-30/a/b"])
def test_the_hosted_census_is_named_by_date_and_organism(tmp_path, name):
    pytest.importorskip("tiledbsoma")
    from pathlib import Path

    with pytest.raises(SourceError, match="by its date and organism, such as census:2025-01-30/homo_sapiens"):
        open_source("blood", Path(name))


def test_the_hosted_census_is_opened_by_its_date(census, monkeypatch):
    cellxgene_census = pytest.importorskip("cellxgene_census")
    from pathlib import Path

    asked, real = [], cellxgene_census.open_soma

    def local(*, census_version, tiledb_config):
        asked.append(census_version)
        return real(uri=str(census), tiledb_config=tiledb_config)

    monkeypatch.setattr(cellxgene_census, "open_soma", local)
    source = open_source("blood", Path("census:2025-01-30/homo_sapiens"), where="cell_type == 'B'")
    assert len(source) == 20
    rows = source.cells["row"].to_numpy()
    assert source.reader.read_counts(rows).shape == (20, 30)
    assert asked == ["2025-01-30"]
    with pytest.raises(SourceError, match="no organism 'homo_sapien'; did you mean 'homo_sapiens'"):
        open_source("blood", Path("census:2025-01-30/homo_sapien"))


def test_all_reads_share_one_context(census, monkeypatch):
    """TileDB crashes now and then where every read has its own (tiledbsoma 2.3.0: in half of 200 reads in a row)."""
    import tiledbsoma

    opened, real = [], tiledbsoma.open
    monkeypatch.setattr(tiledbsoma, "open", lambda *args, **opts: opened.append(opts["context"]) or real(*args, **opts))
    source = open_source("blood", census / "census_data" / "homo_sapiens")
    source.reader.read_counts(np.arange(3))
    assert len(opened) > 2
    assert len({id(context) for context in opened}) == 1


def test_a_hosted_census_that_cannot_be_opened_is_told(monkeypatch):
    cellxgene_census = pytest.importorskip("cellxgene_census")
    from pathlib import Path

    def refuse(**_options):
        raise ConnectionError("no route to host\nmore of it")

    monkeypatch.setattr(cellxgene_census, "open_soma", refuse)
    message = r"the hosted Census cannot be opened \(no route to host\); see that 2025-01-30 is one of its releases"
    with pytest.raises(SourceError, match=message):
        open_source("blood", Path("census:2025-01-30/homo_sapiens"))


def test_a_missing_extra_is_told(census, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tiledbsoma", None)
    with pytest.raises(SourceError, match=r"pip install 'corpuscle\[census\]'"):
        open_source("blood", census / "census_data" / "homo_sapiens")


def test_a_csc_file_is_read_without_a_copy_where_it_is_small(write, counts):
    found = H5ad(path=write("data", counts, form="csc")).read_counts(np.array([5, 2, 39]))
    np.testing.assert_array_equal(found.toarray(), counts[[5, 2, 39]])
    assert not list(row_cache.scratch_path("x").parent.iterdir())


def test_pointers_to_nowhere_are_told(write):
    path = write("data", 12)
    with h5py.File(path, "r+") as file:
        file["X/indptr"][-1] += 5
    with pytest.raises(SourceError, match="pointers to the cells' counts point nowhere"):
        open_source("blood", path).reader.read_counts(np.arange(12))


@pytest.mark.parametrize("form", ["zarr 2", "zarr 3", "zarr 3, dense", "zarr 3, sharded"])
def test_zarr_is_read_without_the_extra_as_with_it(tmp_path, annotated, counts, form, monkeypatch):
    pytest.importorskip("zarrs")
    reader, used = Zarr(path=STORES[form](tmp_path, annotated(counts))), []
    for found in (lambda _name: True, lambda _name: None):
        monkeypatch.setattr("corpuscle.source.readers.zarr.find_spec", found)
        with reader._open() as root:
            array = root["X"] if form == "zarr 3, dense" else root["X/data"]
            used.append(type(array.async_array.codec_pipeline).__name__)
        np.testing.assert_array_equal(
            reader.read_counts(ROWS["in any order, repeated"]).toarray(), counts[[7, 3, 3, 39, 0, 20]]
        )
    assert used == ["ZarrsCodecPipeline", "BatchedCodecPipeline"]


def test_a_zarr_of_anndata_reads_as_anndata_reads_it(tmp_path, annotated, counts):
    path = STORES["zarr 3, sharded"](tmp_path, annotated(counts))
    whole = ad.read_zarr(path)
    np.testing.assert_array_equal(open_source("a", path).reader.read_counts(np.arange(40)).toarray(), whole.X.toarray())
