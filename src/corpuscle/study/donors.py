"""Donors of more than one source: who is held out in one and trained on from another."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from corpuscle.corpus.corpus import Corpus
from corpuscle.study.spec import Study

_NAMED = 5


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


def plain(label: str) -> str:
    """Return a label without what is easily written otherwise: case, and blanks.

    Examples
    --------
    >>> plain(" Donor  1 ") == plain("donor 1")
    True
    """
    return " ".join(label.split()).casefold()


def shared_donors(
    study: Study,
    pools: Mapping[str, Corpus],
    targets: Mapping[str, Corpus],
    corpora: Mapping[tuple[str, int], Corpus],
) -> Iterator[SharedDonors]:
    """Find the donors of targets that are in training corpora, from another source or under another spelling.

    In one source they are the same people, and so they are in sources of one study label or one file. Between
    different studies, an id such as "D1" may be two people: that is a warning. A source with ``donors = "own"`` has
    none in common with others.
    """
    evaluated: dict[str, Corpus] = {}
    for name, target in targets.items():
        source = study.targets[name].source
        by = study.holdout[source].by if source in study.holdout else ""
        if by in ("", "donor") and "donor" in target.cells:
            evaluated.setdefault(source, target)
    trained = {name: pool for name, pool in pools.items() if "donor" in pool.cells
               and any(name in recipe.sources for recipe in study.recipes)}  # fmt: skip
    for source, target in evaluated.items():
        for other, pool in trained.items():
            if source == other and source not in study.holdout:
                continue
            own = "own" in (study.spec.sources[source].donors, study.spec.sources[other].donors)
            if source == other or not own:
                yield from _between(study, (source, target), (other, pool), corpora)


def _between(
    study: Study, held: tuple[str, Corpus], trained: tuple[str, Corpus], corpora: Mapping[tuple[str, int], Corpus]
) -> Iterator[SharedDonors]:
    """Compare the donors of a target with those of a pool."""
    (source, target), (other, pool) = held, trained
    here, there = _people(target), _people(pool)
    common = sorted({donor for _, donor in here} & {donor for _, donor in there})
    if not common:
        return
    one_study = source == other or study.path(source) == study.path(other)
    certain = sorted(donor for donor in common if one_study or _studies(here, donor) & _studies(there, donor) - {""})
    by_donor = source in study.holdout
    drawn = sorted(_drawn(corpora, other, set(certain))) if certain and by_donor else []
    if drawn:
        shown = [_spelled(donor, here, there) for donor in drawn]
        yield SharedDonors(
            f"holdout.{source}",
            f"{len(drawn)} donors that are held out of {source!r} are trained on from {other!r}: "
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


def _people(cells: Corpus) -> dict[tuple[str, str], set[str]]:
    """Return the spellings of each donor, by study and donor."""
    found: dict[tuple[str, str], set[str]] = {}
    pairs = np.unique(np.stack([cells.labels("study"), cells.labels("donor")]), axis=1)
    for study, donor in pairs.T.tolist():
        if plain(donor):
            found.setdefault((plain(study), plain(donor)), set()).add(donor)
    return found


def _studies(people: Mapping[tuple[str, str], set[str]], donor: str) -> set[str]:
    return {study for study, found in people if found == donor}


def _drawn(corpora: Mapping[tuple[str, int], Corpus], source: str, donors: set[str]) -> set[str]:
    """Return which donors of a source any corpus has: those of its pool may all be excluded."""
    found: set[str] = set()
    for corpus in corpora.values():
        if "donor" in corpus.cells and source in corpus.inputs:
            of_source = corpus.labels("donor")[corpus.cells["source"].to_numpy(str) == source]
            found |= {plain(donor) for donor in np.unique(of_source).tolist()} & donors
        if found == donors:
            break
    return found


def _spelled(donor: str, *people: Mapping[tuple[str, str], set[str]]) -> str:
    """Name a donor; in all spellings where they differ."""
    spellings = sorted(
        {name for found in people for (_, other), names in found.items() if other == donor for name in names}
    )
    return " = ".join(map(repr, spellings))


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:_NAMED])}{', …' if len(names) > _NAMED else ''}"
