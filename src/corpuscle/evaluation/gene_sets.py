"""Gene sets: read from a user's GMT file or from the package, and found among the genes of a study.

Axes in names: G genes.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import ComponentError
from corpuscle.core.paths import read_plain
from corpuscle.core.text import shortened, shown
from corpuscle.source.gene_names import ENSEMBL
from corpuscle.source.genes import GeneSpace

# The largest public collection, of all Gene Ontology, has 16,000; each set takes milliseconds per latent.
MOST_SETS, LONGEST_NAME = 20_000, 200
# Not part of a text: a file with one is a table of another kind, or compressed.
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


class GeneSet(NamedTuple):
    """A set of genes.

    Attributes
    ----------
    name
        What it is called.
    genes
        Its genes, each by all the names that it may go by: symbols or Ensembl ids without version.
    """

    name: str
    genes: tuple[tuple[str, ...], ...]


class FoundSet(NamedTuple):
    """A set as far as the genes of a study have it.

    Attributes
    ----------
    name, n_genes
        The set, and how many genes it has.
    n_found
        How many of them are among the study's.
    genes
        Their places among the study's genes, ascending.
    """

    name: str
    n_genes: int
    n_found: int
    genes: NDArray[np.intp]


def cell_cycle() -> tuple[GeneSet, ...]:
    """Return the genes of S and of G2/M phase of human cells after Tirosh et al. 2016 (Science 352: 189).

    43 and 54 genes; each by its symbol, its Ensembl id and, where it was renamed since, its symbol of then.

    Examples
    --------
    >>> [(one.name, len(one.genes)) for one in cell_cycle()]
    [('S phase', 43), ('G2/M phase', 54)]
    """
    text = (files("corpuscle.evaluation") / "cell_cycle.tsv").read_text(encoding="utf-8")
    sets: dict[str, list[tuple[str, ...]]] = {}
    for line in text.splitlines()[1:]:
        name, *names = line.split("\t")
        sets.setdefault(name, []).append(tuple(filter(None, names)))
    return tuple(GeneSet(name, tuple(genes)) for name, genes in sets.items())


def read_gmt(path: Path) -> tuple[GeneSet, ...]:
    """Read a GMT file: a set a line, of its name, a description that is not used, and its genes, parted by tabs.

    What follows a comma in a gene's name (a weight, as Enrichr writes it) and the version of an Ensembl id are dropped.

    Raises
    ------
    ComponentError
        When it cannot be read or is no such file.
    """
    try:
        status = path.stat()
        return _read_gmt(path, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError) as error:
        why = "it is no text in UTF-8; unpack it if it is compressed" if isinstance(error, UnicodeError) else str(error)
        why = error.strerror or why if isinstance(error, OSError) else why
        raise ComponentError(f"sets: {shown(path)}: cannot be read as a GMT file ({shortened(shown(why))})") from error


# A plan of thousands of runs names each result after the sets.
@lru_cache(maxsize=8)
def _read_gmt(path: Path, size: int, changed: int) -> tuple[GeneSet, ...]:
    """Read a file once, as long as its size and time are the same."""
    text = read_plain(path, "utf-8-sig")
    if _NO_TEXT.search(text):
        raise ValueError("it is no text; unpack it if it is compressed")
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise ValueError("it is empty; write a set a line: its name, a description and its genes, parted by tabs")
    if len(lines) > MOST_SETS:
        raise ValueError(f"it has {len(lines):,} sets, and at most {MOST_SETS:,} are read; keep those that are asked")
    sets: dict[str, GeneSet] = {}
    for number, line in lines:
        one = _set_of(number, line)
        if one.name in sets:
            raise ValueError(f"line {number}: the set {one.name!r} stands twice; give each its own name")
        sets[one.name] = one
    return tuple(sets.values())


def _set_of(number: int, line: str) -> GeneSet:
    """Read a line."""
    name, *rest = (part.strip() for part in line.split("\t"))
    genes = dict.fromkeys(gene for part in rest[1:] if (gene := _plain(part)))
    if not name or not genes:
        raise ValueError(
            f"line {number}: expected a set's name, a description and its genes, parted by tabs; it reads "
            f"{shortened(line, 60)!r}"
        )
    if len(name) > LONGEST_NAME:
        raise ValueError(f"line {number}: a set's name has {len(name):,} letters, and at most {LONGEST_NAME} are meant")
    return GeneSet(name, tuple((gene,) for gene in genes))


def _plain(name: str) -> str:
    """Return a gene's name as it is looked up.

    Examples
    --------
    >>> _plain("LYZ,1.0"), _plain("ENSG00000090382.7")
    ('LYZ', 'ENSG00000090382')
    """
    bare = name.partition(",")[0].strip()
    found = ENSEMBL.match(bare)
    return found[1] if found else bare


def find_sets(sets: Iterable[GeneSet], space: GeneSpace) -> list[FoundSet]:
    """Look the genes of sets up among those of a study, by Ensembl id and by symbol, in the case in which they stand.

    A symbol that several genes have stands for all of them.
    """
    places: dict[str, list[int]] = {}
    for names in (space.ids, space.symbols):
        for at, name in enumerate(names):
            known = places.setdefault(name, [])
            if at not in known:
                known.append(at)
    found = []
    for one in sets:
        per_gene = [{at for name in names for at in places.get(name, ())} for names in one.genes]
        genes = np.array(sorted(set().union(*per_gene)), np.intp)
        found.append(FoundSet(one.name, len(one.genes), sum(map(bool, per_gene)), genes))
    return found


def why_none(sets: Sequence[GeneSet], space: GeneSpace) -> str:
    """Return what both sides call genes, and the likely cause why no gene of any set is among the study's."""
    asked = [name for one in sets for names in one.genes for name in names]
    known = list(dict.fromkeys([*space.symbols[:3], *space.ids[:1]]))
    names = f"the sets have {_some(asked[:3])}, the study's genes are {_some(known)}"
    folded = {name.casefold(): name for name in (*space.ids, *space.symbols)}
    other = next((name for name in asked if name.casefold() in folded), None)
    if other is not None:
        cause = f"{shortened(other, 40)} there is {folded[other.casefold()]} here: likely they are of another organism"
    elif not _kinds(asked) & _kinds([*space.ids, *space.symbols]):
        cause = "likely one side has Ensembl ids and the other symbols"
    else:
        cause = "likely they are of another organism, or another kind of name"
    return f"{names}; {cause}. Give sets that name genes as the study does, by symbol or Ensembl id"


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(shortened(name, 40) for name in names)}, …"


def _kinds(names: Sequence[str]) -> set[bool]:
    """Return of which kinds some names are: True for Ensembl ids, False for others."""
    return {ENSEMBL.match(name) is not None for name in names[:: max(1, len(names) // 500)]}
