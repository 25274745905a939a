"""Damaged files end in one message, before anything large is allocated; sound ones of any kind are read right."""

import subprocess
import sys

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy.sparse import csr_matrix

from corpuscle.core.errors import SourceError
from corpuscle.source.readers.h5ad import H5ad
from corpuscle.source.source import open_source
from corpuscle.source.storage import hdf5
from stores import STORES


def read(path, **settings):
    """Open a source and read all its counts."""
    source = open_source("blood", path, **settings)
    return source.reader.read_counts(source.cells["row"].to_numpy()).toarray()


def rewrite(file, key, values, **settings):
    """Put other values at the place of a dataset, keeping its attributes."""
    attributes = dict(file[key].attrs)
    del file[key]
    file.create_dataset(key, data=values, **settings).attrs.update(attributes)


def put(key, change):
    return lambda file: rewrite(file, key, change(file[key][:]))


def never_written(key):
    def damage(file):
        shape, dtype, attributes = file[key].shape, file[key].dtype, dict(file[key].attrs)
        del file[key]
        file.create_dataset(key, shape, dtype, chunks=tuple(max(1, length // 2) for length in shape))
        file[key].attrs.update(attributes)
        file[key][: shape[0] // 2] = 1 if dtype.kind in "iuf" else b"x"

    return damage


def huge(key, length):
    """Declare a dataset of many numbers, of which none is stored."""

    def damage(file):
        attributes = dict(file[key].attrs)
        del file[key]
        file.create_dataset(key, (length,), "S8", chunks=(1_000_000,), compression="gzip").attrs.update(attributes)

    return damage


def say(key, name, value):
    return lambda file: file[key].attrs.__setitem__(name, value)


H5_DAMAGE = {
    "indices are short": (put("X/indices", lambda x: x[:-5]), "counts .data., but says of .* where they belong"),
    "data are short": (put("X/data", lambda x: x[:-5]), "where they belong"),
    "data have two dimensions": (put("X/data", lambda x: np.column_stack([x, x])), "X/data has 2 dimensions"),
    "indices have two dimensions": (put("X/indices", lambda x: np.column_stack([x, x])), "2 dimensions"),
    "data are texts": (put("X/data", lambda x: np.full(len(x), b"1")), "X/data should hold numbers, not"),
    "data are complex": (put("X/data", lambda x: x.astype(complex)), "X/data should hold numbers"),
    "indices are fractions": (put("X/indices", lambda x: x + 0.5), "should hold whole numbers"),
    "indices lost": (lambda file: file["X"].__delitem__("indices"), "X has no indices"),
    "indptr is short": (put("X/indptr", lambda x: x[:-1]), r"its pointers \(indptr\) are for 11"),
    "indptr does not begin at 0": (put("X/indptr", lambda x: np.maximum(x, 1)), "point nowhere"),
    "indptr falls": (put("X/indptr", lambda x: np.r_[x[:3], 0, x[4:]]), "point nowhere"),
    "indptr ends early": (put("X/indptr", lambda x: np.r_[x[:-1], x[-1] - 1]), "its pointers only know of"),
    "a cell has too many": (put("X/indptr", lambda x: np.r_[0, np.full(len(x) - 1, x[-1])]), "more counts than there"),
    "data never written": (never_written("X/data"), "a part of X/data .* is not stored"),
    "indices never written": (never_written("X/indices"), "a part of X/indices .* is not stored"),
    "no shape": (say("X", "shape", ()), "does not say how many cells and genes"),
    "a negative shape": (say("X", "shape", (-1, 30)), "does not say how many cells and genes"),
    "a huge shape": (say("X", "shape", (10**10, 30)), "X is for 10,000,000,000"),
    "codes are short": (put("obs/cell_type/codes", lambda x: x[:-1]), "cell_type' has 11 values for 12 rows"),
    "codes of no category": (put("obs/cell_type/codes", lambda x: x + 1), "2 categories, and cells of a category"),
    "codes never written": (never_written("obs/cell_type/codes"), "cell_type' .* is not stored"),
    "codes are texts": (put("obs/cell_type/codes", lambda x: np.full(len(x), b"B")), "numbers of categories"),
    "index lost": (lambda file: file["obs"].__delitem__("_index"), "obs is not a table: it has no index"),
    "a column lost": (lambda file: file["obs"].__delitem__("donor"), "obs has lost its column 'donor'"),
    "a huge index": (huge("obs/_index", 10**10), "obs claims to hold 640,.* bytes, which a file of"),
    "a huge gene table": (huge("var/_index", 10**10), "var claims to hold"),
}


@pytest.mark.parametrize(("damage", "message"), H5_DAMAGE.values(), ids=H5_DAMAGE.keys())
def test_a_damaged_h5ad_is_refused_with_what_is_wrong(write, damage, message):
    obs = {"cell_type": np.tile(["B", "T"], 6)}
    path = write("data", 12, obs=obs)
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(SourceError, match=rf"data\.h5ad: .*{message}"):
        read(path)


def test_a_csc_matrix_of_cells_that_do_not_exist_is_refused(write):
    for value in (12, -1):
        path = write("data", 12, form="csc")
        with h5py.File(path, "r+") as file:
            file["X/indices"][3] = value
        with pytest.raises(SourceError, match="counts of cells that do not exist"):
            read(path)


def test_a_dense_matrix_that_was_never_written_whole_is_refused(write):
    path = write("data", 12, form="dense")
    with h5py.File(path, "r+") as file:
        never_written("X")(file)
    with pytest.raises(SourceError, match=r"a part of X \(from number 6 on\) is not stored"):
        read(path)


def test_a_damaged_10x_h5_is_refused(tmp_path, annotated, counts_of):
    for key, change, message in (
        ("matrix/indices", lambda x: x[:-5], "where they belong"),
        ("matrix/shape", lambda x: x[:1], "does not say how many genes and cells"),
        ("matrix/barcodes", lambda x: np.column_stack([x, x]), "should be a list of texts"),
    ):
        path = STORES["10x h5, version 3"](tmp_path, annotated(counts_of(12)))
        with h5py.File(path, "r+") as file:
            put(key, change)(file)
        with pytest.raises(SourceError, match=message):
            read(path)


# --- zarr: what is not stored is read as zeros ------------------------------------------------------------------------


def chunked(path, key, length):
    """Store an array of a zarr folder in chunks of so many numbers."""
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    values, attributes = group[key][:], dict(group[key].attrs)
    del group[key]
    chunks = (length, *values.shape[1:])
    group.create_array(key, data=values, chunks=chunks, attributes=attributes)


LOST = {
    "counts": ("X/data", 20, 2, "a part of X/data .from number 40 on"),
    "genes": ("X/indices", 20, 1, "a part of X/indices .from number 20 on"),
    "pointers": ("X/indptr", 5, 1, "a part of X/indptr"),
    "the last pointers": ("X/indptr", 5, 2, "a part of X/indptr"),
    "names of cells": ("obs/_index", 5, 1, "a part of obs's index"),
    "codes": ("obs/cell_type/codes", 12, 0, "cell_type' .from number 0 on. is not stored"),
    "categories": ("obs/cell_type/categories", 2, 0, "the categories of obs's column 'cell_type'"),
}


@pytest.mark.parametrize("version", ["zarr 2", "zarr 3"])
@pytest.mark.parametrize("what", LOST)
def test_a_lost_chunk_of_zarr_is_not_zeros(tmp_path, annotated, counts_of, version, what):
    key, length, lost, message = LOST[what]
    path = STORES[version](tmp_path, annotated(counts_of(12)))
    chunked(path, key, length)
    assert read(path).shape == (12, 30)
    (path / key / (f"c/{lost}" if version == "zarr 3" else str(lost))).unlink()
    with pytest.raises(SourceError, match=message):
        read(path)


def test_a_lost_part_of_a_dense_zarr_or_of_shards_is_not_zeros(tmp_path, annotated, counts_of):
    dense = STORES["zarr 3, dense"](tmp_path, annotated(counts_of(12)))
    (dense / "X/c/0/0").unlink()
    with pytest.raises(SourceError, match=r"a part of X \(from number 0 on\) is not stored; it was lost"):
        read(dense)
    sharded = STORES["zarr 3, sharded"](tmp_path / "two", annotated(counts_of(12)))
    (sharded / "X/data/c/1").unlink()
    with pytest.raises(SourceError, match=r"a part of X/data \(from number 64 on"):
        read(sharded)


def rechunked(path, key, chunks, *, zeros):
    """Store an array anew in chunks of a shape, those of nothing but zeros or without them."""
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    values, attributes = group[key][:], dict(group[key].attrs)
    del group[key]
    config = {"write_empty_chunks": zeros}
    group.create_array(key, data=values, chunks=chunks, attributes=attributes, config=config)


def test_a_part_of_a_dense_zarr_that_is_not_there_is_remarked_on_or_refused_where_zeros_are_stored(
    tmp_path, annotated, counts_of
):
    counts = counts_of(12)
    counts[4:8, 10:] = 0
    path = STORES["zarr 3, dense"](tmp_path, annotated(counts))
    rechunked(path, "X", (4, 10), zeros=False)
    assert not (path / "X/c/1/1").exists()
    source = open_source("blood", path)
    np.testing.assert_array_equal(source.reader.read_counts(np.arange(12)).toarray(), counts)
    (remark,) = source.remarks
    assert "a part of X (cells 4 to 7, genes 10 to 19, and 1 more) is not stored and read as zeros" in remark
    rechunked(path, "X", (4, 10), zeros=True)
    assert not open_source("blood", path).remarks
    (path / "X/c/0/1").unlink()
    with pytest.raises(SourceError, match=r"a part of X \(from number 0 on\) is not stored; it was lost"):
        open_source("blood", path)


COLUMNS = {
    "codes": (np.repeat(["B", "T"], 6), "donor/codes", "'B'"),
    "whole numbers": (np.arange(12) // 6, "donor", "'0'"),
    "truth values": (np.arange(12) > 6, "donor", "'False'"),
    "nullable": (pd.array(np.arange(12) // 6, "Int64"), "donor/values", "'0'"),
}


@pytest.mark.parametrize("what", COLUMNS)
def test_a_part_of_a_label_that_is_not_there_is_remarked_on(tmp_path, annotated, counts_of, what):
    values, key, shown = COLUMNS[what]
    path = STORES["zarr 3"](tmp_path, annotated(counts_of(12), obs={"donor": values, "unused": np.zeros(12)}))
    rechunked(path, f"obs/{key}", (4,), zeros=False)
    (remark,) = open_source("blood", path).remarks
    assert f"a part of its column 'donor' (cells 0 to 3) is not stored and reads {shown}" in remark
    whole = STORES["zarr 3"](tmp_path / "whole", annotated(counts_of(5), obs={"donor": values[-5:]}))
    assert "'donor' (cells 5 to 8)" in open_source("both", [whole, path]).remarks[0]


def test_zeros_that_zarr_leaves_out_are_read(tmp_path, annotated):
    """One category, one gene, cells without counts: chunks of nothing but zeros are not stored, and not missed."""
    counts = np.arange(12, dtype=np.int32)[:, None]
    path = STORES["zarr 3"](tmp_path, annotated(counts, obs={"cell_type": ["B"] * 12, "depth": [0] * 12}))
    for key in ("X/indices", "obs/cell_type/codes", "obs/depth"):
        chunked(path, key, 4)
        assert not (path / key / "c").exists()
    np.testing.assert_array_equal(read(path), counts)
    empty = STORES["zarr 3"](tmp_path / "none", annotated(np.zeros((3, 2), np.int32)))
    np.testing.assert_array_equal(read(empty), np.zeros((3, 2)))


# --- sound files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [">f4", ">i4", "<f2", ">f2", ">u8", "<i1", "<u1", "<f8"])
@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_counts_of_any_number_type_are_read(write, counts_of, dtype, form):
    counts = counts_of(12)
    path = write("data", counts, form=form)
    with h5py.File(path, "r+") as file:
        for key, kind in (("X/data", dtype), ("X/indices", ">i8"), ("X/indptr", ">u4")):
            if form != "dense":
                rewrite(file, key, file[key][:].astype(kind))
        if form == "dense":
            rewrite(file, "X", file["X"][:].astype(dtype))
    found = H5ad(path=path).read_counts(np.array([5, 0, 11]))
    assert found.dtype.isnative
    np.testing.assert_array_equal((found @ np.eye(30)), counts[[5, 0, 11]])


def test_what_anndata_wrote_before_0_7_is_read_as_anndata_reads_it(write, counts_of):
    counts = counts_of(12)
    path = write("old", counts, obs={"cell_type": np.tile(["B", "T"], 6)})
    with h5py.File(path, "r+") as file:
        records = np.dtype([("index", "S8"), ("cell_type", "i1"), ("n", ">f4")])
        table = np.array([(f"cell{at}".encode(), at % 2, at / 2) for at in range(12)], records)
        for key in ("obs", "var", "uns"):
            del file[key]
        file["obs"], file["uns/cell_type_categories"] = table, np.array([b"B", b"T"])
        file["var"] = file["raw.var"] = np.array([(f"G{at}".encode(),) for at in range(30)], [("index", "S4")])
        file.copy("X", "raw.X")
        for name in ("X", "raw.X"):
            file[name].attrs.clear()
            file[name].attrs.update({"h5sparse_format": "csr", "h5sparse_shape": counts.shape})
        file["X/data"][...] = file["X/data"][:] * 2
    with pytest.warns(ad.OldFormatWarning):
        whole = ad.read_h5ad(path)
    source = open_source("blood", path, counts="raw", where="cell_type == 'T'")
    assert source.cells["barcode"].tolist() == whole.obs_names[1::2].tolist()
    assert source.cells["n"].tolist() == whole.obs["n"].tolist()[1::2]
    np.testing.assert_array_equal(source.reader.read_counts(np.arange(12)).toarray(), whole.raw.X.toarray())
    np.testing.assert_array_equal(read(path), whole.X.toarray())
    assert open_source("blood", path).genes.index.tolist() == whole.var_names.tolist()


def in_zstd(path):
    """Compress X/data with zstd (HDF5 filter 32015), for which HDF5 needs a plugin."""
    codec = pytest.importorskip("numcodecs").Zstd(3)
    with h5py.File(path, "r+") as file:
        values, attributes = file["X/data"][:], dict(file["X/data"].attrs)
        del file["X/data"]
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((len(values),))
        settings.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space, kind = h5py.h5s.create_simple((len(values),)), h5py.h5t.py_create(values.dtype)
        made = h5py.h5d.create(file["X"].id, b"data", kind, space, settings)
        made.write_direct_chunk((0,), codec.encode(values.tobytes()))
        file["X/data"].attrs.update(attributes)


def test_a_filter_that_is_not_there_is_named_with_what_to_install(write, monkeypatch):
    path = write("data", 12)
    in_zstd(path)
    monkeypatch.setattr(hdf5, "_has_plugins", lambda: False)
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: number != 32015)
    with pytest.raises(SourceError, match=r"zstd \(HDF5 filter 32015\).*the file may be whole.*corpuscle\[hdf5\]"):
        read(path)


def test_zstd_is_read_with_the_plugin(write, counts_of):
    pytest.importorskip("hdf5plugin")
    counts = counts_of(12)
    path = write("data", counts)
    in_zstd(path)
    np.testing.assert_array_equal(read(path), counts)


def test_a_file_that_another_program_has_open_is_not_called_damaged(write):
    path = write("data", 12)
    hold = f"import h5py; file = h5py.File({str(path)!r}, 'a'); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(SourceError, match=r"another program has this file open.*HDF5_USE_FILE_LOCKING=FALSE"):
            read(path)
        holder.communicate(b"\n")
    assert read(path).shape == (12, 30)


def test_memory_that_is_not_there_is_no_traceback(write, monkeypatch):
    def too_much(*_):
        raise MemoryError("Unable to allocate 80 GiB")

    path = write("data", 12)
    monkeypatch.setattr("corpuscle.source.storage.anndata_layout.read_csr", too_much)
    with pytest.raises(SourceError, match=r"takes more memory than there is \(Unable to allocate 80 GiB"):
        read(path)


def test_a_table_may_be_packed_well(tmp_path, annotated, counts_of):
    """A column of one value packs to a thousandth: what is refused is far beyond that."""
    data = annotated(csr_matrix(counts_of(3000, 2)), obs={"same": np.zeros(3000)})
    data.write_h5ad(tmp_path / "data.h5ad", compression="gzip", compression_opts=9)
    assert len(open_source("blood", tmp_path / "data.h5ad")) == 3000


FUZZ = """
import sys, warnings
from pathlib import Path
import numpy as np
from corpuscle.core.errors import InputError
from corpuscle.source.source import open_source

warnings.simplefilter("ignore")
path, whole = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes()
victim, rng = path.with_name("victim.h5ad"), np.random.default_rng(0)
found = open_source("blood", path).reader.read_counts(np.arange(6)).toarray()
outcomes = []
for at in range(60):
    damaged = bytearray(whole)
    if at % 3:
        place = int(rng.integers(len(whole)))
        damaged[place] ^= 1 << int(rng.integers(8))
    else:
        damaged = damaged[: int(rng.integers(len(whole)))]
    victim.write_bytes(damaged)
    print(at, flush=True)
    try:
        source = open_source("blood", victim)
        counts = source.reader.read_counts(np.arange(6)).toarray()
        # Of numbers without a checksum, a flipped bit is another number: at most one.
        outcomes.append("read" if (counts != found).sum() <= 2 else "wrong")
    except InputError:
        outcomes.append("refused")
print({name: outcomes.count(name) for name in ("read", "refused", "wrong")})
assert "wrong" not in outcomes
"""


def test_flipped_and_truncated_files_are_refused_or_read_right(write):
    """In a process of its own: HDF5 itself may crash."""
    path = write("data", 6)
    done = subprocess.run([sys.executable, "-c", FUZZ, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode <= 0, done.stderr[-2000:]
