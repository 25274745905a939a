"""Reads TileDB-SOMA experiments in the schema of the CELLxGENE Census: the hosted Census, or one on disk.

Needs the extra ``census`` (tiledbsoma, cellxgene_census).
"""

import ast
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.components import component, legal_names
from corpuscle.core.errors import SourceError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.source.reader import Cells, Reader, gist, reading
from corpuscle.source.storage import file_hash
from corpuscle.source.storage.soma_filter import value_filter

# The columns of obs that may name cells; the Census has the second.
NAMES = ("obs_id", "observation_joinid")
GENE_NAMES = ("var_id", "feature_id")
# By default each column of a table that is read gets a gigabyte.
CONFIG = {"soma.init_buffer_bytes": 1 << 26}
HOSTED = re.compile(r"census:(\d{4}-\d{2}-\d{2})")


@component
class Census(Reader):
    """A SOMA experiment. A source's ``where`` is applied by TileDB, as far as it is sure what it means.

    Parameters
    ----------
    path
        The experiment's folder; in a Census on disk, ``…/census_data/homo_sapiens``. Or
        ``census:2025-01-30/homo_sapiens``: the hosted Census of that date.
    counts
        ``"MEASUREMENT/LAYER"``; ``"X"`` is ``"RNA/raw"``, where the Census has its raw counts.
    """

    suffixes = (".soma",)
    markers = ("__tiledb_group.tdb",)
    prefix = "census:"

    path: Path
    counts: str = "X"

    @property
    def _is_hosted(self) -> bool:
        return str(self.path).startswith(self.prefix)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """Open the experiment."""
        soma = _tiledbsoma()
        if self._is_hosted:
            with reading(self.path, "the hosted Census"):
                yield _experiment(self._hosted()["census_data"], self.path.parts[1])
            return
        with reading(self.path, "SOMA experiment"), _opened(soma, self.path) as found:
            if isinstance(found, soma.Collection) and "census_data" in found:
                organisms = ", ".join(sorted(found["census_data"]))
                raise SourceError(f"this is a whole Census; say which organism: census_data/ and one of {organisms}")
            if not isinstance(found, soma.Experiment):
                raise SourceError(f"a SOMA {type(found).__name__}, but not an experiment with obs and ms")
            yield found

    def _hosted(self) -> Any:
        """Return the hosted Census of a date: a name such as "stable" would mean other cells next year."""
        dated = HOSTED.fullmatch(self.path.parts[0])
        if not dated or len(self.path.parts) != 2:
            raise SourceError("name the hosted Census by its date and organism, such as census:2025-01-30/homo_sapiens")
        return _hosted_census(dated[1], os.getpid())

    def _place(self) -> tuple[str, str]:
        measurement, _, layer = ("RNA/raw" if self.counts == "X" else self.counts).partition("/")
        return measurement, layer

    def _measurement(self, experiment: Any) -> Any:
        """Return the measurement, after seeing that it has the counts."""
        measurement, layer = self._place()
        there = _places(experiment)
        if f"{measurement}/{layer}" not in there:
            raise SourceError(
                f"there are no counts at '{measurement}/{layer}'; the experiment has: {', '.join(there) or 'none'}; "
                'say counts = "MEASUREMENT/LAYER"'
            )
        return experiment.ms[measurement]

    def n_cells(self) -> int:
        """Return one more than the largest row."""
        with self._open() as experiment:
            return int(self._measurement(experiment).X[self._place()[1]].shape[0])

    def read_cells(self, where: ast.expr | None = None) -> Cells:
        """Read obs; of what cannot match, nothing. Rows are ``soma_joinid``."""
        with self._open() as experiment:
            self._measurement(experiment)
            condition = value_filter(where, experiment.obs.schema) if where is not None else None
            table = experiment.obs.read(value_filter=condition).concat().to_pandas().sort_values("soma_joinid")
            rows = table.pop("soma_joinid").to_numpy(np.int64)
            name = next((name for name in NAMES if name in table), None)
            return Cells(rows, table.set_axis(pd.Index(table.pop(name) if name else rows.astype(str), name=None)))

    def read_genes(self) -> pd.DataFrame:
        """Return the measurement's var; ``soma_joinid`` must count it through."""
        with self._open() as experiment:
            table = self._measurement(experiment).var.read().concat().to_pandas().sort_values("soma_joinid")
            if not np.array_equal(table.pop("soma_joinid"), np.arange(len(table))):
                raise SourceError("the genes' soma_joinid do not run from 0 without gaps, as in the Census they do")
            name = next((name for name in GENE_NAMES if name in table), None)
            if name is None:
                raise SourceError(f"var has no {' or '.join(GENE_NAMES)}, so the genes have no names")
            return table.set_axis(pd.Index(table[name], name=None))

    def read_counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Read the counts of some cells; see `Reader.read_counts`. Only the tiles that hold them are read."""
        wanted, back = np.unique(rows, return_inverse=True)
        with self._open() as experiment:
            measurement = self._measurement(experiment)
            matrix, n_genes = measurement.X[self._place()[1]], int(measurement.var.count)
            tables = matrix.read((wanted,)).tables() if len(wanted) else ()
            empty = np.empty(0, matrix.schema.field("soma_data").type.to_pandas_dtype())
            parts = [(empty, np.empty(0, np.int64), np.empty(0, np.int64)), *(_triples(table) for table in tables)]
            data, row, gene = (np.concatenate(part) for part in zip(*parts, strict=True))
            found = csr_matrix((data, (np.searchsorted(wanted, row), gene)), shape=(len(wanted), n_genes))
            return found[back]

    def alternatives(self) -> Sequence[str]:
        """List the measurements' layers."""
        with self._open() as experiment:
            return _places(experiment)

    def stamp(self) -> str:
        """Return a hash of the files' sizes and times; of the hosted Census, which never changes, its name."""
        return fingerprint(str(self.path)) if self._is_hosted else file_hash.stamp([self.path])

    def content(self) -> str:
        """Hash the files; of the hosted Census, its name."""
        return fingerprint(str(self.path)) if self._is_hosted else file_hash.content([self.path])


def _tiledbsoma() -> Any:
    try:
        import tiledbsoma
    except ImportError as error:
        raise SourceError(
            f"reading SOMA experiments and the Census needs more packages: pip install 'corpuscle[census]' ({error})"
        ) from error
    return tiledbsoma


def _opened(soma: Any, path: Path) -> Any:
    return soma.open(str(path), context=_context(os.getpid()))


# One context for a process, for good: TileDB crashes where one is taken down while another is made, as it would be if
# every read had its own. One does not survive a fork, so each process has its own.
@cache
def _context(_process: int) -> Any:
    return _tiledbsoma().SOMATileDBContext(tiledb_config=CONFIG)


@cache
def _hosted_census(date: str, _process: int) -> Any:
    """Open the hosted Census, once: its directory is asked for over the network, and its context is its own."""
    import cellxgene_census

    try:
        return cellxgene_census.open_soma(census_version=date, tiledb_config=CONFIG)
    # No network, no such release, …: errors of requests, botocore, tiledb and cellxgene_census.
    except Exception as error:
        raise SourceError(
            f"the hosted Census cannot be opened ({gist(error)}); see that {date} is one of its releases and that this "
            "machine reaches the internet"
        ) from error


def _experiment(organisms: Any, wanted: str) -> Any:
    if wanted not in organisms:
        raise SourceError(f"there is no organism {wanted!r}; {legal_names(wanted, sorted(organisms))}")
    return organisms[wanted]


def _places(experiment: Any) -> list[str]:
    """List measurements with their layers, as far as they are there."""
    found = experiment.ms if "ms" in experiment else {}
    return [f"{name}/{layer}" for name in sorted(found) if "X" in found[name] for layer in sorted(found[name].X)]


def _triples(table: Any) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Return the counts of an Arrow table, their cells and their genes."""
    return table["soma_data"].to_numpy(), table["soma_dim_0"].to_numpy(), table["soma_dim_1"].to_numpy()
