"""Donors of more than one source: who is held out in one and trained on from another; studies and batches, too."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.corpus.corpus import Corpus
from corpuscle.source.source import Source
from corpuscle.study.labels import look
from corpuscle.study.spec import Study

_NAMED = 5
# Labels of cells that are looked at, and the different combinations of them that some cells have.
_LABELS = ("study", "donor", "batch")
Rows = set[tuple[str, ...]]
# Spellings of each donor, by study and donor.
People = Mapping[tuple[str, str], set[str]]


class SharedDonors(NamedTuple):
    """Donors that are evaluated on and trained on.

    Attributes
    ----------
    place, message
        Where in the study file, and what to say.
    certain
        Whether they are the same people for all that is known, and were to be held out.
    """

    place: str
    message: str
    certain: bool


def plain_label(label: str) -> str:
    """Return a label without what is easily written otherwise: case, and blanks.

    Examples
    --------
    >>> plain_label(" Donor  1 ") == plain_label("donor 1")
    True
    """
    return " ".join(label.split()).casefold()


def loose(label: str) -> str:
    """Return a label without what may be written otherwise: also punctuation, and zeros before a number.

    Examples
    --------
    >>> loose("D-01") == loose("d1"), loose("D10") == loose("D1")
    (True, False)
    """
    return re.sub(r"(?<!\d)0+(?=\d)", "", look(label))


def shared_donors(
    study: Study,
    sources: Mapping[str, Source],
    pools: Mapping[str, Corpus],
    targets: Mapping[str, Corpus],
    corpora: Mapping[tuple[str, int], Corpus],
) -> Iterator[SharedDonors]:
    """Find the donors of targets that are in training corpora, from another source or under another spelling.

    In one source they are the same people, and so they are in sources of one study label or one file. Between
    different studies, an id such as "D1" may be two people: that is a warning. A source with ``donors = "own"`` has
    none in common with others.
    """
    trained = [name for name in pools if any(name in recipe.sources for recipe in study.recipes)]
    offered = {name: set(_rows(pools[name])[1]) for name in trained}
    for source in dict.fromkeys(spec.source for spec in study.targets.values()):
        cells = [targets[name] for name, spec in study.targets.items() if spec.source == source and name in targets]
        here = set[tuple[str, ...]]().union(*(_rows(target)[1] for target in cells))
        for other in trained if cells else []:
            pair, one_file = (source, other), _one_file(study, sources, source, other)
            # Corpora are looked at only where there is something to find.
            if any(_between(study, pair, (here, offered[other]), one_file=one_file)):
                yield from _between(study, pair, (here, _drawn(corpora, other, pools[other])), one_file=one_file)


def _one_file(study: Study, sources: Mapping[str, Source], one: str, two: str) -> bool:
    """Return whether two sources are of one file, or have one in common: of equal content, or of one path."""
    files = []
    for name in (one, two):
        path = study.path(name)
        files.append({each.resolve() for each in ([path] if isinstance(path, Path) else path)})
    return one == two or sources[one].content == sources[two].content or bool(files[0] & files[1])


def _between(study: Study, pair: tuple[str, str], rows: tuple[Rows, Rows], *, one_file: bool) -> Iterator[SharedDonors]:
    """Compare labels of a source's evaluation cells with those of another's training cells."""
    by = study.holdout[pair[0]].by if pair[0] in study.holdout else ""
    own = "own" in (study.spec.sources[name].donors for name in pair)
    # Of one source, only what was to be held out can be written in two ways.
    if by in ("", "donor", "study") and (by == "donor" if pair[0] == pair[1] else not own):
        yield from _donors(pair, (_people(rows[0]), _people(rows[1])), one_file=one_file, by_donor=bool(by))
    if by in ("study", "batch") and pair[0] != pair[1]:
        yield from _groups(by, pair, rows)


def _donors(
    pair: tuple[str, str], people: tuple[People, People], *, one_file: bool, by_donor: bool
) -> Iterator[SharedDonors]:
    """Compare donors: those of one file or study are one person for certain."""
    (source, other), (here, there) = pair, people
    common = sorted({donor for _, donor in here} & {donor for _, donor in there})
    certain = [donor for donor in common if one_file or _studies(here, donor) & _studies(there, donor) - {""}]
    if certain and by_donor:
        shown = [_spelled(donor, here, there) for donor in certain]
        yield SharedDonors(
            f"holdout.{source}",
            f"{len(certain)} donors that are held out of {source!r} are trained on from {other!r}: "
            f"{_listed(shown)}. Leave them out there (where, exclude), "
            'hold them out of both, or, if they are different people, write donors = "own" on one of the sources',
            certain=True,
        )
    if doubtful := [donor for donor in common if donor not in (certain if by_donor else [])]:
        shown = [_spelled(donor, here, there) for donor in doubtful]
        yield SharedDonors(
            f"sources.{other}",
            f"{len(doubtful)} donor ids of evaluation cells of {source!r} are also ids of training cells of {other!r}: "
            f'{_listed(shown)}. If they are different people, write donors = "own" on one of the sources; if they are '
            "the same, leave them out of training (where, exclude)",
            certain=False,
        )
    if similar := sorted(_similar(here, there, one_file=one_file)):
        shown = [f"{_spelled(one, here)} and {_spelled(two, there)}" for one, two in similar]
        yield SharedDonors(
            f"sources.{other}",
            f"{len(similar)} donor ids of evaluation cells of {source!r} are written almost as ids of training cells "
            f"of {other!r} in the same study: {_listed(shown)}. If they are the same people, write them alike and "
            "leave them out of training (where, exclude)",
            certain=False,
        )


def _similar(here: People, there: People, *, one_file: bool) -> set[tuple[str, str]]:
    """Find donors of one study whose ids differ by punctuation or zeros alone."""
    by_look: dict[str, set[str]] = {}
    for _, donor in there:
        by_look.setdefault(loose(donor), set()).add(donor)
    both = {(one, two) for _, one in here for two in by_look.get(loose(one), set()) if one != two}
    return {(one, two) for one, two in both if one_file or _studies(here, one) & _studies(there, two) - {""}}


def _groups(by: str, pair: tuple[str, str], rows: tuple[Rows, Rows]) -> Iterator[SharedDonors]:
    """Find held-out studies, or batches of a study, that are trained on from another source."""
    keys: list[dict[tuple[str, str], str]] = []
    for side in rows:
        names = [(study, study if by == "study" else batch) for study, _, batch in side]
        keys.append(
            {
                (plain_label(study), plain_label(name)): name
                for study, name in names
                if plain_label(study) and plain_label(name)
            }
        )
    if common := sorted(keys[0][key] for key in keys[0].keys() & keys[1].keys()):
        yield SharedDonors(
            f"holdout.{pair[0]}",
            f"{by} {_listed([repr(name) for name in common])}, held out of {pair[0]!r}, is also a {by} of training "
            f"cells of {pair[1]!r}; if it is the same {by}, leave it out there (where, exclude)",
            certain=False,
        )


def _rows(cells: Corpus) -> tuple[NDArray[np.int64], list[tuple[str, ...]]]:
    """Return the different combinations of labels of cells, and which of them each cell has, shape (N,)."""
    labels = pd.DataFrame({label: cells.labels(label) for label in _LABELS})
    code_N = labels.groupby(list(_LABELS), sort=False).ngroup().to_numpy(np.int64)
    first = np.unique(code_N, return_index=True)[1]
    return code_N, [tuple(row) for row in labels.iloc[first].itertuples(index=False)]


def _drawn(corpora: Mapping[tuple[str, int], Corpus], source: str, pool: Corpus) -> Rows:
    """Return which labels of a source's pool are in corpora, also in what their cells are made of."""
    code_N, rows = _rows(pool)
    row_N = pool.cells["row"].to_numpy(np.int64)
    order = np.argsort(row_N)
    found: set[int] = set()
    for corpus in corpora.values():
        if len(found) < len(rows) and source in corpus.inputs:
            at = np.searchsorted(row_N, _rows_of(corpus, source), sorter=order)
            found.update(np.unique(code_N[order[at]]).tolist())
    return {rows[code] for code in found}


def _rows_of(corpus: Corpus, source: str) -> NDArray[np.int64]:
    """Return the row numbers of a source's cells that a corpus is of."""
    here = (corpus.cells["source"].to_numpy(object) == source) & (corpus.labels("made") == "")
    parents = (_rows_of(derived.parents, source) for derived in corpus.used_makers.values())
    return np.concatenate([corpus.cells["row"].to_numpy(np.int64)[here], *parents])


def _people(rows: Rows) -> People:
    """Return the spellings of each donor, by study and donor."""
    found: dict[tuple[str, str], set[str]] = {}
    for study, donor, _ in rows:
        if plain_label(donor):
            found.setdefault((plain_label(study), plain_label(donor)), set()).add(donor)
    return found


def _studies(people: People, donor: str) -> set[str]:
    return {study for study, found in people if found == donor}


def _spelled(donor: str, *people: People) -> str:
    """Name a donor; in all spellings where they differ."""
    spellings = sorted(
        {name for found in people for (_, other), names in found.items() if other == donor for name in names}
    )
    return " = ".join(map(repr, spellings))


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:_NAMED])}{', …' if len(names) > _NAMED else ''}"
