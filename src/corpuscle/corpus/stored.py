"""Corpora in a store: a table of cells, where their counts are read, and how made cells are made; never counts.

What a worker process needs of a corpus is then its key. Gene spaces, sources and what makes cells are results of their
own, which the corpora of a study share.
"""

import importlib
import json
from collections import OrderedDict
from operator import attrgetter
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from corpuscle.core.errors import CorpusError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.plain_files import read_data, write_data
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus, DerivedCounts
from corpuscle.corpus.derived import Derived
from corpuscle.source.genes import GeneSpace
from corpuscle.source.labels import label_texts
from corpuscle.source.reader import Reader
from corpuscle.source.storage.change_guard import ChangeGuard, OpenedFile

# Raised when these results change in form.
FORMAT = 1
# How many corpora a process has open at once: those of the run that it is in, and the targets. Of large ones, which
# have more cells together than this, only what one question needs: two corpora, a target, and what one was made from.
MOST_OPEN, MOST_CELLS_OPEN, LEAST_OPEN = 16, 2_000_000, 4
CORPORA, SPACES, SOURCES, DERIVED = "corpora", "gene_spaces", "sources", "derived"


class StoredCorpora:
    """The corpora of a store.

    Parameters
    ----------
    context
        The store, and what cells are made with where they are not in it.
    """

    def __init__(self, context: Context) -> None:
        assert context.store is not None, "corpora are kept in a store"
        self.context, self.store = context, context.store
        self._keys: WeakKeyDictionary[Corpus, str] = WeakKeyDictionary()
        self._space_keys: WeakKeyDictionary[GeneSpace, str] = WeakKeyDictionary()
        # The corpora that were named, and all results that a kept one consists of.
        self._named: dict[str, Corpus] = {}
        self._parts: dict[str, set[tuple[str, str]]] = {}
        self._open: OrderedDict[str, Corpus] = OrderedDict()
        self._spaces: dict[str, GeneSpace] = {}
        self._sources: dict[str, Reader] = {}

    def key(self, corpus: Corpus) -> str:
        """Return what a corpus is called in the store; `ensure` knows it by this name then."""
        if corpus not in self._keys:
            columns = [str(name) for name in corpus.cells]
            parts = [corpus.name, corpus.identity(), columns, [*corpus.account]]
            # Not only what is read, but from where: a file that was moved is another record.
            sources = [_source_record(corpus.readers[name]) for name in corpus.sources]
            made_from = [self.key(derived.parents) for derived in corpus.used_makers.values()]
            self._keys[corpus] = fingerprint("corpus", FORMAT, parts, sources, made_from)
            self._named.setdefault(self._keys[corpus], corpus)
        return self._keys[corpus]

    def derived_key(self, derived: DerivedCounts) -> str:
        """Return what that which makes cells is called in the store."""
        return fingerprint("derived", FORMAT, derived.fingerprint, self.key(derived.parents))

    def named(self, key: str) -> Corpus:
        """Return the corpus of a key that `key` gave."""
        return self._named[key]

    def ensure(self, key: str) -> bool:
        """Put the corpus of a key into the store, where it is not there whole; return whether that was so."""
        if key in self._parts and all(self.store.has(*part) for part in self._parts[key]):
            return False
        self.keep(self._named[key])
        return True

    def keep(self, corpus: Corpus) -> str:
        """Put a corpus into the store, unless it is there; return its key.

        Raises
        ------
        CorpusError
            When its counts are read by what can not be opened again: a reader that no source was opened with.
        """
        key = self.key(corpus)
        space = self._keep_space(corpus.space)
        sources = {name: self._keep_source(corpus.readers[name]) for name in corpus.sources}
        made = {name: self._keep_derived(one) for name, one in corpus.used_makers.items()}
        record = {
            "name": corpus.name,
            "account": [*corpus.account],
            "space": space,
            "sources": sources,
            "derived": made,
            **({"relabelled": [*corpus.relabelled]} if corpus.relabelled else {}),
        }

        def write(folder: Path) -> None:
            corpus.cells.apply(_storable).to_parquet(folder / "cells.parquet")
            (folder / "corpus.json").write_text(json.dumps(record), encoding="utf-8")

        uses = [
            (SPACES, space),
            *((SOURCES, one) for one in sources.values()),
            *((DERIVED, one) for one in made.values()),
        ]
        self.store.kept(CORPORA, key, write, label=f"cells of {corpus.name}", uses=uses)
        parts = {(CORPORA, key), (SPACES, space), *((SOURCES, one) for one in sources.values())}
        for derived in corpus.used_makers.values():
            parts |= {(DERIVED, self.derived_key(derived)), *self._parts[self.key(derived.parents)]}
        self._parts[key] = parts
        return key

    def open(self, key: str) -> Corpus:
        """Open a corpus; of a few that were opened last, the same object is returned."""
        if key not in self._open:
            self._open[key] = self._opened(self._folder(CORPORA, key))
        self._open.move_to_end(key)
        while len(self._open) > LEAST_OPEN and (
            len(self._open) > MOST_OPEN or sum(map(len, self._open.values())) > MOST_CELLS_OPEN
        ):
            self._open.popitem(last=False)
        return self._open[key]

    def derived(self, key: str) -> Derived:
        """Open what makes cells."""
        record = read_data(self._folder(DERIVED, key))
        module, _, name = record["kind"].partition(":")
        try:
            kind = attrgetter(name)(importlib.import_module(module))
        except (ImportError, AttributeError) as error:
            raise CorpusError(f"{record['kind']}, which makes cells, cannot be imported: {error}") from error
        if not (isinstance(kind, type) and issubclass(kind, Derived)):
            raise CorpusError(f"{record['kind']} should be a Derived, which makes cells")
        return kind.restored(self.open(record["parents"]), record["state"], self.context)

    def _folder(self, kind: str, key: str) -> Path:
        """Return the folder of a result that is there and whole."""
        if (folder := self.store.find(kind, key)) is None:
            raise CorpusError(f"{self.store.folder(kind, key)}: it was damaged, or is gone; run the same command again")
        return folder

    def _opened(self, folder: Path) -> Corpus:
        record = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        readers: dict[str, Reader] = {name: self._source(key) for name, key in record["sources"].items()}
        makers: dict[str, DerivedCounts] = {key: self.derived(stored) for key, stored in record["derived"].items()}
        for derived in makers.values():
            readers |= derived.parents.readers
        cells = pd.read_parquet(folder / "cells.parquet")
        space, account = self._space(record["space"]), tuple(record["account"])
        return Corpus(record["name"], cells, readers, space, account, makers, tuple(record.get("relabelled", ())))

    def _keep_source(self, reader: Reader) -> str:
        record = _source_record(reader)
        key = fingerprint("source", FORMAT, record)
        self.store.kept(SOURCES, key, lambda folder: write_data(folder, record), label="how a source is opened")
        return key

    def _source(self, key: str) -> Reader:
        if key not in self._sources:
            self._sources[key] = ChangeGuard(OpenedFile(**read_data(self._folder(SOURCES, key))))
        return self._sources[key]

    def _keep_space(self, space: GeneSpace) -> str:
        def write(folder: Path) -> None:
            names = {"ids": np.array(space.ids), "symbols": np.array(space.symbols)}
            write_data(folder, {**names, "columns": dict(space.columns)})

        if space not in self._space_keys:
            self._space_keys[space] = fingerprint("space", FORMAT, space.fingerprint, list(space.symbols))
        self.store.kept(SPACES, self._space_keys[space], write, label="a gene space")
        return self._space_keys[space]

    def _space(self, key: str) -> GeneSpace:
        if key not in self._spaces:
            read = read_data(self._folder(SPACES, key))
            ids, symbols = (tuple(read[name].tolist()) for name in ("ids", "symbols"))
            self._spaces[key] = GeneSpace(ids, symbols, read["columns"])
        return self._spaces[key]

    def _keep_derived(self, derived: DerivedCounts) -> str:
        key, record = self.derived_key(derived), {"kind": derived.kind, "parents": self.keep(derived.parents)}
        self.store.kept(
            DERIVED,
            key,
            lambda folder: write_data(folder, {**record, "state": derived.state()}),
            label="how cells are made",
            uses=[(CORPORA, record["parents"])],
        )
        return key


def _source_record(reader: Reader) -> dict[str, Any]:
    """Return how a source is opened again, as plain data."""
    if not isinstance(reader, ChangeGuard):
        raise CorpusError(f"a corpus that is read by a bare {type(reader).__name__} cannot be kept; open a source")
    return reader.opened._asdict()


def _storable(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a column as parquet can hold it: as texts, where its values are of several kinds."""
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    if values.dtype != object or pd.api.types.infer_dtype(values, skipna=True) in ("string", "empty"):
        return column
    return pd.Series(label_texts(column), column.index).mask(column.isna())
