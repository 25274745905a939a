"""Seen in training: which share of each target's cells a model learned from, by its corpus or by what it began with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.overlap import Copies, find_copies
from corpuscle.corpus.places import Places
from corpuscle.source.countable import countable
from corpuscle.source.genes import gene_space
from corpuscle.source.reader import located
from corpuscle.source.source import Source, dataset_names, dataset_path, open_source
from corpuscle.store import Store
from corpuscle.study.findings import Findings
from corpuscle.study.opening import Notice
from corpuscle.study.spec import LabelledModel, Study


@dataclass(frozen=True, eq=False)
class Seen:
    """Which cells of targets models learned from.

    Attributes
    ----------
    of_corpora
        By corpus, draw and target, a mask over the target's cells; none where no cell was seen.
    of_weights
        The same by model and target, of what its weights were trained on before.
    blind
        Targets of which no cell could be recognised.
    """

    of_corpora: Mapping[tuple[str, int, str], NDArray[np.bool_]] = field(default_factory=dict)
    of_weights: Mapping[tuple[str, str], NDArray[np.bool_]] = field(default_factory=dict)
    blind: frozenset[str] = frozenset()

    def share(self, model: LabelledModel, drawn: tuple[str, int], target: tuple[str, int], *, learns: bool) -> float:
        """Return the share of a target's cells that a model learned from; NaN where that is not known.

        Parameters
        ----------
        model
            The model.
        drawn
            Its corpus, and the draw.
        target
            The target's name, and how many cells it has; none: in place, the corpus' own.
        learns
            Whether the model learned from the corpus at all, as one that answers as it was published does not.
        """
        if model.model.pretrained and model.trained_on is None:
            return float("nan")
        name, n_cells = target
        if not n_cells:
            return 1.0 if learns else float("nan")
        none = np.zeros(n_cells, bool)
        seen = self.of_weights.get((model.label, name), none)
        if learns:
            seen = seen | self.of_corpora.get((*drawn, name), none)
        return float("nan") if name in self.blind and not seen.any() else float(seen.mean())


def seen_of(
    findings: Findings,
    opened: Mapping[str, Source],
    drawn: tuple[Mapping[str, Corpus], Mapping[tuple[str, int], Corpus], Copies],
    store: Store | None,
    notice: Notice,
) -> Seen:
    """Find which cells of targets models learned from.

    Parameters
    ----------
    findings
        The study; what cannot be opened is noted.
    opened
        The study's sources.
    drawn
        The targets, the corpora, and which cells are one cell.
    store, notice
        See `find_copies`.
    """
    targets, corpora, copies = drawn
    places = Places(copies.cells)
    places_of = {name: places.of(target) for name, target in targets.items()}
    blind = {name for name, own in places_of.items() if np.isin(own, copies.undecidable).all()}
    watched = {name: _mask(len(copies.cells), own, copies) for name, own in places_of.items()}
    of_corpora = {}
    for (corpus, seed), cells in corpora.items():
        trained = places.of(cells)
        for name, own in places_of.items():
            if len(known := trained[watched[name][trained]]):
                copied = copies.of(known)["cell"].to_numpy(np.int64)
                of_corpora[corpus, seed, name] = np.isin(own, known) | np.isin(own, copied)
    of_weights = _of_weights(findings, opened, targets, store, notice)
    return Seen(of_corpora, of_weights, frozenset(blind))


def _mask(n_cells: int, places: NDArray[np.int64], copies: Copies) -> NDArray[np.bool_]:
    """Return which of all cells are some, or copies of them."""
    found = np.zeros(n_cells, bool)
    found[places] = found[copies.of(places)["cell"].to_numpy(np.int64)] = True
    return found


def _of_weights(
    findings: Findings,
    opened: Mapping[str, Source],
    targets: Mapping[str, Corpus],
    store: Store | None,
    notice: Notice,
) -> dict[tuple[str, str], NDArray[np.bool_]]:
    found: dict[tuple[str, str], NDArray[np.bool_]] = {}
    for at, model in enumerate(findings.study.models):
        with findings.noting(f"models[{at}].trained_on"):
            trained = _trained_on(findings.study, opened, model.trained_on or ())
            for name, target in targets.items():
                found[model.label, name] = _among(target, opened, trained, store, notice)
    return found


def _trained_on(study: Study, opened: Mapping[str, Source], named: Sequence[str]) -> list[Source]:
    """Open what weights were trained on: sources of the study, data sets of the package, files."""
    found = []
    for name in named:
        if name in opened:
            found.append(opened[name])
            continue
        path = located(name, study.folder)
        if name in dataset_names() and not path.exists():
            path = dataset_path(name)
        source, _ = countable(open_source(f"trained_on {name}", path))
        found.append(source)
    return found


def _among(
    target: Corpus, opened: Mapping[str, Source], trained: Sequence[Source], store: Store | None, notice: Notice
) -> NDArray[np.bool_]:
    """Return which cells of a target are among those that weights were trained on, a mask of shape (N,)."""
    seen = np.zeros(len(target), bool)
    others = [source for source in trained if source.name not in target.sources]
    seen |= np.isin(target.cells["source"].to_numpy(str), [source.name for source in trained])
    if not others:
        return seen
    sources = {name: opened[name] for name in target.sources} | {source.name: source for source in others}
    space = gene_space({name: source.gene_names for name, source in sources.items()}, "union")
    pairs = [(name, source.name) for name in target.sources for source in others]
    copies = find_copies(sources, space, pairs, store, notice)
    theirs = np.flatnonzero(copies.cells.get_level_values("source").isin([source.name for source in others]))
    own = Places(copies.cells).of(replace(target, space=space))
    return seen | np.isin(own, copies.of(theirs)["cell"].to_numpy(np.int64))
