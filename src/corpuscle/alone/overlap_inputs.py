"""What is compared for overlap: files, AnnData, data sets of the package, corpora of a study."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from corpuscle.core.components import legal_names
from corpuscle.core.errors import InputError, SourceError
from corpuscle.corpus.places import Places
from corpuscle.source.count_kinds import Kind
from corpuscle.source.countable import countable
from corpuscle.source.in_memory import place_of
from corpuscle.source.reader import located
from corpuscle.source.source import Source, dataset_names, dataset_path, open_source

# Between the file of a study and one of its corpora.
_OF_STUDY = ".toml:"
Given: TypeAlias = AnnData | Path | str


@dataclass(frozen=True, eq=False)
class Compared:
    """Cells that are compared with others.

    Attributes
    ----------
    name
        What tables call them.
    parts
        Where they are: one source, or those of a corpus.
    kinds
        What the values of each part are; counts are made of what is none.
    same
        Equal for the same cells under two names.
    """

    name: str
    parts: tuple[Source, ...]
    kinds: Mapping[str, Kind]
    same: Hashable

    def __len__(self) -> int:
        """Count the cells."""
        return sum(len(part) for part in self.parts)


def opened_inputs(
    given: Sequence[Given],
    layers: str | Sequence[str | None] | None = None,
    wheres: str | Sequence[str | None] | None = None,
) -> list[Compared]:
    """Open what is to be compared.

    Parameters
    ----------
    given
        See `corpuscle.overlap`.
    layers, wheres
        Where the counts are, and which cells; one for all, or one for each.

    Raises
    ------
    InputError
        When something cannot be opened, or there are more or fewer layers or filters than inputs.
    """
    layer_of, where_of = _each(layers, len(given), "layer"), _each(wheres, len(given), "where")
    names, found = _names(given), []
    for name, one, layer, where in zip(names, given, layer_of, where_of, strict=True):
        if isinstance(one, AnnData):
            source = _opened(name, one, place_of(one, layer), where)
            found.append(_compared(name, {name: source}, (id(one), layer, where)))
        elif isinstance(one, Path | str):
            found.append(_of_path(name, str(one), layer, where))
        else:
            raise InputError(f"expected AnnData, or the path of a file, to compare; got a {type(one).__name__}")
    return found


def _of_path(name: str, path: str, layer: str | None, where: str | None) -> Compared:
    if path.endswith(".toml") or _OF_STUDY in path:
        if layer or where:
            raise InputError(
                f"{path}: a corpus has the cells and counts that its study says; leave out layer and where"
            )
        return _of_study(name, path)
    file = located(path, Path())
    if path in dataset_names() and not file.exists():
        file = dataset_path(path)
    counts = layer if layer in (None, "X", "raw") or str(layer).startswith("layers/") else f"layers/{layer}"
    source = _opened(name, file, counts or "X", where)
    same = str(file.resolve()) if file.exists() else path
    return _compared(name, {name: source}, (same, source.reader.counts, where))


def _opened(name: str, place: AnnData | Path, counts: str, where: str | None) -> Source:
    try:
        return open_source(name, place, counts=counts, where=where)
    except SourceError as error:
        raise SourceError(str(error) if isinstance(place, Path) else f"{name}: {error}") from error


def _of_study(name: str, text: str) -> Compared:
    """Return the cells that any draw of a corpus has; of made cells, those that they are made of."""
    from corpuscle.study.preparation import prepare
    from corpuscle.study.spec import Study

    file, has_corpus, corpus = text.rpartition(_OF_STUDY)
    path = Path(f"{file}.toml" if has_corpus else text)
    study = Study.read(path)
    known = [recipe.name for recipe in study.recipes]
    if not has_corpus and len(known) == 1:
        corpus = known[0]
    elif corpus not in known or not has_corpus:
        said = f"there is no corpus {corpus!r}" if has_corpus else f"it has {len(known):,} corpora"
        raise InputError(f"{text}: {said}; write {path}:CORPUS, {legal_names(corpus, known)}")
    plan = prepare(study)
    rows = {source: found.cells["row"].to_numpy(np.int64) for source, found in plan.sources.items()}
    index = pd.MultiIndex.from_arrays(
        [np.repeat([*rows], [len(row) for row in rows.values()]), np.concatenate([*rows.values()])]
    )
    places, used = Places(index), np.zeros(len(index), bool)
    for (of, _), drawn in plan.corpora.items():
        if of == corpus:
            used[places.of(drawn)] = True
    starts = np.cumsum([0, *(len(row) for row in rows.values())])
    parts = {
        f"{name}/{source}": plan.sources[source].keep(mask)
        for at, source in enumerate(rows)
        if (mask := _part(used, starts, at)).any()
    }
    return _compared(name, parts, (str(path.resolve()), corpus))


def _part(used: NDArray[np.bool_], starts: NDArray[np.int64], at: int) -> NDArray[np.bool_]:
    return used[starts[at] : starts[at + 1]]


def _compared(name: str, parts: Mapping[str, Source], same: Hashable) -> Compared:
    found = {part: countable(source) for part, source in parts.items()}
    sources = tuple(replace(source, name=part) for part, (source, _) in found.items())
    return Compared(name, sources, {part: kind for part, (_, kind) in found.items()}, same)


def _each(values: str | Sequence[str | None] | None, n: int, what: str) -> list[str | None]:
    if values is None or isinstance(values, str):
        return [values or None] * n
    if len(values) not in (1, n):
        raise InputError(f"{what}: expected one for all or one for each of {n:,} data sets; got {len(values):,}")
    return [value or None for value in (values if len(values) == n else [*values] * n)]


def _names(given: Sequence[Given]) -> list[str]:
    """Name what is given after its file, each by another name."""
    names: list[str] = []
    for at, one in enumerate(given, start=1):
        name = f"adata {at}" if isinstance(one, AnnData) else _stem(str(one))
        names.append(name if name not in names else f"{name} ({at})")
    return names


def _stem(text: str) -> str:
    if _OF_STUDY in text:
        return text.rpartition(_OF_STUDY)[2] or text
    return Path(text).stem or text
