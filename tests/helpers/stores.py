"""The same cells in every format that can be read."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pytest
from scipy.io import mmwrite
from scipy.sparse import csc_matrix, csr_matrix

Write = Callable[[Path, ad.AnnData], Path]


def _h5ad(form: Callable[[Any], Any]) -> Write:
    def write(folder: Path, data: ad.AnnData) -> Path:
        data.X = form(data.X)
        data.write_h5ad(folder / "data.h5ad", compression="gzip")
        return folder / "data.h5ad"

    return write


def _zarr(version: int, form: Callable[[Any], Any] = csr_matrix) -> Write:
    def write(folder: Path, data: ad.AnnData) -> Path:
        data.X = form(data.X)
        with ad.settings.override(zarr_write_format=version), pytest.warns():
            data.write_zarr(folder / "data.zarr")
        return folder / "data.zarr"

    return write


def _sharded(folder: Path, data: ad.AnnData) -> Path:
    import zarr

    path = _zarr(3)(folder, data)
    group: Any = zarr.open_group(path, mode="r+", use_consolidated=False)["X"]
    for name in ("data", "indices"):
        values = group[name][:]
        del group[name]
        group.create_array(name, data=values, chunks=(16,), shards=(64,))
    with pytest.warns(match="Consolidated metadata"):
        zarr.consolidate_metadata(path)
    return path


def _tenx_3(folder: Path, data: ad.AnnData) -> Path:
    counts, path = csr_matrix(data.X), folder / "data.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        _tenx_matrix(group, counts, data)
        # Antibodies stand among the genes; their counts are not the genes'.
        features = group.create_group("features")
        features["id"] = [*data.var_names.to_numpy("S"), b"CD3_TotalSeq"]
        features["name"] = [*data.var_names.to_numpy("S"), b"CD3"]
        features["feature_type"] = [*[b"Gene Expression"] * data.n_vars, b"Antibody Capture"]
        features["genome"] = [b"GRCh38"] * (data.n_vars + 1)
        group["shape"][0] += 1
        wider = csr_matrix(np.column_stack([counts.toarray(), np.arange(data.n_obs)]))
        for name in ("data", "indices", "indptr"):
            del group[name]
            group[name] = getattr(wider, name)
    return path


def _tenx_2(folder: Path, data: ad.AnnData) -> Path:
    path = folder / "data.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("GRCh38")
        _tenx_matrix(group, csr_matrix(data.X), data)
        group["genes"] = group["gene_names"] = data.var_names.to_numpy("S")
    return path


def _tenx_matrix(group: h5py.Group, counts: csr_matrix, data: ad.AnnData) -> None:
    for name in ("data", "indices", "indptr"):
        group[name] = getattr(counts, name)
    group["shape"] = np.array(counts.shape[::-1], np.int32)
    group["barcodes"] = data.obs_names.to_numpy("S")


def _mtx(*, zipped: bool) -> Write:
    def write(folder: Path, data: ad.AnnData) -> Path:
        place = folder / "filtered"
        place.mkdir()
        mmwrite(place / "matrix.mtx", csr_matrix(data.X).T.tocoo(), field="integer")
        names = data.var_names
        (place / "genes.tsv").write_text("".join(f"{name}\t{name}\n" for name in names))
        (place / "barcodes.tsv").write_text("".join(f"{name}\n" for name in data.obs_names))
        if zipped:
            (place / "genes.tsv").unlink()
            text = "".join(f"{name}\t{name}\tGene Expression\n" for name in names)
            (place / "features.tsv").write_text(text)
            for path in list(place.iterdir()):
                with path.open("rb") as plain, gzip.open(f"{path}.gz", "wb") as packed:
                    shutil.copyfileobj(plain, packed)
                path.unlink()
        return place

    return write


def _collection(folder: Path, data: ad.AnnData) -> Path:
    place = folder / "many"
    place.mkdir()
    # The second file has its genes in another order.
    halves = data[: data.n_obs // 3], data[data.n_obs // 3 :, ::-1]
    for name, half in zip("ab", halves, strict=True):
        half.copy().write_h5ad(place / f"{name}.h5ad")
    return place


def _census(folder: Path, data: ad.AnnData) -> Path:
    return write_census(folder / "census", data) / "census_data" / "homo_sapiens"


def write_census(path: Path, data: ad.AnnData) -> Path:
    """Write a Census on disk: obs with categories, var by feature_id, raw counts of measurement RNA."""
    soma = pytest.importorskip("tiledbsoma")
    import pyarrow as pa

    from corpuscle.source.readers.census import _context

    context = _context(os.getpid())
    obs = data.obs.assign(observation_joinid=data.obs_names, soma_joinid=np.arange(data.n_obs))
    columns = {name: _arrow(obs[name], encoded=name != "observation_joinid") for name in obs}
    ids, names = np.arange(data.n_vars), data.var_names.tolist()
    genes = {"soma_joinid": ids, "feature_id": names, "feature_name": names}
    genes |= {name: data.var[name].tolist() for name in data.var}
    counts = csr_matrix(data.X).tocoo()
    places = {"soma_dim_0": counts.row.astype(np.int64), "soma_dim_1": counts.col.astype(np.int64)}
    with soma.Collection.create(str(path), context=context) as census:
        census.add_new_collection("census_info")
        experiment = census.add_new_collection("census_data").add_new_collection("homo_sapiens", soma.Experiment)
        measurement = experiment.add_new_collection("ms").add_new_collection("RNA", soma.Measurement)
        measurement.add_new_collection("X").add_new_sparse_ndarray("raw", type=pa.float32(), shape=data.shape)
        tables = {"obs": (experiment, pa.table(columns)), "var": (measurement, pa.table(genes))}
        for name, (parent, table) in tables.items():
            keys = {"index_column_names": ["soma_joinid"], "domain": [(0, max(0, len(table) - 1))]}
            parent.add_new_dataframe(name, schema=table.schema, **keys)
    # Categories are kept only where a table is opened anew to write it.
    place = path / "census_data" / "homo_sapiens"
    written = {"obs": tables["obs"][1], "ms/RNA/var": tables["var"][1]}
    written["ms/RNA/X/raw"] = pa.table({**places, "soma_data": counts.data.astype(np.float32)})
    for name, table in written.items():
        with soma.open(str(place / name), "w", context=context) as part:
            part.write(table)
    return path


def _arrow(column: Any, *, encoded: bool) -> Any:
    """Return texts as large_string, with categories where wanted; numbers as they are."""
    import pyarrow as pa

    if column.dtype.kind in "iufb":
        return pa.array(column.to_numpy())
    texts = pa.array(column.astype(object).where(column.notna(), None).tolist(), pa.large_string())
    return texts.dictionary_encode() if encoded else texts


STORES: dict[str, Write] = {
    "h5ad, CSR": _h5ad(csr_matrix),
    "h5ad, CSC": _h5ad(csc_matrix),
    "h5ad, dense": _h5ad(np.asarray),
    "zarr 2": _zarr(2),
    "zarr 3": _zarr(3),
    "zarr 3, CSC": _zarr(3, csc_matrix),
    "zarr 3, dense": _zarr(3, np.asarray),
    "zarr 3, sharded": _sharded,
    "10x h5, version 3": _tenx_3,
    "10x h5, version 2": _tenx_2,
    "10x mtx": _mtx(zipped=False),
    "10x mtx.gz": _mtx(zipped=True),
    "collection": _collection,
    "census": _census,
}
