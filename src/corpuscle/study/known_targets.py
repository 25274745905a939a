"""Which of a target's genes a model is asked about: those that its training corpus measured, too.

In a union of sources, or a list, a corpus may never have measured what a target's source did. A model's weights for
such a gene are its initialisation, so it counts as not measured in the target: nothing encodes, expects or scores it.
In an intersection nothing changes.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from corpuscle.corpus.corpus import Corpus

NOTE = "in place: asked about the cells that the model was fitted on"
# How many corpora a warning names.
NAMED = 3


class KnownTarget(NamedTuple):
    """A target as the models of a corpus are asked about it.

    Attributes
    ----------
    cells
        Its cells, with the genes that both measured.
    note
        On how many of its genes that is, in words; empty where it is all.
    genes
        The genes that both measured, as the bits of a mask over the study's.
    n_known, n_measured
        How many genes both measured, and how many the target did.
    """

    cells: Corpus
    note: str
    genes: bytes
    n_known: int
    n_measured: int


class KnownTargets:
    """The targets as the models of each corpus are asked about them; each is laid out once for a set of sources.

    Parameters
    ----------
    targets
        The targets, by name.
    """

    def __init__(self, targets: Mapping[str, Corpus]) -> None:
        self.targets = targets
        spaces = {id(target.space): target.space for target in targets.values()}.values()
        # As in an intersection: then no corpus makes a difference.
        self._all_measured = all(space.measured(source).all() for space in spaces for source in space.columns)
        self._found: dict[tuple[str, tuple[str, ...]], KnownTarget] = {}

    def of(self, name: str, training: Corpus) -> KnownTarget:
        """Return a target as the models of a training corpus are asked about it; in place, the corpus itself."""
        if name not in self.targets:
            note = NOTE
            if (n_repeated := int((training.cells["times"] > 1).sum())) > 0:
                note += f"; {n_repeated:,} of them count several times in training, and are asked about once"
            return _known(training, training)._replace(note=note)
        key = name, () if self._all_measured else tuple(training.sources)
        if key not in self._found:
            self._found[key] = _known(self.targets[name], training)
        return self._found[key]


def _known(target: Corpus, training: Corpus) -> KnownTarget:
    cells = target.as_known_to(training)
    known_G, measured_G = (each.measured_SG.any(axis=0) for each in (cells, target))
    n_known, n_measured = int(known_G.sum()), int(measured_G.sum())
    note = ""
    if cells is not target:
        note = f"on {n_known:,} of the target's {n_measured:,} genes: those that the training corpus measured, too"
    return KnownTarget(cells, note, np.packbits(known_G).tobytes(), n_known, n_measured)


def warnings_of(targets: Iterable[str], corpora: Mapping[str, Corpus], known: KnownTargets) -> dict[str, str]:
    """Return which targets are not scored on all of their genes, and which on different genes for different corpora.

    Parameters
    ----------
    targets
        The targets' names.
    corpora
        A training corpus of each name.
    known
        The targets as the corpora's models are asked about them.

    Returns
    -------
    By target, what to say; targets that are scored on all of their genes for every corpus are left out.
    """
    said = {}
    for name in targets:
        found = {corpus: known.of(name, training) for corpus, training in corpora.items()}
        if not any(target.note for target in found.values()):
            continue
        n_measured = next(iter(found.values())).n_measured
        by_genes: dict[bytes, tuple[int, list[str]]] = {}
        for corpus, target in found.items():
            by_genes.setdefault(target.genes, (target.n_known, []))[1].append(corpus)
        shown = "; ".join(f"{n_known:,} for {_some(names)}" for n_known, names in by_genes.values())
        differ = ", so scores of these corpora are not on the same genes"
        said[name] = (
            f"target {name!r} is scored on the genes that the training corpus measured, too: of its {n_measured:,}, "
            f'{shown}{differ if len(by_genes) > 1 else ""}; set space = "intersection" under [genes] to have the '
            "same genes everywhere"
        )
    return said


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(map(repr, names[:NAMED])) + more
