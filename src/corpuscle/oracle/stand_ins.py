"""Stand-ins: cells drawn around a candidate's mean expression, and known sources reduced to means in the same way.

Measures compare cells, so a table of means becomes cells: groups in their proportions, counts drawn around a group's
mean at the depths of the study's cells. What is lost by that (how cells of a group differ) is lost of the known
sources, too, before they are compared. Axes in names: N cells, B of them, S shared genes, R groups.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from corpuscle.core.errors import InputError, SourceError
from corpuscle.core.randomness import generator
from corpuscle.core.text import plural, shortened
from corpuscle.corpus.corpus import BLOCK_CELLS, Corpus
from corpuscle.corpus.expression.variable_genes import cp10k
from corpuscle.oracle.mean_table import MeanTable
from corpuscle.source.gene_names import GeneNames
from corpuscle.source.genes import By, GeneSpace, gene_space

# Cells of a stand-in, if no corpus needs more; and of a known source, those that its means are taken over.
N_DRAWN, MOST_CELLS = 1000, 20_000
# With less of the study's genes, measures would be about other things than the study is.
LEAST_SHARED = 0.1
GROUP = "cell_type"
# What genes are matched between, as messages call it.
STUDY, TABLE = "the study", "the table of means"


class StandIns(NamedTuple):
    """Cells that stand in for data sets.

    Attributes
    ----------
    candidate
        Those of the candidate.
    known
        Those of each known source.
    said
        What they were drawn from, a sentence.
    """

    candidate: AnnData
    known: dict[str, AnnData]
    said: str


def stand_ins(
    table: MeanTable, known: Mapping[str, Corpus], by: By, n_cells: Mapping[str, int], *, name: str
) -> StandIns:
    """Draw cells around a candidate's means, and around those of known sources.

    Parameters
    ----------
    table
        The candidate's means.
    known
        The training cells of each known source.
    by
        What the study matches genes by. A table without Ensembl ids is matched by symbol.
    n_cells
        How many cells corpora need of the candidate, by `name`, and of each known source.
    name
        What the candidate is called.

    Raises
    ------
    InputError
        When the table has other genes, has one twice, or a group has no counts in those that are shared.
    """
    shared, matched_by = _shared(table, known, by, name)
    mean_RS = _candidate_means(table, shared, matched_by, name)
    grouped = len(table.groups) > 1 and all((cells.labels(GROUP) != "").any() for cells in known.values())
    n_R = np.ones(len(mean_RS)) if table.n_R is None else table.n_R
    seen = {one: _Seen.of(one, cells, shared, grouped=grouped) for one, cells in known.items()}
    profile = _Profile(mean_RS, n_R) if grouped else _Profile((n_R @ mean_RS)[None] / n_R.sum(), np.ones(1))
    # Each source counts as much.
    rng, fewest = generator(0, "stand-ins", "depth"), min(len(one.depth_N) for one in seen.values())
    depth_N = np.concatenate([rng.choice(one.depth_N, fewest, replace=False) for one in seen.values()])
    ids = pd.Index(shared.ids)
    drawn = {}
    for one, found in seen.items():
        kept = found.profile if table.n_R is not None else found.profile._replace(n_R=np.ones(len(found.profile.n_R)))
        drawn[one] = _drawn(kept, depth_N, ids, max(n_cells[one], N_DRAWN), one)
    candidate = _drawn(profile, depth_N, ids, max(n_cells[name], N_DRAWN), name)
    return StandIns(candidate, drawn, _said(table, shared, known, grouped=grouped))


def _said(table: MeanTable, shared: GeneSpace, known: Mapping[str, Corpus], *, grouped: bool) -> str:
    n_genes = next(iter(known.values())).n_genes
    several = len(table.groups) > 1
    kind = f"of {plural(len(table.groups), 'group')} of cells" if several else "over all cells"
    kind += ", taken together, as not all known sources have cell types" if several and not grouped else ""
    how = "" if table.n_R is not None or not several else ", in equal parts, as numbers of cells are not given"
    reduced = "cell type by cell type" if grouped else "as a whole"
    return (
        f"From a summary, not from cells: means {kind}{how}, in {len(shared):,} of the study's {n_genes:,} genes; "
        f"known sources were reduced to means {reduced}"
    )


def _shared(table: MeanTable, known: Mapping[str, Corpus], by: By, name: str) -> tuple[GeneSpace, By]:
    """Return the genes that a table shares with all known sources."""
    by = by if table.names.has_ensembl else "symbol"
    space = next(iter(known.values())).space
    measured_G = np.logical_and.reduce([one.measured_SG.all(axis=0) for one in known.values()])
    names = (space.ids if by == "ensembl" else space.symbols, space.symbols)
    own = GeneNames(*(np.where(measured_G, one, "") for one in names))
    try:
        shared = gene_space({STUDY: own, TABLE: table.names}, by=by)
    except SourceError:
        ours, theirs = (", ".join([one for one in genes.ids(by).tolist() if one][:3]) for genes in (own, table.names))
        raise InputError(
            f"{name}: expected means of the study's genes, such as {ours} (matched by {by}); the table of means has "
            f"{theirs or 'none of that kind'}; give a table of the same organism with symbols or Ensembl ids"
        ) from None
    if len(shared) < LEAST_SHARED * measured_G.sum():
        raise InputError(
            f"{name}: expected means of at least a tenth of the study's {measured_G.sum():,} genes; the table has "
            f"{len(shared):,} of them, such as {', '.join(shared.ids[:3])}; give all genes that were measured"
        )
    return shared, by


def _candidate_means(table: MeanTable, shared: GeneSpace, by: By, name: str) -> NDArray[np.float64]:
    """Return a table's means in the shared genes."""
    column_G = shared.columns[TABLE]
    names, counts = np.unique(table.names.ids(by)[column_G >= 0], return_counts=True)
    if (counts > 1).any():
        twice = str(names[counts > 1][0])
        raise InputError(
            f"{name}: expected a row for each gene; {shortened(twice)} has {counts.max()}. Add them up, if they are "
            "parts of one gene, or leave the others out"
        )
    mean_RS = np.zeros((len(table.groups), len(shared)))
    mean_RS[:, column_G[column_G >= 0]] = table.mean_GR[column_G >= 0].T
    if not (sum_R := mean_RS.sum(axis=1)).all():
        group = shortened(table.groups[int(sum_R.argmin())])
        raise InputError(f"{name}: all means of {group} are 0 in the {len(shared):,} genes that the study has")
    return mean_RS


class _Profile(NamedTuple):
    """Mean counts per 10,000 of groups (R, S), and how many cells each has, or its part (R,)."""

    mean_RS: NDArray[np.float64]
    n_R: NDArray[np.float64]


class _Seen(NamedTuple):
    """What is left of a known source: its profile, and the counts of each of its cells in the shared genes."""

    profile: _Profile
    depth_N: NDArray[np.int64]

    @classmethod
    def of(cls, name: str, cells: Corpus, shared: GeneSpace, *, grouped: bool) -> "_Seen":
        if len(cells) > MOST_CELLS:
            rng = generator(0, "stand-ins", name)
            cells = cells.take(np.sort(rng.choice(len(cells), MOST_CELLS, replace=False)))
        labels = cells.labels(GROUP) if grouped else np.full(len(cells), "")
        groups, group_N = np.unique(labels, return_inverse=True)
        total_RS, n_R, depths = np.zeros((len(groups), len(shared))), np.zeros(len(groups)), []
        for rows, counts_BG in cells.blocks(BLOCK_CELLS):
            counts_BS = shared.project(counts_BG, STUDY)
            depth_B = np.asarray(counts_BS.sum(axis=1)).ravel().astype(np.int64)
            member_RB = csr_matrix(
                ((depth_B > 0).astype(float), (group_N[rows], np.arange(len(depth_B)))), (len(groups), len(depth_B))
            )
            total_RS += (member_RB @ cp10k(counts_BS)).toarray()
            n_R += np.asarray(member_RB.sum(axis=1)).ravel()
            depths.append(depth_B[depth_B > 0])
        if not n_R.any():
            raise InputError(
                f"source {name!r} has no counts in the {len(shared):,} genes that the table shares with it"
            )
        profile = _Profile(total_RS[n_R > 0] / n_R[n_R > 0, None], n_R[n_R > 0])
        return cls(profile, np.concatenate(depths))


def _drawn(profile: _Profile, depth_N: NDArray[np.int64], genes: pd.Index, n_cells: int, name: str) -> AnnData:
    """Draw cells: groups in their proportions, each cell multinomial around its group's mean, as deep as one known."""
    rng = generator(0, "stand-ins", "cells", name)
    share_RS = profile.mean_RS / profile.mean_RS.sum(axis=1, keepdims=True)
    group_N = rng.choice(len(share_RS), n_cells, p=profile.n_R / profile.n_R.sum())
    drawn_N = rng.choice(depth_N, n_cells)
    blocks = []
    for start in range(0, n_cells, BLOCK_CELLS):
        rows = slice(start, start + BLOCK_CELLS)
        blocks.append(csr_matrix(rng.multinomial(drawn_N[rows], share_RS[group_N[rows]]).astype(np.int32)))
    barcodes = pd.Index([f"cell {at + 1}" for at in range(n_cells)])
    return AnnData(vstack(blocks, format="csr"), obs=pd.DataFrame(index=barcodes), var=pd.DataFrame(index=genes))
