"""Malformed and hostile inputs, generated: each is a few files and a command that refuses them, or reads them right.

A case writes its files into a folder and returns the arguments of the command line. `REFUSED` end in exit code 2 with
one message; `LEGAL` look odd and are read.
"""

import gzip
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

N_CELLS, N_GENES = 12, 30
Write = Callable[[Path], list[str]]
Change = Callable[[Any], object]

STUDY = """
name = "odd"
seeds = 1
sources.s = {{ path = "{path}"{more} }}
quality = {{ min_genes = 1 }}
holdout.s = {{ by = "cell", share = 0.3 }}
corpora = [{{ name = "A", parts = [{{ source = "s", n_cells = 4 }}] }}]
models = [{{ name = "toy:MeanProfile" }}]
tasks = [{{ name = "reconstruction", on = ["s"] }}]
"""


class Case(NamedTuple):
    """One input: what writes it, and what the message must say somewhere (empty: anything)."""

    write: Write
    says: str = ""


def counts() -> np.ndarray[Any, Any]:
    """The counts of the sound file that most cases are made from."""
    rng = np.random.default_rng(0)
    found = rng.poisson(rng.gamma(1.0, 2.0, N_GENES), (N_CELLS, N_GENES))
    found[:, 0] += 1 + np.arange(N_CELLS)
    return found.astype(np.int32)


def sound() -> ad.AnnData:
    """A small sound AnnData."""
    labels = {"cell_type": ["B", "T"] * (N_CELLS // 2), "donor": ["d0", "d1", "d2"] * (N_CELLS // 3)}
    obs = pd.DataFrame({**labels, "depth": np.arange(N_CELLS)}, index=[f"cell{at}" for at in range(N_CELLS)])
    return ad.AnnData(csr_matrix(counts()), obs=obs, var=pd.DataFrame(index=[f"G{at}" for at in range(N_GENES)]))


def asked(folder: Path, path: str, more: str = "") -> list[str]:
    """Write a study of one source; return the command that composes its corpus."""
    (folder / "study.toml").write_text(STUDY.format(path=path, more=more), encoding="utf-8")
    return ["compose", str(folder / "study.toml"), "-o", str(folder / "out")]


def fifo(path: Path) -> None:
    """Put a pipe, from which reading waits for ever, in the place of a file."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


# --- h5ad -------------------------------------------------------------------------------------------------------------


@cache
def _h5ad_bytes(form: str) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        data = sound()
        if form == "dense":
            data.X = data.X.toarray()
        elif form == "csc":
            data.X = data.X.tocsc()
        data.write_h5ad(Path(folder) / "data.h5ad")
        return (Path(folder) / "data.h5ad").read_bytes()


def h5ad(change: Change, form: str = "csr", more: str = "") -> Write:
    """Change a sound .h5ad, open as HDF5."""

    def write(folder: Path) -> list[str]:
        (folder / "data.h5ad").write_bytes(_h5ad_bytes(form))
        with h5py.File(folder / "data.h5ad", "r+") as file:
            change(file)
        return asked(folder, "data.h5ad", more)

    return write


def raw(change: Callable[[bytes], bytes], name: str = "data.h5ad") -> Write:
    """Change the bytes of a sound .h5ad."""

    def write(folder: Path) -> list[str]:
        (folder / name).write_bytes(change(_h5ad_bytes("csr")))
        return asked(folder, name)

    return write


def put(key: str, change: Callable[[Any], Any], **settings: Any) -> Change:
    """Put other values in the place of a dataset, with its attributes."""

    def apply(file: h5py.File) -> None:
        attributes, values = dict(file[key].attrs), file[key][()]
        del file[key]
        file.create_dataset(key, data=change(values), **settings)
        file[key].attrs.update(attributes)

    return apply


def declared(key: str, shape: tuple[int, ...], dtype: Any = None, **settings: Any) -> Change:
    """Declare an array of any size that holds nothing."""

    def apply(file: h5py.File) -> None:
        attributes, kind = dict(file[key].attrs), dtype or file[key].dtype
        del file[key]
        chunks = settings.pop("chunks", tuple(min(1024, length) for length in shape))
        file.create_dataset(key, shape, kind, chunks=chunks, **settings)
        file[key].attrs.update(attributes)

    return apply


def lose(key: str) -> Change:
    return lambda file: file.__delitem__(key)


def say(key: str, **attributes: Any) -> Change:
    return lambda file: file[key].attrs.update(attributes)


def link(key: str, target: object) -> Change:
    """Put a link in the place of a part."""

    def apply(file: h5py.File) -> None:
        del file[key]
        file[key] = target

    return apply


def _cycle(file: h5py.File) -> None:
    """Let a group hold itself."""
    file["obs/again"] = file["obs"]
    file["obs"].attrs["column-order"] = [*file["obs"].attrs["column-order"], "again"]


def _external_storage(file: h5py.File) -> None:
    """Let the counts be the bytes of another file."""
    values, attributes = file["X/data"][()], dict(file["X/data"].attrs)
    outside = Path(file.filename).with_name("secret.bin")
    outside.write_bytes(values.astype("<i4").tobytes())
    del file["X/data"]
    made = file.create_dataset("X/data", values.shape, "<i4", external=[(str(outside), 0, h5py.h5f.UNLIMITED)])
    made.attrs.update(attributes)


def _deep(file: h5py.File) -> None:
    group = file.require_group("uns")
    for _ in range(2000):
        group = group.create_group("g")


def _external_link(file: h5py.File) -> None:
    other = Path(file.filename).with_name("other.h5")
    with h5py.File(other, "w") as outside:
        file.copy("X/data", outside)
    link("X/data", h5py.ExternalLink(str(other), "/data"))(file)


def _external_obs(file: h5py.File) -> None:
    other = Path(file.filename).with_name("other.h5")
    with h5py.File(other, "w") as outside:
        file.copy("obs", outside)
    link("obs", h5py.ExternalLink(str(other), "/obs"))(file)


def _virtual(file: h5py.File) -> None:
    """Let the counts be a view of another file."""
    other, values = Path(file.filename).with_name("other.h5"), file["X/data"][()]
    with h5py.File(other, "w") as outside:
        outside["data"] = values
    del file["X/data"]
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    layout[:] = h5py.VirtualSource(str(other), "data", values.shape)
    file.create_virtual_dataset("X/data", layout)


def _external_column(file: h5py.File) -> None:
    outside = Path(file.filename).with_name("secret.bin")
    outside.write_bytes(np.arange(N_CELLS, dtype="<i8").tobytes())
    attributes = dict(file["obs/depth"].attrs)
    del file["obs/depth"]
    file.create_dataset("obs/depth", (N_CELLS,), "<i8", external=[(str(outside), 0, h5py.h5f.UNLIMITED)])
    file["obs/depth"].attrs.update(attributes)


def _pickled_object(file: h5py.File) -> None:
    """Hold bytes that, unpickled, would run."""
    file["uns/evil"] = np.void(pickle.dumps(_Evil()))


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


def _swap(file: h5py.File, name: str) -> None:
    del file["var"]
    file["var"] = file[name]


H5AD: dict[str, Case] = {
    "empty file": Case(raw(lambda _: b"")),
    "one byte": Case(raw(lambda _: b"\x89")),
    "only the signature": Case(raw(lambda data: data[:8])),
    "a third": Case(raw(lambda data: data[: len(data) // 3])),
    "all but a byte": Case(raw(lambda data: data[:-1])),
    "zeros": Case(raw(lambda data: bytes(len(data)))),
    "a text": Case(raw(lambda _: b"cell,gene,count\n" * 99)),
    "a zip": Case(raw(lambda _: b"PK\x03\x04" + bytes(200))),
    "a pickle": Case(raw(lambda _: pickle.dumps(_Evil()))),
    "gzip in the place of HDF5": Case(raw(gzip.compress)),
    "a web page": Case(raw(lambda _: b"<!DOCTYPE html><html>404</html>")),
    "a pointer of git LFS": Case(raw(lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n")),
    "no X": Case(h5ad(lose("X"))),
    "no obs": Case(h5ad(lose("obs"))),
    "no var": Case(h5ad(lose("var"))),
    "nothing in it": Case(h5ad(lambda file: [file.__delitem__(key) for key in list(file)])),
    "X is a table": Case(h5ad(lambda file: (file.__delitem__("X"), file.copy("obs", "X")))),
    "X is a number": Case(h5ad(link("X", 3))),
    "X is a text": Case(h5ad(link("X", "counts"))),
    "X has three dimensions": Case(h5ad(link("X", np.ones((3, 3, 3))))),
    "X is complex": Case(h5ad(link("X", np.ones((N_CELLS, N_GENES), complex)))),
    "X has records": Case(h5ad(link("X", np.zeros((N_CELLS, N_GENES), [("a", "i4")])))),
    "X is dates": Case(h5ad(link("X", np.zeros((N_CELLS, N_GENES), "S8")))),
    "X without cells": Case(h5ad(link("X", np.zeros((0, N_GENES))))),
    "X is too short": Case(h5ad(put("X", lambda x: x[:-1]), "dense")),
    "X is too narrow": Case(h5ad(put("X", lambda x: x[:, :-1]), "dense")),
    "negative": Case(h5ad(put("X", lambda x: x - 9), "dense")),
    "not finite": Case(h5ad(put("X", lambda x: np.where(x == x[0, 0], np.nan, x)), "dense")),
    "infinite": Case(h5ad(put("X/data", lambda x: np.where(x > 3, np.inf, x)))),
    "fractions": Case(h5ad(put("X/data", lambda x: x + 0.25))),
    "counts beyond 2**24": Case(h5ad(put("X/data", lambda x: x.astype(np.int64) + 2**40))),
    "no data": Case(h5ad(lose("X/data"))),
    "no indices": Case(h5ad(lose("X/indices"))),
    "no indptr": Case(h5ad(lose("X/indptr"))),
    "data is a group": Case(h5ad(lambda file: (file.__delitem__("X/data"), file.create_group("X/data")))),
    "data of two dimensions": Case(h5ad(put("X/data", lambda x: x[:, None]))),
    "data is one number": Case(h5ad(put("X/data", lambda x: x[0]))),
    "data is texts": Case(h5ad(put("X/data", lambda x: x.astype("S")))),
    "data is objects": Case(h5ad(put("X/data", lambda x: [str(one) for one in x], dtype=h5py.string_dtype()))),
    "indices are fractions": Case(h5ad(put("X/indices", lambda x: x + 0.5))),
    "indices are short": Case(h5ad(put("X/indices", lambda x: x[:-1]))),
    "indices of two dimensions": Case(h5ad(put("X/indices", lambda x: x[None]))),
    "indices are negative": Case(h5ad(put("X/indices", lambda x: np.r_[-1, x[1:]]))),
    "indices of genes that are not there": Case(h5ad(put("X/indices", lambda x: np.r_[10**6, x[1:]]))),
    "indices beyond 32 bits": Case(h5ad(put("X/indices", lambda x: x.astype(np.int64) + 2**33))),
    "pointers descend": Case(h5ad(put("X/indptr", lambda x: x[::-1]))),
    "pointers begin late": Case(h5ad(put("X/indptr", lambda x: x + 1))),
    "pointers end early": Case(h5ad(put("X/indptr", lambda x: np.r_[x[:-1], x[-1] - 1]))),
    "pointers are huge": Case(h5ad(put("X/indptr", lambda x: np.r_[x[:-1].astype(np.int64), 2**62]))),
    "pointers are negative": Case(h5ad(put("X/indptr", lambda x: np.r_[x[0], -5, x[2:]]))),
    "no pointers": Case(h5ad(put("X/indptr", lambda x: x[:0]))),
    "huge pointers": Case(h5ad(declared("X/indptr", (10**11,)))),
    "huge data": Case(h5ad(lambda file: [declared(f"X/{part}", (10**12,))(file) for part in ("data", "indices")])),
    "huge dense": Case(h5ad(declared("X", (10**7, 10**6)), "dense")),
    "huge and square": Case(h5ad(declared("X", (2**31, 2**31), "f8"), "dense")),
    "a chunk of gigabytes": Case(
        h5ad(declared("X", (50_000, 10_000), "f8", chunks=(50_000, 10_000), compression="gzip"), "dense")
    ),
    "cells of 10**10": Case(h5ad(say("X", shape=np.array([10**10, N_GENES])))),
    "a negative shape": Case(h5ad(say("X", shape=np.array([-1, N_GENES])))),
    "a shape of texts": Case(h5ad(say("X", shape="12 x 30"))),
    "a shape of three": Case(h5ad(say("X", shape=np.array([12, 30, 1])))),
    "an unknown encoding": Case(h5ad(say("X", **{"encoding-type": "coo_matrix"}))),
    "an encoding that is a number": Case(h5ad(say("X", **{"encoding-type": 3}))),
    "CSC that is CSR": Case(h5ad(say("X", **{"encoding-type": "csc_matrix"}))),
    "names of 10**10 cells": Case(h5ad(declared("obs/_index", (10**10,)))),
    "names of 10**9 genes": Case(h5ad(declared("var/_index", (10**9,), "S40", compression="gzip"))),
    "a column of 10**10": Case(h5ad(declared("obs/depth", (10**10,)))),
    "categories of 10**9": Case(h5ad(declared("obs/cell_type/categories", (10**9,)))),
    "a text of gigabytes": Case(h5ad(declared("obs/_index", (N_CELLS,), "S500000000", chunks=(1,)))),
    "no index": Case(h5ad(lose("obs/_index"))),
    "an index that is not there": Case(h5ad(say("obs", _index="nope"))),
    "an index outside": Case(h5ad(say("obs", _index="../../../etc/passwd"))),
    "an index of numbers in a list": Case(h5ad(say("obs", _index=[1, 2]))),
    "columns that are not there": Case(h5ad(say("obs", **{"column-order": ["cell_type", "nope"]}))),
    "columns of numbers": Case(h5ad(say("obs", **{"column-order": [1.5, 2.5]}))),
    "a column of two dimensions": Case(h5ad(put("obs/depth", lambda x: np.column_stack([x, x])))),
    "a column too long": Case(h5ad(put("obs/depth", lambda x: np.r_[x, x]))),
    "a column that is one number": Case(h5ad(put("obs/depth", lambda x: x[0]))),
    "codes of no category": Case(h5ad(put("obs/cell_type/codes", lambda x: x + 99))),
    "codes below -1": Case(h5ad(put("obs/cell_type/codes", lambda x: x - 5))),
    "codes are texts": Case(h5ad(put("obs/cell_type/codes", lambda x: np.full(len(x), b"B")))),
    "no codes": Case(h5ad(lose("obs/cell_type/codes"))),
    "no categories": Case(h5ad(lose("obs/cell_type/categories"))),
    "categories are a group": Case(
        h5ad(lambda file: (file.__delitem__("obs/cell_type/categories"), file.create_group("obs/cell_type/categories")))
    ),
    "categories twice": Case(h5ad(put("obs/cell_type/categories", lambda x: [x[0], x[0]], dtype=h5py.string_dtype()))),
    "categories of two dimensions": Case(
        h5ad(put("obs/cell_type/categories", lambda x: [[x[0], x[1]]] * 2, dtype=h5py.string_dtype()))
    ),
    "obs is a number": Case(h5ad(link("obs", 3))),
    "obs is an array": Case(h5ad(link("obs", np.arange(N_CELLS)))),
    "obs is of an unknown encoding": Case(h5ad(say("obs", **{"encoding-type": "awkward-array"}))),
    "obs holds itself": Case(h5ad(_cycle)),
    "var is obs": Case(h5ad(lambda file: _swap(file, "obs"))),
    "a link to nothing": Case(h5ad(link("X", h5py.SoftLink("/nope")))),
    "a link to itself": Case(h5ad(link("X", h5py.SoftLink("/X")))),
    "a link to a file": Case(h5ad(link("X", h5py.ExternalLink("/etc/passwd", "/")))),
    "groups in groups in groups": Case(h5ad(_deep), "nested more than 100 deep"),
    "a link to another file's counts": Case(h5ad(_external_link), "another file"),
    "a link to another file's cells": Case(h5ad(_external_obs), "another file"),
    "counts in another file": Case(h5ad(_external_storage), "another file"),
    "a column in another file": Case(h5ad(_external_column), "another file"),
    "counts that are a view of another file": Case(h5ad(_virtual), "another file"),
    "no such layer": Case(h5ad(lambda _: None, more=', counts = { layer = "counts" }')),
    "a layer outside": Case(h5ad(lambda _: None, more=', counts = { layer = "layers/../obs" }')),
    "a layer that is obs": Case(h5ad(lambda _: None, more=', counts = { layer = "obs" }')),
    "no raw": Case(h5ad(lambda _: None, more=', counts = { layer = "raw" }')),
    "genes without names": Case(h5ad(put("var/_index", lambda x: [""] * len(x), dtype=h5py.string_dtype()))),
    "names are not UTF-8": Case(h5ad(put("var/_index", lambda x: [b"\xff\xfe"] * len(x), dtype=h5py.string_dtype()))),
    "a folder": Case(lambda folder: ((folder / "data.h5ad").mkdir(), asked(folder, "data.h5ad"))[1]),
    "a pipe": Case(lambda folder: (fifo(folder / "data.h5ad"), asked(folder, "data.h5ad"))[1], "pipe"),
    "a link to a pipe": Case(
        lambda folder: (
            fifo(folder / "pipe"), (folder / "data.h5ad").symlink_to(folder / "pipe"), asked(folder, "data.h5ad")
        )[-1],
        "pipe",
    ),
    "a loop of links": Case(
        lambda folder: ((folder / "data.h5ad").symlink_to(folder / "data.h5ad"), asked(folder, "data.h5ad"))[1]
    ),
    "an endless device": Case(
        lambda folder: ((folder / "data.h5ad").symlink_to("/dev/zero"), asked(folder, "data.h5ad"))[1], "device"
    ),
}  # fmt: skip

H5AD_LEGAL: dict[str, Case] = {
    "as it is": Case(h5ad(lambda _: None)),
    "dense": Case(h5ad(lambda _: None, "dense")),
    "by gene": Case(h5ad(lambda _: None, "csc")),
    "bytes before it": Case(raw(lambda data: bytes(512) + data)),
    "bytes behind it": Case(raw(lambda data: data + bytes(100))),
    "a pickle that nobody reads": Case(h5ad(_pickled_object)),
    "a broken part that nobody reads": Case(h5ad(lambda file: file.__setitem__("obsm/x", h5py.SoftLink("/nope")))),
    "a link inside": Case(
        h5ad(lambda file: (file.move("X/data", "elsewhere"), file.__setitem__("X/data", h5py.SoftLink("/elsewhere"))))
    ),
    "64-bit floats": Case(h5ad(put("X/data", lambda x: x.astype(np.float64)))),
    "counts in any order": Case(
        h5ad(
            lambda file: [
                put(f"X/{part}", lambda x, ends=file["X/indptr"][()]: np.concatenate(
                    [x[first:last][::-1] for first, last in pairwise(ends)]
                ))(file)
                for part in ("data", "indices")
            ]
        )
    ),
    "a column whose name is a path": Case(
        h5ad(
            lambda file: (
                file.move("obs/depth", "obs/up/../etc"),
                say("obs", **{"column-order": ["cell_type", "donor"]})(file),
            )
        )
    ),
}  # fmt: skip


# --- zarr -------------------------------------------------------------------------------------------------------------


@cache
def _zarr_template(version: int) -> Path:
    import atexit
    import tempfile
    import warnings

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with warnings.catch_warnings(), ad.settings.override(zarr_write_format=version):
        warnings.simplefilter("ignore")
        sound().write_zarr(folder / "data.zarr")
    return folder / "data.zarr"


def zarr(change: Callable[[Path], object], version: int = 3, more: str = "") -> Write:
    """Change a sound zarr folder."""

    def write(folder: Path) -> list[str]:
        shutil.copytree(_zarr_template(version), folder / "data.zarr")
        change(folder / "data.zarr")
        return asked(folder, "data.zarr", more)

    return write


def meta(key: str, change: Callable[[dict[str, Any]], object], name: str = "zarr.json") -> Callable[[Path], object]:
    """Change the metadata of a part."""

    def apply(path: Path) -> None:
        file = path / key / name
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return apply


def over(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda path: (path / name).write_bytes(content)


def gone(name: str) -> Callable[[Path], object]:
    def apply(path: Path) -> None:
        shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink()

    return apply


def first_chunk(path: Path, key: str) -> Path:
    """A file of a part's counts."""
    return min(one for one in (path / key).rglob("*") if one.is_file() and not one.name.startswith((".z", "zarr")))


def _pickle_codec(path: Path) -> None:
    """Let a part be unpacked by numcodecs' pickle."""
    meta("X/data", lambda m: m.update(filters=[{"id": "pickle", "protocol": 5}], compressor=None), ".zarray")(path)
    first_chunk(path, "X/data").write_bytes(pickle.dumps(_Evil()))


def _json_objects(path: Path) -> None:
    meta("obs/_index", lambda m: m.update(dtype="|O", filters=[{"id": "pickle"}], compressor=None), ".zarray")(path)
    first_chunk(path, "obs/_index").write_bytes(pickle.dumps(_Evil()))


def _in_chunk(change: Callable[[Path], object], key: str = "X/data") -> Callable[[Path], object]:
    return lambda path: change(first_chunk(path, key))


ZARR: dict[str, Case] = {
    "no metadata": Case(zarr(gone("zarr.json"))),
    "metadata is empty": Case(zarr(over("zarr.json", b""))),
    "metadata is no JSON": Case(zarr(over("zarr.json", b"{" * 99))),
    "metadata is deep": Case(zarr(over("zarr.json", b"[" * 100_000))),
    "metadata is a list": Case(zarr(over("zarr.json", b"[]"))),
    "metadata of another version": Case(zarr(over("zarr.json", b'{"zarr_format": 9, "node_type": "group"}'))),
    "metadata of an unknown node": Case(zarr(over("zarr.json", b'{"zarr_format": 3, "node_type": "link"}'))),
    "an array in the place of the group": Case(
        zarr(lambda path: shutil.copy(path / "obs/depth/zarr.json", path / "zarr.json"))
    ),
    "metadata is not UTF-8": Case(zarr(over("zarr.json", b"\xff\xfe{}"))),
    "metadata is a folder": Case(zarr(lambda path: ((path / "zarr.json").unlink(), (path / "zarr.json").mkdir()))),
    "no X": Case(zarr(gone("X"))),
    "no obs": Case(zarr(gone("obs"))),
    "no data": Case(zarr(gone("X/data"))),
    "no pointers": Case(zarr(gone("X/indptr"))),
    "no array metadata": Case(zarr(gone("X/data/zarr.json"))),
    "a negative shape": Case(zarr(meta("X/data", lambda m: m.update(shape=[-5])))),
    "a shape of texts": Case(zarr(meta("X/data", lambda m: m.update(shape=["many"])))),
    "a huge shape": Case(zarr(meta("X/data", lambda m: m.update(shape=[10**12])))),
    "a shape beyond 64 bits": Case(zarr(meta("X/data", lambda m: m.update(shape=[10**30])))),
    "a chunk of gigabytes": Case(
        zarr(meta("X/data", lambda m: m["chunk_grid"]["configuration"].update(chunk_shape=[10**11])))
    ),
    "chunks of nothing": Case(
        zarr(meta("X/data", lambda m: m["chunk_grid"]["configuration"].update(chunk_shape=[0])))
    ),
    "an unknown grid": Case(zarr(meta("X/data", lambda m: m["chunk_grid"].update(name="hexagonal")))),
    "an unknown type": Case(zarr(meta("X/data", lambda m: m.update(data_type="quaternion")))),
    "an unknown codec": Case(zarr(meta("X/data", lambda m: m.update(codecs=[{"name": "rot13"}])))),
    "a codec that runs code": Case(zarr(_pickle_codec, 2)),
    "names that run code": Case(zarr(_json_objects, 2)),
    "another codec": Case(
        zarr(
            meta(
                "X/data",
                lambda m: m.update(codecs=[{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 1}}]),
            )
        )
    ),
    "names of 10**10 cells": Case(zarr(meta("obs/_index", lambda m: m.update(shape=[10**10])))),
    "names of another number": Case(zarr(meta("obs/_index", lambda m: m.update(shape=[5])))),
    "a chunk is empty": Case(zarr(_in_chunk(lambda file: file.write_bytes(b"")))),
    "a chunk is cut": Case(zarr(_in_chunk(lambda file: file.write_bytes(file.read_bytes()[:9])))),
    "a chunk is noise": Case(zarr(_in_chunk(lambda file: file.write_bytes(bytes(range(256)))))),
    "a chunk is gone": Case(zarr(_in_chunk(Path.unlink))),
    "a chunk is a folder": Case(zarr(_in_chunk(lambda file: (file.unlink(), file.mkdir())))),
    "a chunk is a pipe": Case(zarr(_in_chunk(fifo)), "pipe"),
    "metadata is a pipe": Case(zarr(lambda path: fifo(path / "X/zarr.json")), "pipe"),
    "a chunk of names is a pipe": Case(zarr(_in_chunk(fifo, "obs/_index")), "pipe"),
    "a chunk is a device": Case(
        zarr(_in_chunk(lambda file: (file.unlink(), file.symlink_to("/dev/zero")))), "device"
    ),
    "version 2: no metadata of an array": Case(zarr(gone("X/data/.zarray"), 2)),
    "version 2: metadata is no JSON": Case(zarr(over("X/data/.zarray", b"nope"), 2)),
    "version 2: an unknown compressor": Case(
        zarr(meta("X/data", lambda m: m.update(compressor={"id": "nope"}), ".zarray"), 2)
    ),
    "version 2: a type that is no type": Case(zarr(meta("X/data", lambda m: m.update(dtype="<q99"), ".zarray"), 2)),
    "version 2: a huge shape": Case(zarr(meta("X/indptr", lambda m: m.update(shape=[10**13]), ".zarray"), 2)),
    "a file": Case(lambda folder: ((folder / "data.zarr").write_bytes(b"zarr"), asked(folder, "data.zarr"))[1]),
    "an empty folder": Case(lambda folder: ((folder / "data.zarr").mkdir(), asked(folder, "data.zarr"))[1]),
    "a zip": Case(
        lambda folder: (
            zipfile.ZipFile(folder / "data.zarr", "w").close(), asked(folder, "data.zarr")
        )[1]
    ),
}  # fmt: skip

ZARR_LEGAL: dict[str, Case] = {
    "version 3": Case(zarr(lambda _: None)),
    "version 2": Case(zarr(lambda _: None, 2)),
    "other files in it": Case(zarr(over("README.txt", b"hello"))),
    "a link to the folder": Case(
        lambda folder: (
            shutil.copytree(_zarr_template(3), folder / "far"),
            (folder / "data.zarr").symlink_to(folder / "far"),
            asked(folder, "data.zarr"),
        )[-1]
    ),
}


# --- 10x --------------------------------------------------------------------------------------------------------------


def _tenx_texts() -> dict[str, bytes]:
    found = counts()
    rows, columns = np.nonzero(found)
    lines = [f"{gene + 1} {cell + 1} {found[cell, gene]}" for cell, gene in zip(rows, columns, strict=True)]
    head = f"%%MatrixMarket matrix coordinate integer general\n{N_GENES} {N_CELLS} {len(lines)}\n"
    return {
        "matrix.mtx": (head + "\n".join(lines) + "\n").encode(),
        "features.tsv": "".join(f"G{at}\tG{at}\tGene Expression\n" for at in range(N_GENES)).encode(),
        "barcodes.tsv": "".join(f"cell{at}\n" for at in range(N_CELLS)).encode(),
    }


def mtx(**changes: Callable[[bytes], bytes | None]) -> Write:
    """Change one of the three texts, or leave it out."""

    def write(folder: Path) -> list[str]:
        place = folder / "filtered"
        place.mkdir()
        for name, content in _tenx_texts().items():
            change = changes.get(name.partition(".")[0], lambda same: same)
            if (changed := change(content)) is not None:
                (place / name).write_bytes(changed)
        return asked(folder, "filtered")

    return write


def zipped(**changes: Callable[[bytes], bytes]) -> Write:
    """Pack the three texts, and change some of what comes of it."""

    def write(folder: Path) -> list[str]:
        place = folder / "filtered"
        place.mkdir()
        for name, content in _tenx_texts().items():
            packed = gzip.compress(content)
            change = changes.get(name.partition(".")[0])
            (place / f"{name}.gz").write_bytes(change(packed) if change else packed)
        return asked(folder, "filtered")

    return write


def line(at: int, text: bytes) -> Callable[[bytes], bytes]:
    """Put a line in the place of another."""

    def change(content: bytes) -> bytes:
        lines = content.split(b"\n")
        lines[at] = text
        return b"\n".join(lines)

    return change


def _piped(name: str) -> Write:
    def write(folder: Path) -> list[str]:
        arguments = mtx()(folder)
        fifo(folder / "filtered" / name)
        return arguments

    return write


MTX: dict[str, Case] = {
    "no matrix": Case(mtx(matrix=lambda _: b"")),
    "no features": Case(mtx(features=lambda _: None)),
    "no barcodes": Case(mtx(barcodes=lambda _: None)),
    "empty barcodes": Case(mtx(barcodes=lambda _: b"")),
    "empty features": Case(mtx(features=lambda _: b"")),
    "no header": Case(mtx(matrix=line(0, b"1 1 1"))),
    "an array": Case(mtx(matrix=line(0, b"%%MatrixMarket matrix array integer general"))),
    "a pattern": Case(mtx(matrix=line(0, b"%%MatrixMarket matrix coordinate pattern general"))),
    "symmetric": Case(mtx(matrix=line(0, b"%%MatrixMarket matrix coordinate integer symmetric"))),
    "complex": Case(mtx(matrix=line(0, b"%%MatrixMarket matrix coordinate complex general"))),
    "not ASCII": Case(mtx(matrix=line(0, b"\xff\xfe\x00"))),
    "no sizes": Case(mtx(matrix=lambda text: text.split(b"\n")[0])),
    "two sizes": Case(mtx(matrix=line(1, b"30 12"))),
    "negative sizes": Case(mtx(matrix=line(1, b"-30 12 99"))),
    "more counts than genes and cells": Case(mtx(matrix=line(1, b"12 30 9999999999999")), "more than there can be"),
    "sizes of thousands of digits": Case(mtx(matrix=line(1, b"9" * 5000 + b" 12 99"))),
    "huge sizes": Case(mtx(matrix=line(1, b"30 999999999999999999 10"))),
    "more genes than features": Case(mtx(matrix=line(1, b"31 12 10"))),
    "more counts than lines": Case(mtx(matrix=line(1, f"{N_GENES} {N_CELLS} 99999".encode()))),
    "fewer counts than lines": Case(mtx(matrix=line(1, f"{N_GENES} {N_CELLS} 3".encode()))),
    "a gene that is not there": Case(mtx(matrix=line(2, b"99 1 4"))),
    "a cell that is not there": Case(mtx(matrix=line(2, b"1 99 4"))),
    "gene 0": Case(mtx(matrix=line(2, b"0 1 4"))),
    "a negative count": Case(mtx(matrix=line(2, b"1 1 -4"))),
    "a text for a count": Case(mtx(matrix=line(2, b"1 1 many"))),
    "a fraction for a count": Case(mtx(matrix=line(2, b"1 1 4.5"))),
    "a line of two": Case(mtx(matrix=line(2, b"1 1"))),
    "a line of four": Case(mtx(matrix=line(2, b"1 1 4 4"))),
    "a count of 30 digits": Case(mtx(matrix=line(2, b"1 1 " + b"9" * 30))),
    "a count of 10**5 digits": Case(mtx(matrix=line(2, b"1 1 " + b"9" * 10**5))),
    "zeros for digits": Case(mtx(matrix=lambda text: text[:60] + bytes(60))),
    "one line too few": Case(mtx(matrix=lambda text: text[: text.rindex(b"\n", 0, -1)])),
    "too many barcodes": Case(mtx(barcodes=lambda text: text * 3)),
    "a barcode too few": Case(mtx(barcodes=lambda text: text.replace(b"cell11\n", b""))),
    "barcodes of binary": Case(mtx(barcodes=lambda _: bytes(range(256)) * 9)),
    "a feature too few": Case(mtx(features=lambda text: text[: text.rindex(b"\nG29")])),
    "features of binary": Case(mtx(features=lambda _: bytes(range(255, 0, -1)))),
    "a pipe for barcodes": Case(_piped("barcodes.tsv"), "pipe"),
    "a pipe for features": Case(_piped("features.tsv"), "pipe"),
    "a pipe for the matrix": Case(_piped("matrix.mtx"), "pipe"),
    "packed and cut": Case(zipped(matrix=lambda packed: packed[:-20])),
    "packed and empty": Case(zipped(matrix=lambda _: b"")),
    "not packed": Case(zipped(matrix=gzip.decompress)),
    "packed with a wrong checksum": Case(zipped(matrix=lambda packed: packed[:-8] + b"\0\0\0\0" + packed[-4:])),
    "packed and flipped": Case(zipped(barcodes=lambda packed: packed[:15] + b"\xff" + packed[16:])),
}

MTX_LEGAL: dict[str, Case] = {
    "as it is": Case(mtx()),
    "packed": Case(zipped()),
    "comments and empty lines": Case(mtx(matrix=lambda text: text.replace(b"general\n", b"general\n%\n% hi\n\n"))),
    "lines of DOS": Case(mtx(barcodes=lambda text: text.replace(b"\n", b"\r\n"))),
    "a mark of the byte order": Case(mtx(features=lambda text: b"\xef\xbb\xbf" + text)),
}


def tenx(change: Change) -> Write:
    """Change a sound .h5 of Cell Ranger 3."""

    def write(folder: Path) -> list[str]:
        found = csr_matrix(counts())
        with h5py.File(folder / "data.h5", "w") as file:
            group = file.create_group("matrix")
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(found, name)
            group["shape"] = np.array([N_GENES, N_CELLS], np.int32)
            group["barcodes"] = np.array([f"cell{at}" for at in range(N_CELLS)], "S")
            features = group.create_group("features")
            features["id"] = features["name"] = np.array([f"G{at}" for at in range(N_GENES)], "S")
            features["feature_type"] = np.array(["Gene Expression"] * N_GENES, "S")
            change(file)
        return asked(folder, "data.h5")

    return write


def _outside_barcodes(file: h5py.File) -> None:
    other = Path(file.filename).with_name("other.h5")
    with h5py.File(other, "w") as outside:
        file.copy("matrix/barcodes", outside)
    link("matrix/barcodes", h5py.ExternalLink(str(other), "/barcodes"))(file)


TENX: dict[str, Case] = {
    "no matrix": Case(tenx(lose("matrix"))),
    "no barcodes": Case(tenx(lose("matrix/barcodes"))),
    "no features": Case(tenx(lose("matrix/features"))),
    "no ids": Case(tenx(lose("matrix/features/id"))),
    "no shape": Case(tenx(lose("matrix/shape"))),
    "a negative shape": Case(tenx(put("matrix/shape", lambda x: -x))),
    "a shape of one": Case(tenx(put("matrix/shape", lambda x: x[:1]))),
    "a shape of fractions": Case(tenx(put("matrix/shape", lambda x: x + 0.5))),
    "a shape that is a group": Case(
        tenx(lambda file: (file.__delitem__("matrix/shape"), file.create_group("matrix/shape")))
    ),
    "a huge shape": Case(tenx(put("matrix/shape", lambda x: np.array([x[0], 2**40])))),
    "a shape turned round": Case(tenx(put("matrix/shape", lambda x: x[::-1]))),
    "barcodes are numbers": Case(tenx(put("matrix/barcodes", lambda x: np.arange(len(x))))),
    "barcodes too few": Case(tenx(put("matrix/barcodes", lambda x: x[:-1]))),
    "barcodes of two dimensions": Case(tenx(put("matrix/barcodes", lambda x: x[None]))),
    "10**10 barcodes": Case(tenx(declared("matrix/barcodes", (10**10,)))),
    "ids too few": Case(tenx(put("matrix/features/id", lambda x: x[:-2]))),
    "names too few": Case(tenx(put("matrix/features/name", lambda x: x[:-2]))),
    "ids are not UTF-8": Case(tenx(put("matrix/features/id", lambda x: np.full(len(x), b"\xff\xfe")))),
    "indices are short": Case(tenx(put("matrix/indices", lambda x: x[:-3]))),
    "indices are large": Case(tenx(put("matrix/indices", lambda x: x + 10**6))),
    "pointers descend": Case(tenx(put("matrix/indptr", lambda x: x[::-1]))),
    "data is texts": Case(tenx(put("matrix/data", lambda x: x.astype("S")))),
    "huge data": Case(tenx(lambda file: [declared(f"matrix/{part}", (10**12,))(file) for part in ("data", "indices")])),
    "barcodes in another file": Case(tenx(_outside_barcodes), "another file"),
    "the matrix is a link to itself": Case(tenx(link("matrix", h5py.SoftLink("/matrix")))),
    "no HDF5": Case(lambda folder: ((folder / "data.h5").write_text("no"), asked(folder, "data.h5"))[1]),
    "a pipe": Case(lambda folder: (fifo(folder / "data.h5"), asked(folder, "data.h5"))[1], "pipe"),
}  # fmt: skip


# --- studies ----------------------------------------------------------------------------------------------------------


def text_of(change: Callable[[str], str]) -> Write:
    """Change the text of a sound study of a data set that comes with the package."""

    def write(folder: Path) -> list[str]:
        sound_text = STUDY.format(path="x", more="").replace('path = "x"', 'dataset = "pbmc3k"')
        (folder / "study.toml").write_text(change(sound_text), encoding="utf-8")
        return ["compose", str(folder / "study.toml"), "-o", str(folder / "out")]

    return write


def content(data: bytes) -> Write:
    """Take any bytes for a study."""

    def write(folder: Path) -> list[str]:
        (folder / "study.toml").write_bytes(data)
        return ["check", str(folder / "study.toml")]

    return write


def swapped(old: str, new: str) -> Write:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return text_of(change)


def where(expression: str) -> Write:
    """Filter the source."""
    return swapped("sources.s = {", f"sources.s = {{ where = {json.dumps(expression)},")


def _of_folder(name: str, code: str, component: str) -> Write:
    """Name a component of a module of one's own."""

    def write(folder: Path) -> list[str]:
        (folder / f"{name}.py").write_text(code)
        return swapped("toy:MeanProfile", f"{name}:{component}")(folder)

    return write


QUIT = "import sys\nsys.exit(0)"
STUDIES: dict[str, Case] = {
    "empty": Case(content(b"")),
    "zeros": Case(content(bytes(99))),
    "not UTF-8": Case(content(b"\xff\xfe\x00")),
    "UTF-16": Case(content('name = "x"'.encode("utf-16"))),
    "not TOML": Case(content(b"name = ")),
    "JSON": Case(content(b'{"name": "x"}')),
    "YAML": Case(content(b"name: x\n")),
    "a pickle": Case(content(pickle.dumps(_Evil()))),
    "a key twice": Case(content(b'name = "a"\nname = "b"\n')),
    "brackets": Case(content(b"x = " + b"[" * 100_000)),
    "inline tables": Case(content(b"x = " + b"{ a = " * 5000)),
    "a hexadecimal number of 4,000 digits": Case(content(b"seeds = 0x" + b"f" * 4000)),
    "an octal number of 10**5 digits": Case(content(b"seeds = 0o" + b"7" * 10**5)),
    "a binary number of 10**5 digits": Case(content(b"seeds = 0b" + b"1" * 10**5)),
    "a number of 10**6 digits": Case(content(b"seeds = " + b"9" * 10**6)),
    "a fraction of 10**6 digits": Case(content(b"seeds = 0." + b"9" * 10**6)),
    "a dotted key of 10**5 parts": Case(content(b".".join([b"a"] * 10**5) + b" = 1")),
    "a table of 10**5 parts": Case(content(b"[" + b".".join([b"a"] * 10**5) + b"]")),
    "10,000 tables": Case(content(b"".join(b"[a%d]\n" % at for at in range(10_000)))),
    "100,000 keys": Case(content(b"".join(b"k%d = 1\n" % at for at in range(100_000)))),
    "a key of 10**6 letters": Case(content(b"a" * 10**6 + b" = 1")),
    "a text of 10**7 letters": Case(content(b'name = "' + b"a" * 10**7 + b'"')),
    "a date": Case(content(b"name = 2020-01-01\n")),
    "infinite": Case(swapped("share = 0.3", "share = inf")),
    "not a number": Case(swapped("share = 0.3", "share = nan")),
    "a share above 1": Case(swapped("share = 0.3", "share = 1.5")),
    "a share of 0": Case(swapped("share = 0.3", "share = 0")),
    "no seeds": Case(swapped("seeds = 1", "seeds = 0")),
    "negative seeds": Case(swapped("seeds = 1", "seeds = -1")),
    "seeds beyond 64 bits": Case(swapped("seeds = 1", f"seeds = {2**64}")),
    "10**12 seeds": Case(swapped("seeds = 1", "seeds = 1_000_000_000_000")),
    "seeds that are true": Case(swapped("seeds = 1", "seeds = true")),
    "a table for a name": Case(swapped('name = "odd"', "name = {}")),
    "an empty name": Case(swapped('name = "odd"', 'name = ""')),
    "no corpora": Case(swapped("corpora = [", "corpora = []\nunknown = [")),
    "a corpus without a name": Case(swapped('name = "A", parts', "parts")),
    "parts of another kind": Case(swapped('parts = [{ source = "s", n_cells = 4 }]', 'parts = "all"')),
    "10**9 cells": Case(swapped("n_cells = 4", "n_cells = 1_000_000_000")),
    "no cells": Case(swapped("n_cells = 4", "n_cells = 0")),
    "a fraction of cells": Case(swapped("n_cells = 4", "n_cells = 4.5")),
    "no such source": Case(swapped('source = "s"', 'source = "t"')),
    "no such sampler": Case(swapped("n_cells = 4", 'n_cells = 4, sampler = "nope"')),
    "a sampler outside": Case(swapped("n_cells = 4", 'n_cells = 4, sampler = "../../evil"')),
    "a sampler that is a function": Case(swapped("n_cells = 4", 'n_cells = 4, sampler = "os:system"')),
    "a model that is a function": Case(swapped("toy:MeanProfile", "subprocess:run")),
    "a model without a module": Case(swapped("toy:MeanProfile", ":MeanProfile")),
    "a model without a class": Case(swapped("toy:MeanProfile", "toy:")),
    "a model of a module that is not there": Case(swapped("toy:MeanProfile", "no.such:Thing")),
    "a module with a null": Case(swapped("toy:MeanProfile", "to\\u0000y:MeanProfile")),
    "a module that exits": Case(_of_folder("quits_at_import", QUIT, "Model"), "cannot import"),
    "a module that ends the process": Case(
        _of_folder("ends_at_import", "import os\nos._exit(0)", "Model"), "os._exit(0)"
    ),
    "a module that ends in an error": Case(_of_folder("fails_at_import", "1 / 0", "Model"), "cannot import"),
    "a module that recurses": Case(_of_folder("deep_at_import", "def f(): f()\nf()", "Model"), "cannot import"),
    "a module that is no Python": Case(_of_folder("no_python", "def (", "Model"), "cannot import"),
    "a module with a null byte": Case(_of_folder("null_python", "x = 1\0", "Model"), "cannot import"),
    "no such dataset": Case(swapped('"pbmc3k"', '"nope"')),
    "a dataset outside": Case(swapped('"pbmc3k"', '"../../../etc/passwd"')),
    "a dataset with a null": Case(swapped('"pbmc3k"', '"pbmc\\u00003k"')),
    "a path with a null": Case(swapped('dataset = "pbmc3k"', 'path = "a\\u0000.h5ad"')),
    "a path of 10**5 letters": Case(swapped('dataset = "pbmc3k"', f'path = "{"a" * 10**5}.h5ad"')),
    "a path of stars": Case(swapped('dataset = "pbmc3k"', f'path = "{"*" * 2000}a.h5ad"')),
    "a path of nested stars": Case(swapped('dataset = "pbmc3k"', 'path = "a/**/b/**/nope*.h5ad"')),
    "no path": Case(swapped('dataset = "pbmc3k"', 'path = ""')),
    "an empty list of paths": Case(swapped('dataset = "pbmc3k"', "path = []")),
    "a path of the web": Case(swapped('dataset = "pbmc3k"', 'path = "https://example.org/a.h5ad"')),
    "a path of the system": Case(swapped('dataset = "pbmc3k"', 'path = "/dev/zero"')),
    "a terminal's path": Case(swapped('dataset = "pbmc3k"', 'path = "/dev/stdin"')),
    "an unknown key": Case(swapped("seeds = 1", "seeds = 1\nevil = 1")),
    "an unknown task": Case(swapped('name = "reconstruction"', 'name = "nope"')),
    "a task on nothing": Case(swapped('on = ["s"]', "on = []")),
    "a target that is not there": Case(swapped('on = ["s"]', 'on = ["t"]')),
    "where: code": Case(where("__import__('os').system('touch pwned')")),
    "where: an attribute": Case(where("cell_type.__class__ == 'x'")),
    "where: an index": Case(where("cell_type[0] == 'x'")),
    "where: a lambda": Case(where("(lambda: 1)() == 1")),
    "where: an f-string": Case(where("cell_type == f'{1}'")),
    "where: a comprehension": Case(where("cell_type in [x for x in 'ab']")),
    "where: a walrus": Case(where("(x := 1) == 1")),
    "where: a power": Case(where("n == 9 ** 9 ** 9")),
    "where: no expression": Case(where("cell_type ==")),
    "where: empty": Case(where("")),
    "where: a null": Case(where("cell_type == '\0'x")),
    "where: a quote that does not end": Case(where("cell_type == '" + "a" * 10_000)),
    "where: backslashes": Case(where("'" + "\\'" * 50_000)),
    "where: backticks": Case(where("`" * 50_001)),
    "where: 10**5 brackets": Case(where("(" * 10**5)),
    "where: 10**5 times not": Case(where("not " * 10**5 + "a")),
    "where: a number of 10**5 digits": Case(where("n == " + "9" * 10**5)),
    "where: 2 * 10**6 letters": Case(where("a == '" + "b" * 2 * 10**6 + "'")),
    "where: surrogates": Case(where("a == '\ud800'".encode("utf-16", "surrogatepass").decode("utf-16", "replace"))),
    "where: bytes": Case(where("cell_type == b'x'")),
    "where: None": Case(where("cell_type == None")),
    "where: a complex number": Case(where("n == 3j")),
    "where: texts and numbers": Case(where("cell_type > 3")),
    "no file": Case(lambda folder: ["check", str(folder / "nope.toml")]),
    "a folder": Case(lambda folder: ["check", str(folder)]),
    "a pipe": Case(lambda folder: (fifo(folder / "s.toml"), ["check", str(folder / "s.toml")])[1], "pipe"),
    "a device": Case(lambda folder: ["check", "/dev/zero"], "device"),
    "an output that is a file": Case(
        lambda folder: ((folder / "out").write_text("mine"), text_of(lambda text: text)(folder))[1]
    ),
    "an output that is a pipe": Case(lambda folder: (fifo(folder / "out"), text_of(lambda text: text)(folder))[1]),
    "an output with a null": Case(lambda folder: [*text_of(lambda text: text)(folder)[:-1], f"{folder}/a\0b"]),
    "an output of 10**4 letters": Case(
        lambda folder: [*text_of(lambda text: text)(folder)[:-1], f"{folder}/{'a' * 10**4}"]
    ),
    "an output whose study is a pipe": Case(
        lambda folder: (
            (folder / "out").mkdir(), fifo(folder / "out" / "study.toml"), text_of(lambda text: text)(folder)
        )[-1]
    ),
    "a store that is a file": Case(
        lambda folder: (
            (folder / "st").write_text("mine"),
            [*text_of(lambda text: text)(folder), "--store", str(folder / "st")],
        )[-1]
    ),
}  # fmt: skip


# --- tables of scores -------------------------------------------------------------------------------------------------

SCORES = "corpus,seed,metric,value\n" + "".join(
    f"{name},{seed},f1,0.{seed + bonus}\n" for name, bonus in (("A", 1), ("B", 4)) for seed in range(3)
)


def table(data: bytes | str, name: str = "scores.csv") -> Write:
    """Take any bytes for a table of scores."""

    def write(folder: Path) -> list[str]:
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
        return ["analyse", str(folder / name), "-o", str(folder / "out")]

    return write


def frame(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Write:
    """Change a sound table of scores in parquet."""

    def write(folder: Path) -> list[str]:
        import io

        change(pd.read_csv(io.StringIO(SCORES))).to_parquet(folder / "scores.parquet")
        return ["analyse", str(folder / "scores.parquet"), "-o", str(folder / "out")]

    return write


@cache
def _parquet_bytes() -> bytes:
    import io

    buffer = io.BytesIO()
    pd.read_csv(io.StringIO(SCORES)).to_parquet(buffer)
    return buffer.getvalue()


TABLES: dict[str, Case] = {
    "empty": Case(table("")),
    "only names": Case(table("corpus,seed,metric,value\n")),
    "no names": Case(table("A,1,f1,0.5\n")),
    "lines of nothing": Case(table("\n" * 1000)),
    "zeros": Case(table(bytes(1000))),
    "not UTF-8": Case(table(b"corpus,seed,metric,value\n\xff\xfe,1,f1,0.5\n")),
    "UTF-16": Case(table(SCORES.encode("utf-16"))),
    "a name twice": Case(table(SCORES.replace("corpus,seed", "corpus,corpus"))),
    "too many cells": Case(table(SCORES + "A,1,f1,0.5,9,9\n")),
    "too few cells": Case(table(SCORES + "A\n")),
    "a quote that does not end": Case(table(SCORES + '"A,1,f1,0.5\n' * 100)),
    "a text for a value": Case(table(SCORES + "A,9,f1,high\n")),
    "an infinite value": Case(table(SCORES + "A,9,f1,inf\n")),
    "a fraction for a seed": Case(table(SCORES + "A,1.5,f1,0.5\n")),
    "a seed of 30 digits": Case(table(SCORES + f"A,{10**30},f1,0.5\n")),
    "no corpus": Case(table(SCORES + ",9,f1,0.5\n")),
    "a row twice": Case(table(SCORES + "A,1,f1,0.5\n")),
    "tabs": Case(table(SCORES.replace(",", "\t"))),
    "a direction that is none": Case(table("corpus,seed,metric,value,better\nA,1,f1,0.5,up\n")),
    "a scale that is none": Case(table("corpus,seed,metric,value,scale\nA,1,f1,0.5,log\n")),
    "donors and units": Case(table("corpus,seed,metric,value,donor,unit\nA,1,f1,0.5,d,all\n")),
    "a text of kilobytes for a seed": Case(table(SCORES + f"A,{'9' * 100_000},f1,0.5\n")),
    "another ending": Case(table(SCORES, "scores.xlsx")),
    "a pickle": Case(table(pickle.dumps(_Evil()), "scores.parquet")),
    "parquet: empty": Case(table(b"", "scores.parquet")),
    "parquet: a mark and nothing": Case(table(b"PAR1PAR1", "scores.parquet")),
    "parquet: cut": Case(table(_parquet_bytes()[:-9], "scores.parquet")),
    "parquet: a huge foot": Case(
        table(_parquet_bytes()[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1", "scores.parquet")
    ),
    "parquet: noise inside": Case(
        table(_parquet_bytes()[:20] + bytes(200) + _parquet_bytes()[220:], "scores.parquet")
    ),
    "parquet: a CSV": Case(table(SCORES, "scores.parquet")),
    "parquet: lists": Case(frame(lambda t: t.assign(value=[[1.0]] * len(t)))),
    "parquet: a column lost": Case(frame(lambda t: t.drop(columns="value"))),
    "parquet: dates for seeds": Case(frame(lambda t: t.assign(seed=pd.Timestamp("2020-01-01")))),
    "parquet: objects for corpora": Case(frame(lambda t: t.assign(corpus=[{"a": 1}] * len(t)))),
    "parquet: no rows": Case(frame(lambda t: t.iloc[:0])),
    "no file": Case(lambda folder: ["analyse", str(folder / "nope.csv"), "-o", str(folder / "out")]),
    "a folder": Case(
        lambda folder: ((folder / "a.csv").mkdir(), ["analyse", str(folder / "a.csv"), "-o", str(folder / "out")])[1]
    ),
    "a pipe": Case(
        lambda folder: (fifo(folder / "a.csv"), ["analyse", str(folder / "a.csv"), "-o", str(folder / "out")])[1],
        "pipe",
    ),
    "a pipe of parquet": Case(
        lambda folder: (fifo(folder / "a.parquet"), ["analyse", str(folder / "a.parquet"), "-o", str(folder / "o")])[1],
        "pipe",
    ),
    "a device": Case(
        lambda folder: (
            (folder / "a.csv").symlink_to("/dev/zero"), ["analyse", str(folder / "a.csv"), "-o", str(folder / "o")]
        )[1],
        "device",
    ),
}  # fmt: skip

TABLES_LEGAL: dict[str, Case] = {
    "as it is": Case(table(SCORES)),
    "parquet": Case(frame(lambda t: t)),
    "names that are formulas": Case(table(SCORES.replace("A,", "=cmd|'/c calc'!A1,").replace("B,", "+1+1,"))),
    "names that are markup": Case(table(SCORES.replace("A,", "<script>alert(1)</script>,"))),
    "names that are codes": Case(table(SCORES.replace("A,", "\x1b[31mred,"))),
    "names that are paths": Case(table(SCORES.replace("A,", "../../pwned,"))),
}


# --- checkpoints ------------------------------------------------------------------------------------------------------


def weights(**files: bytes) -> Write:
    """Take any files for a folder of published weights; double underscores are dots."""

    def write(folder: Path) -> list[str]:
        (folder / "weights").mkdir()
        for name, data in files.items():
            (folder / "weights" / name.replace("__", ".")).write_bytes(data)
        return ["checkpoint", str(folder / "weights")]

    return write


def tensors(header: Mapping[str, Any] | bytes, size: int | None = None, data: bytes = b"") -> bytes:
    """A safetensors file with any header, which says that it has any size."""
    written = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(written) if size is None else size) + written + data


GENEFORMER = json.dumps(
    {"architectures": ["BertForMaskedLM"], "model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1,
     "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 16, "vocab_size": 10,
     "hidden_act": "relu", "layer_norm_eps": 1e-12, "pad_token_id": 0, "initializer_range": 0.02}
).encode()  # fmt: skip
ONE = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def _zip(entries: Mapping[str, bytes]) -> bytes:
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


CHECKPOINTS: dict[str, Case] = {
    "no folder": Case(lambda folder: ["checkpoint", str(folder / "nope")]),
    "an empty folder": Case(weights()),
    "other files": Case(weights(README__md=b"hello")),
    "an empty file": Case(weights(config__json=GENEFORMER, model__safetensors=b"")),
    "a header of 2**63": Case(weights(config__json=GENEFORMER, model__safetensors=tensors(b"{}", 2**63))),
    "a header of 10**9": Case(weights(config__json=GENEFORMER, model__safetensors=tensors(b"{}", 10**9))),
    "a header that is no JSON": Case(weights(config__json=GENEFORMER, model__safetensors=tensors(b"nope"))),
    "a header of brackets": Case(weights(config__json=GENEFORMER, model__safetensors=tensors(b"[" * 50_000))),
    "a tensor beyond the file": Case(weights(config__json=GENEFORMER, model__safetensors=tensors(ONE))),
    "a tensor of 2**60": Case(
        weights(config__json=GENEFORMER, model__safetensors=tensors(
            {"a": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 8]}}, data=bytes(8)))
    ),
    "tensors that lie on each other": Case(
        weights(config__json=GENEFORMER, model__safetensors=tensors({**ONE, "b": ONE["a"]}, data=bytes(8)))
    ),
    "offsets turned round": Case(
        weights(config__json=GENEFORMER, model__safetensors=tensors(
            {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, data=bytes(8)))
    ),
    "an unknown type": Case(
        weights(config__json=GENEFORMER, model__safetensors=tensors(
            {"a": {"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}}, data=bytes(8)))
    ),
    "tensors of another model": Case(weights(config__json=GENEFORMER, model__safetensors=tensors(ONE, data=bytes(8)))),
    "settings that are no JSON": Case(weights(config__json=b"nope", model__safetensors=tensors(ONE, data=bytes(8)))),
    "settings that are a list": Case(weights(config__json=b"[]", model__safetensors=tensors(ONE, data=bytes(8)))),
    "settings that are deep": Case(weights(config__json=b"[" * 10**5, model__safetensors=tensors(ONE, data=bytes(8)))),
    "settings of 10**12 layers": Case(
        weights(config__json=GENEFORMER.replace(b'layers": 1', b'layers": 1000000000000'),
                model__safetensors=tensors(ONE, data=bytes(8)))
    ),
    "weights that run code": Case(weights(config__json=GENEFORMER, pytorch_model__bin=pickle.dumps(_Evil()))),
    "a zip that runs code": Case(
        weights(
            config__json=GENEFORMER,
            pytorch_model__bin=_zip({"a/data.pkl": pickle.dumps(_Evil()), "a/version": b"3"}),
        )
    ),
    "a zip of nothing": Case(weights(config__json=GENEFORMER, pytorch_model__bin=_zip({}))),
    "a dictionary that runs code": Case(
        weights(args__json=b"{}", vocab__json=b"{}", best_model__pt=pickle.dumps(_Evil()))
    ),
    "a vocabulary of another kind": Case(
        weights(args__json=b"[1]", vocab__json=b"[]", best_model__pt=_zip({"a/data.pkl": b"."}))
    ),
    "a pipe": Case(
        lambda folder: (
            weights(config__json=GENEFORMER)(folder),
            fifo(folder / "weights" / "model.safetensors"),
            ["checkpoint", str(folder / "weights")],
        )[-1],
    ),
    "settings from a pipe": Case(
        lambda folder: (
            weights(model__safetensors=tensors(ONE, data=bytes(8)))(folder),
            fifo(folder / "weights" / "config.json"),
            ["checkpoint", str(folder / "weights")],
        )[-1],
    ),
}  # fmt: skip

# --- what unpacks to gigabytes ----------------------------------------------------------------------------------------

ZEROS = gzip.compress(bytes(1 << 20))
HEAD = b"%%MatrixMarket matrix coordinate integer general\n"


def _times(block: bytes, n: int = 2500) -> bytes:
    """A gzip file that unpacks to so many times a megabyte."""
    return gzip.compress(block) * n


def _packed_dataset(file: h5py.File, key: str, length: int, dtype: str) -> None:
    """Write zeros of any length, each chunk of them packed to a thousandth."""
    import zlib

    attributes, chunk = dict(file[key].attrs), 1 << 22
    del file[key]
    made = file.create_dataset(key, (length,), dtype, chunks=(chunk,), compression="gzip")
    block = zlib.compress(bytes(chunk * made.dtype.itemsize))
    for start in range(0, length, chunk):
        made.id.write_direct_chunk((start,), block)
    file[key].attrs.update(attributes)


def _many_cells(file: h5py.File) -> None:
    """Let there be 33 million cells without counts, in a file of less than a megabyte."""
    n = 32 << 20
    for name in ("cell_type", "donor", "depth"):
        del file[f"obs/{name}"]
    file["obs"].attrs["column-order"] = np.array([], "S1")
    _packed_dataset(file, "obs/_index", n, "S1")
    _packed_dataset(file, "X/indptr", n + 1, "i4")
    for name in ("data", "indices"):
        put(f"X/{name}", lambda x: x[:0])(file)
    file["X"].attrs["shape"] = np.array([n, N_GENES])


def _swollen_chunk(file: h5py.File) -> None:
    """Let a chunk of a few numbers unpack to far more."""
    import zlib

    attributes, length = dict(file["X/data"].attrs), file["X/data"].shape[0]
    del file["X/data"]
    made = file.create_dataset("X/data", (length,), "i4", chunks=(length,), compression="gzip")
    packer = zlib.compressobj()
    packed = b"".join([packer.compress(bytes(1 << 24)) for _ in range(12)]) + packer.flush()
    made.id.write_direct_chunk((0,), packed)
    file["X/data"].attrs.update(attributes)


BOMBS: dict[str, Case] = {
    "cells by the million": Case(h5ad(_many_cells)),
    "a chunk of h5ad": Case(h5ad(_swollen_chunk), "stored in far more"),
    "a chunk of zarr": Case(
        zarr(_in_chunk(lambda file: file.write_bytes(ZEROS * 4000))), "stored in far more"
    ),
    "one line of barcodes": Case(zipped(barcodes=lambda _: ZEROS * 2500), "has a line of more than"),
    "lines of barcodes": Case(zipped(barcodes=lambda _: _times(b"AC\n" * 350_000))),
    "a comment of a matrix": Case(zipped(matrix=lambda _: gzip.compress(HEAD + b"%") + ZEROS * 2500)),
    "counts of a matrix": Case(
        zipped(matrix=lambda _: gzip.compress(HEAD + b"30 12 999999999\n") + _times(b"1 1 1\n" * 170_000, 400)),
        "more than there can be",
    ),
}  # fmt: skip

REFUSED: dict[str, Mapping[str, Case]] = {
    "h5ad": H5AD, "zarr": ZARR, "10x mtx": MTX, "10x h5": TENX, "study": STUDIES, "table": TABLES,
    "checkpoint": CHECKPOINTS, "bomb": BOMBS,
}  # fmt: skip
LEGAL: dict[str, Mapping[str, Case]] = {
    "h5ad": H5AD_LEGAL, "zarr": ZARR_LEGAL, "10x mtx": MTX_LEGAL, "table": TABLES_LEGAL,
}  # fmt: skip


def all_of(groups: Mapping[str, Mapping[str, Case]]) -> Iterator[tuple[str, Case]]:
    """List cases with their names."""
    for kind, cases in groups.items():
        for name, case in cases.items():
            yield f"{kind}: {name}", case
