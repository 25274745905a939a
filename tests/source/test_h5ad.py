"""Every way to store counts reads the same, lazily; what cannot be read is told in one message."""

from itertools import pairwise

import h5py
import numpy as np
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from corpuscle.core.errors import SourceError
from corpuscle.source.readers.h5ad import H5ad
from corpuscle.source.source import open_source
from corpuscle.source.storage import anndata_layout

ROWS = {
    "all": np.arange(40),
    "some, with gaps": np.array([0, 1, 2, 25, 39]),
    "in any order, repeated": np.array([7, 3, 3, 39, 0]),
    "one": np.array([11]),
    "none": np.array([], np.int64),
}


@pytest.fixture
def counts(counts_of):
    found = counts_of(40)
    found[7], found[:, 3], found[:, -1] = 0, 0, 0  # an empty cell, empty genes
    return found


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS.keys())
@pytest.mark.parametrize("place", ["X", "raw", "layers/counts"])
@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_every_form_in_every_place_gives_the_same_counts(annotated, counts, tmp_path, *, form, place, rows):
    stored = {"dense": np.asarray, "csr": csr_matrix, "csc": csc_matrix}[form](counts)
    data = annotated(stored, layers={"counts": stored})
    data.raw = data
    if place != "X":
        data.X = csr_matrix(np.full(counts.shape, 0.5))
    data.write_h5ad(tmp_path / "data.h5ad")
    found = H5ad(path=tmp_path / "data.h5ad", counts=place).read_counts(rows)
    assert found.format == "csr"
    assert found.dtype == counts.dtype
    np.testing.assert_array_equal(found.toarray(), counts[rows])


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
@pytest.mark.parametrize("number_type", ["bool", "uint8", "int16", "int64", "float32", "float64"])
@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_every_number_type_and_compression_is_read(annotated, tmp_path, counts, *, form, number_type, compression):
    counts = counts.clip(max=200).astype(number_type)
    stored = {"dense": np.asarray, "csr": csr_matrix, "csc": csc_matrix}[form](counts)
    annotated(stored).write_h5ad(tmp_path / "data.h5ad", compression=compression)
    found = H5ad(path=tmp_path / "data.h5ad").read_counts(np.arange(40))
    assert found.dtype == counts.dtype
    np.testing.assert_array_equal(found.toarray(), counts)


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_unsorted_indices_explicit_zeros_and_long_pointers_are_read(write, counts, form):
    path = write("odd", counts, form=form)
    with h5py.File(path, "r+") as file:
        group = file["X"]
        data, indices, indptr = (group[key][:] for key in ("data", "indices", "indptr"))
        data[1] = 0
        for start, stop in pairwise(indptr):
            data[start:stop], indices[start:stop] = data[start:stop][::-1].copy(), indices[start:stop][::-1].copy()
        for key, values in (("data", data), ("indices", indices.astype("i8")), ("indptr", indptr.astype("i8"))):
            del group[key]
            group[key] = values
    kind = csr_matrix if form == "csr" else csc_matrix
    expected = kind((data, indices, indptr), shape=counts.shape).toarray()
    found = H5ad(path=path).read_counts(np.arange(40)[::-1])
    np.testing.assert_array_equal(found.toarray(), expected[::-1])


def test_a_dense_array_is_dense_in_memory_a_few_rows_at_once(write, counts, monkeypatch):
    monkeypatch.setattr(anndata_layout, "SPAN_ROWS", 4)
    sizes, real = [], anndata_layout.csr_matrix
    monkeypatch.setattr(
        anndata_layout, "csr_matrix", lambda slab, *args, **kwargs: sizes.append(slab.shape) or real(slab)
    )
    rows = np.arange(0, 40, 3)
    found = H5ad(path=write("data", counts, form="dense")).read_counts(rows)
    np.testing.assert_array_equal(found.toarray(), counts[rows])
    assert max(n_rows for n_rows, _ in sizes) <= 4


@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_opening_a_source_reads_no_counts(write, form):
    """The counts are made unreadable: what tries to read them fails."""
    path = write("data", 50, form=form)
    with h5py.File(path, "r+") as file:
        parts = ["X"] if form == "dense" else ["X/data", "X/indices"]
        for part in parts:
            values = file[part][:]
            del file[part]
            file.create_dataset(part, data=values, chunks=values.shape, compression="gzip")
        if form == "dense":
            file["X"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        chunks = [(info.byte_offset, info.size) for info in (file[part].id.get_chunk_info(0) for part in parts)]
    with path.open("r+b") as raw:
        for offset, size in chunks:
            raw.seek(offset)
            raw.write(b"\xff" * size)
    source = open_source("blood", path, where="cell_type == 'B'")
    assert len(source) == 25
    assert list(source.genes.index[:2]) == ["G0", "G1"]
    with pytest.raises(SourceError, match="truncated, damaged"):
        source.reader.read_counts(np.arange(3))


def test_only_the_stretches_that_are_asked_for_are_read(write, counts_of, monkeypatch):
    path = write("data", counts_of(400), form="csr")
    read, real = [], h5py.Dataset.__getitem__

    def spy(dataset, key, **options):
        found = real(dataset, key, **options)
        read.append(np.size(found))
        return found

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    H5ad(path=path).read_counts(np.array([390, 391]))
    assert sum(read) < 200


def test_raw_has_genes_of_its_own(annotated, counts, tmp_path):
    data = annotated(csr_matrix(counts))
    data.raw = data
    data[:, :5].copy().write_h5ad(tmp_path / "data.h5ad")
    reader = H5ad(path=tmp_path / "data.h5ad", counts="raw")
    assert len(reader.read_genes()) == 30
    assert reader.read_counts(np.array([1])).shape == (1, 30)
    assert len(H5ad(path=tmp_path / "data.h5ad").read_genes()) == 5


@pytest.mark.parametrize("place", ["layers/cunts", "raw/X", "layers", "layers/", "", "/", "obs", "raw"])
def test_a_wrong_place_is_answered_with_the_places_there_are(annotated, counts, tmp_path, place):
    annotated(csr_matrix(counts), layers={"counts": csr_matrix(counts)}).write_h5ad(tmp_path / "data.h5ad")
    with pytest.raises(SourceError, match=f"no counts at '{place}'; the file has: X, layers/counts"):
        open_source("blood", tmp_path / "data.h5ad", counts=place)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_a_truncated_file_is_told(write, share):
    path = write("data", 50)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SourceError, match=r"data\.h5ad: cannot be read as \.h5ad; the file is truncated"):
        open_source("blood", path)


def _text(path):
    path.write_text("gene,cell1\nLYZ,3\n")


def _folder(path):
    path.mkdir()


def _other_hdf5(path):
    with h5py.File(path, "w") as file:
        file["numbers"] = [1, 2]


def _half(path):
    with h5py.File(path, "w") as file:
        file.create_group("obs")
        file.create_group("X")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda path: None, "no such file: .*data.h5ad", id="missing"),
        pytest.param(lambda path: path.touch(), "truncated, damaged or of another kind", id="empty"),
        pytest.param(_text, "truncated, damaged or of another kind", id="text"),
        pytest.param(_folder, "this is a folder", id="folder"),
        pytest.param(_other_hdf5, "it has no obs table", id="other HDF5"),
        pytest.param(_half, "damaged: obs is not a table", id="half a file"),
    ],
)
def test_what_is_no_h5ad_is_told(tmp_path, damage, message):
    path = tmp_path / "data.h5ad"
    damage(path)
    with pytest.raises(SourceError, match=message):
        open_source("blood", path)


def test_another_suffix_is_answered_with_those_that_can_be_read(tmp_path):
    (tmp_path / "data.loom").touch()
    with pytest.raises(SourceError, match=r"data.loom: no reader reads such files; these can be read: .*\.h5ad"):
        open_source("blood", tmp_path / "data.loom")


def test_a_suffix_may_be_in_capitals(write):
    assert len(open_source("blood", write().rename(write().with_name("DATA.H5AD")))) == 12


def test_a_file_without_counts_is_told(annotated, counts, tmp_path):
    data = annotated(csr_matrix(counts))
    del data.X
    data.write_h5ad(tmp_path / "data.h5ad")
    with pytest.raises(SourceError, match="no counts at 'X'; the file has: none"):
        open_source("blood", tmp_path / "data.h5ad")


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)], ids=["no cells", "no genes"])
def test_a_file_of_nothing_is_told(write, shape):
    path = write("data", np.zeros(shape, np.int32))
    with pytest.raises(SourceError, match=f"has {shape[0]} cells and {shape[1]} genes"):
        open_source("blood", path)


def test_tables_that_do_not_fit_the_counts_are_told(write):
    path = write("data", 12, form="csc")
    with h5py.File(path, "r+") as file:
        file["X"].attrs["shape"] = (11, 30)
    with pytest.raises(SourceError, match="damaged: obs has 12 rows, X is for 11"):
        open_source("blood", path)


def test_counts_of_genes_that_do_not_exist_are_told(write):
    path = write("data", 12)
    with h5py.File(path, "r+") as file:
        file["X/indices"][3] = 31
    with pytest.raises(SourceError, match="genes that do not exist"):
        open_source("blood", path).reader.read_counts(np.arange(12))


def test_one_cell_is_enough_to_read(write):
    source = open_source("blood", write("data", 1))
    assert len(source) == 1
    assert source.reader.read_counts(np.array([0])).shape == (1, 30)


def test_categories_as_anndata_wrote_them_before_0_8_are_read(write):
    path = write("data", 4)
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        del obs["cell_type"]
        obs["cell_type"] = np.array([0, 1, -1, 0], np.int8)
        obs["__categories/cell_type"] = np.array(["B", "T"], h5py.string_dtype())
        obs["cell_type"].attrs["categories"] = obs["__categories/cell_type"].ref
        obs.attrs["encoding-version"] = "0.1.0"
    assert open_source("blood", path).cells["cell_type"].astype("string").fillna("?").tolist() == ["B", "T", "?", "B"]


def test_attributes_in_bytes_as_r_writes_them_are_read(write, counts):
    path = write("data", counts)
    with h5py.File(path, "r+") as file:
        for key, name in (("X", "encoding-type"), ("obs", "_index"), ("var", "_index")):
            file[key].attrs[name] = np.bytes_(file[key].attrs[name])
    np.testing.assert_array_equal(H5ad(path=path).read_counts(np.arange(40)).toarray(), counts)
    assert open_source("blood", path).cells["barcode"].tolist()[:2] == ["cell0", "cell1"]
