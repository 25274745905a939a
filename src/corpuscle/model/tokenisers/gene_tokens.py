"""Which token each gene of a study has in a model's vocabulary: by id, never by column, and refused where few have one.

Axes in names: G genes of the study.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import Corpus
from corpuscle.source.gene_names import ENSEMBL
from corpuscle.source.genes import GeneSpace

Naming = Literal["ensembl", "symbol"]
WORDS: dict[Naming, str] = {"ensembl": "Ensembl ids", "symbol": "symbols"}
# With less than this share of a corpus' counts, a model sees another cell than the one that was measured.
LEAST_SHARE = 0.5
# How many names a message shows.
SHOWN = 3


class Vocabulary(NamedTuple):
    """The genes that a model knows.

    Attributes
    ----------
    tokens
        Token by name.
    naming
        What the names are.
    synonyms
        Names by other names that stand for them, in capitals; for ids that are not in `tokens` as they are.
    place
        Where it is from, for errors.
    """

    tokens: Mapping[str, int]
    naming: Naming
    synonyms: Mapping[str, str]
    place: str


def gene_tokens(space: GeneSpace, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Return the token of each gene of a study, shape (G,); -1 where the model does not know it.

    Examples
    --------
    >>> space = GeneSpace(("CD14", "LYZ", "NEW"), ("CD14", "LYZ", "NEW"), {})
    >>> gene_tokens(space, Vocabulary({"LYZ": 7, "CD14": 4}, "symbol", {}, "vocab.json"))
    array([ 4,  7, -1])
    """
    return np.array([_token(vocabulary, names) for names in _names(space, vocabulary.naming)], np.int64)


def _names(space: GeneSpace, naming: Naming) -> list[tuple[str, ...]]:
    """Return the names of each gene, those of the vocabulary's kind first."""
    pairs = zip(space.ids, space.symbols, strict=True)
    return [(symbol, gene) if naming == "symbol" else (gene, symbol) for gene, symbol in pairs]


def _token(vocabulary: Vocabulary, names: tuple[str, ...]) -> int:
    for name in names:
        token = vocabulary.tokens.get(name)
        if token is None and vocabulary.synonyms:
            # Published dictionaries have their synonyms in capitals.
            token = vocabulary.tokens.get(vocabulary.synonyms.get(name.upper(), ""))
        if token is not None:
            return token
    return -1


class Matched(NamedTuple):
    """How much of a corpus a model's vocabulary knows.

    Attributes
    ----------
    genes
        Share of the genes that some cell has counts of.
    counts
        Share of all counts.
    """

    genes: float
    counts: float

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.genes:.0%} of the genes and {self.counts:.0%} of the counts have a token"


def matched(total_G: NDArray[np.float64], token_G: NDArray[np.int64]) -> Matched:
    """Return how much of a corpus has a token.

    Parameters
    ----------
    total_G
        The counts of each gene over all cells.
    token_G
        The genes' tokens; -1 where there is none.

    Examples
    --------
    >>> print(matched(np.array([90.0, 10.0, 0.0]), np.array([3, -1, 4])))
    50% of the genes and 90% of the counts have a token
    """
    known, seen = token_G >= 0, total_G > 0
    n_seen, n_counts = int(seen.sum()), float(total_G.sum())
    if not n_seen:
        return Matched(float("nan"), float("nan"))
    return Matched(float((known & seen).sum() / n_seen), float(total_G[known].sum() / n_counts))


def refuse_foreign(found: Matched, space: GeneSpace, vocabulary: Vocabulary) -> None:
    """Refuse a corpus most of whose counts a model does not know, with the likely cause.

    Genes that the vocabulary lacks are often ones with few counts, so that counts decide and not genes.

    Raises
    ------
    ModelError
        When less than `LEAST_SHARE` of the counts have a token.
    """
    if not found.counts < LEAST_SHARE:
        return
    ours = ", ".join(space.ids[:SHOWN])
    theirs = ", ".join(sorted(vocabulary.tokens, key=lambda name: (not name[:1].isalnum(), name))[:SHOWN])
    raise ModelError(
        f"{vocabulary.place}: only {found}, and at least {LEAST_SHARE:.0%} of the counts should; the study has "
        f"{ours} …, the vocabulary {theirs} …: {_likely_cause(space, vocabulary)}"
    )


def _likely_cause(space: GeneSpace, vocabulary: Vocabulary) -> str:
    are_ids = sum(bool(ENSEMBL.match(gene)) for gene in space.ids) > len(space) / 2
    naming: Naming = "ensembl" if are_ids else "symbol"
    known_symbols = any(symbol != gene for gene, symbol in zip(space.ids, space.symbols, strict=True))
    if naming != vocabulary.naming and not (are_ids and known_symbols):
        return (
            f"the study names genes by {WORDS[naming]}, the vocabulary by {WORDS[vocabulary.naming]}; give the sources "
            f'a column with {WORDS[vocabulary.naming]}, or set [genes] by = "{vocabulary.naming}"'
        )
    if are_ids and (kinds := _prefixes(space.ids)) != (known := _prefixes(vocabulary.tokens)) and kinds and known:
        return f"they are of different organisms ({kinds} and {known}); use names of one-to-one orthologs"
    folded = {name.casefold() for name in vocabulary.tokens}
    names = {name for names in _names(space, vocabulary.naming) for name in names}
    alike = sum(name.casefold() in folded for name in names)
    if alike > 2 * sum(name in vocabulary.tokens for name in names):
        return "names differ in capitals, as those of mouse and human do; use names of one-to-one orthologs"
    return "this is the vocabulary of another model, or of other genes"


def _prefixes(names: object) -> str:
    """Return what most Ensembl ids begin with."""
    found = [match[1].rstrip("0123456789") for name in names if (match := ENSEMBL.match(name))]  # type: ignore[attr-defined]
    return max(set(found), key=found.count) if found else ""


def gene_totals(corpus: Corpus) -> NDArray[np.float64]:
    """Return the counts of each gene over a corpus' distinct cells, shape (G,); it is read once."""
    total_G = np.zeros(corpus.n_genes)
    for _, counts_BG in corpus.blocks():
        total_G += np.asarray(counts_BG.sum(axis=0, dtype=np.float64)).ravel()
    return total_G
