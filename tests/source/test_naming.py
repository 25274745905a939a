"""Numbers that merely count genes are no names: those are found in a column, or the file is refused."""

from itertools import product

import h5py
import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import SourceError
from corpuscle.source.gene_names import gene_names
from corpuscle.source.genes import gene_space
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
    "left of a longer count": [str(100 + at * 500) for at in range(N)],
    "called by place": [f"V{at + 1}" for at in range(N)],
    "called by place, some of more": [f"gene_{100 + at * 500}" for at in range(N)],
    "called by place, in another order": [f"Gene {at}" for at in range(N)][::-1],
    "barcodes": [f"s1_ACGTACGTACGT{''.join(end)}-1" for end in product("ACGT", repeat=3)][:N],
    "peaks": [f"chr{at % 22 + 1}:{at}-{at + 9}" for at in range(N)],
    "mostly missing": [*SYMBOLS[:20], *["NA"] * 40],
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


@pytest.mark.parametrize(
    ("index", "what"),
    [
        (COUNTS["left of a longer count"], "numbers that merely count them"),
        (COUNTS["barcodes"], "barcodes of cells, as in a transposed matrix"),
        (COUNTS["peaks"], "places in a genome"),
    ],
    ids=["a count", "barcodes", "peaks"],
)
def test_what_names_no_genes_is_refused_unless_it_is_asked_for(index, what):
    bare = pd.DataFrame(index=index)
    with pytest.raises(SourceError, match=f'index of var holds {what}.* write genes = "COLUMN".* or genes = "index"'):
        named(bare)
    assert named(bare, "index").table.index.tolist() == index


def test_an_index_that_lacks_most_names_is_remarked_on():
    found = named(pd.DataFrame(index=COUNTS["mostly missing"]))
    assert found.remark == "the index of its var holds names for 20 of 60 genes only"


def test_dates_among_names_are_remarked_on():
    dated = [*SYMBOLS[:56], "1-Mar", "2-Sep-24", "2001-03-01", "HLA-DRB1-1"]
    assert "3 of its genes are called by dates (1-Mar, 2-Sep-24, 2001-03-01)" in named(pd.DataFrame(index=dated)).remark
    # C. elegans has genes of such names.
    assert not named(pd.DataFrame(index=[*SYMBOLS[:57], "sep-1", "jun-1", "oct-1"])).remark


def test_the_copies_of_a_gene_on_x_and_y_are_one_gene():
    assert (
        gene_names(pd.DataFrame(index=["ENSG00000182378.15", "ENSG00000182378.15_PAR_Y"])).ensembl.tolist()
        == ["ENSG00000182378"] * 2
    )


def test_a_matrix_of_genes_by_cells_is_refused(write, counts_of):
    path = write("data", counts_of(5, 4), genes=pd.DataFrame(index=["c1", "c2", "c3", "c4"]))
    with h5py.File(path, "a") as file:
        file["obs/_index"][...] = IDS[:5]
    with pytest.raises(SourceError, match=r"\(obs\) are called by the ids of genes \(ENSG00000000001, .*transposed"):
        open_source("a", path)


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
