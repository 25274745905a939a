"""In Python: a study's tables as Python has them, as the text of a study file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from corpuscle.core.components import Component
from corpuscle.core.errors import Problem, SourceError, StudyError
from corpuscle.source.in_memory import X
from corpuscle.study.given import GivenCells


def as_toml(tables: Mapping[str, Any]) -> tuple[str, dict[str, GivenCells]]:
    """Write tables as the text of a study file.

    Parameters
    ----------
    tables
        The tables of a study file by name. In place of a source's table or its ``path`` there may be an AnnData object;
        in place of a model's or a task's table its name, or a component that was built, alone or as its ``name``; paths
        may be `Path` objects. None is left out.

    Returns
    -------
    The text, and the AnnData objects, by source.

    Raises
    ------
    StudyError
        When there is a value that a study file cannot have.
    """
    import tomli_w

    given: dict[str, GivenCells] = {}
    tables = {name: table for name, table in tables.items() if table is not None}
    if isinstance(sources := tables.get("sources"), Mapping):
        tables["sources"] = {str(name): _source(str(name), table, given) for name, table in sources.items()}
    # A name alone is legal in a study file, too; a file of ours says it in full.
    for kind in ("models", "tasks"):
        if isinstance(listed := tables.get(kind), list | tuple):
            tables[kind] = [_named(table) for table in listed]
    plain = {name: _plain(table, name) for name, table in tables.items()}
    return tomli_w.dumps(plain), given


def _source(name: str, table: Any, given: dict[str, GivenCells]) -> Any:
    if isinstance(table, AnnData):
        table = {"path": table}
    elif isinstance(table, str | Path):
        table = {"path": str(table)}
    elif not isinstance(table, Mapping):
        expected = 'an AnnData, the path of a file, or a table such as {"path": adata}'
        raise StudyError([Problem(f"sources.{name}", f"expected {expected}; got {table!r:.80}")])
    if not isinstance(adata := table.get("path"), AnnData):
        return table
    counts = table.get("counts", X)
    place = counts.get("layer", X) if isinstance(counts, Mapping) else counts
    try:
        given[name] = GivenCells(name, adata, place)
    except SourceError as error:
        raise StudyError([Problem(f"sources.{name}.counts", str(error))]) from error
    if given[name].file is None:
        # Only these counts are written.
        counts = {**counts, "layer": X} if isinstance(counts, Mapping) else X
    return {**table, "path": given[name].path, "counts": counts}


def _named(table: Any) -> Any:
    """Return the table of a component that is given by its name, or built."""
    if isinstance(table, str):
        return {"name": table}
    if isinstance(table, Component):
        return table.spec()
    if isinstance(table, Mapping) and isinstance(built := table.get("name"), Component):
        return {**built.spec(), **{key: value for key, value in table.items() if key != "name"}}
    return table


def _plain(value: Any, place: str) -> Any:
    """Return a value as TOML has it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(part, f"{place}.{key}") for key, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [_plain(part, f"{place}[{at}]") for at, part in enumerate(value)]
    if isinstance(value, bool | int | float | str):
        return value
    raise StudyError([Problem(place, f"a study cannot have a {type(value).__name__} here")])
