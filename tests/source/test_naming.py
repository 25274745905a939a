"""Numbers that merely count genes are no names: those are found in a column, or the file is refused."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import SourceError
from corpuscle.source.genes import gene_space
from corpuscle.source.identifiers import gene_names
from corpuscle.source.naming import named
from corpuscle.source.source import dataset_names, dataset_path, open_source

N = 60
SYMBOLS = [f"{word}{at}" for at, word in enumerate(["CD", "IL", "HLA-DRB", "mt-Nd", "Gm", "1700007K1Rik"] * 10)]
IDS = [f"ENSG{at:011}" for at in range(1, N + 1)]
OTHERS = {
    "chrom": ["chr1"] * N,
    "length": np.arange(N),
    "transcript": [f"ENST{at:011}" for at in range(N)],
    "place": [f"chr1:{at}-{at + 9}" for at in range(N)],
    "protein": [f"P{at:05}" for at in range(N)],
    "what": [f"a gene of number {at}" for at in range(N)],
    "rank": [f"{at}.5" for at in range(N)],
}
COUNTS = {
    "from 0": [str(at) for at in range(N)],
    "from 1": [str(at + 1) for at in range(N)],
    "integers": list(range(N)),
    "floats": [f"{at}.0" for at in range(N)],
    "some of more": [str(at * 7) for at in range(N)],
    "in another order": [str(at) for at in range(N)][::-1],
    "called by place": [f"V{at + 1}" for at in range(N)],
    "missing": [""] * N,
}


def table(index, **columns):
    return pd.DataFrame({**OTHERS, **columns}, index=pd.Index(index))


@pytest.mark.parametrize("index", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("column", ["features", "_index", "Symbol", "external_gene_name", "Gene Symbol", "unheard"])
def test_symbols_are_found_in_a_column(index, column):
    found = named(table(index, **{column: SYMBOLS}))
    assert found.table.index.tolist() == SYMBOLS
    assert repr(column) in found.remark
    assert gene_names(found.table).symbols.tolist() == SYMBOLS


@pytest.mark.parametrize("column", ["ID", "ensembl_gene_id", "features", "unheard"])
@pytest.mark.parametrize("index", [COUNTS["from 0"], SYMBOLS], ids=["counting", "symbols"])
def test_ids_are_found_in_a_column(index, column):
    names = gene_names(named(table(index, **{column: IDS, "Symbol": SYMBOLS})).table)
    assert names.ensembl.tolist() == IDS
    assert names.symbols.tolist() == SYMBOLS


def test_what_looks_like_no_symbol_is_not_taken_for_one():
    assert gene_names(table(IDS)).symbols.tolist() == [""] * N
    with pytest.raises(SourceError, match=r"no names: .*\(0, 1, 2, …\).*'chrom', 'length', .*genes = \"COLUMN\""):
        named(table(COUNTS["from 0"]))


def test_entrez_ids_are_no_count():
    entrez = [str(at) for at in np.random.default_rng(0).choice(100_000_000, N, replace=False)]
    found = named(pd.DataFrame(index=entrez))
    assert found.table.index.tolist() == entrez
    assert "Entrez" in found.remark
    assert len(gene_space({"a": gene_names(found.table), "b": gene_names(found.table)})) == N


@pytest.mark.parametrize("index", [SYMBOLS, IDS, SYMBOLS[::-1]], ids=["symbols", "ids", "another order"])
def test_names_are_left_as_they_are(index):
    found = named(table(index, features=[f"OTHER{at}" for at in range(N)]))
    assert found.table.index.tolist() == index
    assert found.remark == ""


def test_names_by_place_without_a_column_are_remarked_on():
    found = named(pd.DataFrame(index=COUNTS["called by place"]))
    assert found.matched_by_place
    assert "V1, V2, V3, …" in found.remark


def test_files_in_other_orders_meet_by_name(write, counts_of, corpus_of):
    counts, order = counts_of(24, N), np.random.default_rng(1).permutation(N)
    write("a", counts[:12], genes=pd.DataFrame({"features": SYMBOLS}, index=COUNTS["from 0"]))
    path = write(
        "b", counts[12:, order], genes=pd.DataFrame({"features": np.array(SYMBOLS)[order]}, index=COUNTS["from 0"])
    )
    apart = corpus_of(*(open_source(name, path.parent / f"{name}.h5ad") for name in "ab"))
    by_name = np.argsort(SYMBOLS)
    np.testing.assert_array_equal(apart.counts().toarray(), counts[:, by_name])
    together = open_source("both", path.parent)
    np.testing.assert_array_equal(together.reader.read_counts(np.arange(24)).toarray(), counts)


def test_files_of_one_source_called_by_place_meet_by_id(write, counts_of):
    counts, order = counts_of(24, N), np.random.default_rng(1).permutation(N)
    write("a", counts[:12], genes=pd.DataFrame({"gene_ids": IDS}, index=COUNTS["called by place"]))
    path = write(
        "b", counts[12:, order], genes=pd.DataFrame({"gene_ids": np.array(IDS)[order]}, index=COUNTS["called by place"])
    )
    both = open_source("both", path.parent)
    np.testing.assert_array_equal(both.reader.read_counts(np.arange(24)).toarray(), counts)


@pytest.mark.parametrize("column", ["features", "unheard"])
@pytest.mark.parametrize("dataset", dataset_names())
def test_real_symbols_are_found_in_a_column(dataset, column):
    genes = open_source(dataset, dataset_path(dataset)).genes
    symbols = gene_names(genes).symbols
    assert named(genes).remark == ""
    counted = pd.DataFrame({column: symbols}, index=np.arange(len(genes)).astype(str))
    assert named(counted).table.index.tolist() == symbols.tolist()


def test_a_column_can_be_named(write):
    path = write(genes=pd.DataFrame({"features": SYMBOLS[:30], "mine": SYMBOLS[30:]}, index=COUNTS["from 0"][:30]))
    assert open_source("blood", path, genes="mine").genes.index.tolist() == SYMBOLS[30:]
    assert open_source("blood", path, genes="index").genes.index.tolist() == COUNTS["from 0"][:30]
    with pytest.raises(SourceError, match=r"genes = 'mime', but .* no such column; .*mine"):
        open_source("blood", path, genes="mime")
