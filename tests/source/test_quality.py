"""A survey refuses what is not counts, and the filter counts its reasons."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from corpuscle.core.errors import SourceError
from corpuscle.source import quality
from corpuscle.source.gene_names import gene_names
from corpuscle.source.genes import gene_space
from corpuscle.source.quality import KEPT, Quality, survey, survey_key
from corpuscle.source.source import open_source


def surveyed(*sources, genes="intersection"):
    space = gene_space({source.name: gene_names(source.genes) for source in sources}, genes)
    return [survey(source, space) for source in sources]


@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_a_survey_counts_over_all_genes_of_the_file(write, counts_of, form, monkeypatch):
    monkeypatch.setattr(quality, "SURVEY_CELLS", 5)
    counts = counts_of(12)
    names = ["MT-CO1", "MT-ND1", *(f"G{at}" for at in range(28))]
    source = open_source("blood", write("data", counts, form=form, genes=names), where="donor != 'd1'")
    (table,) = surveyed(source)
    chosen = counts[source.cells["row"]]
    np.testing.assert_array_equal(table["n_counts"], chosen.sum(axis=1))
    np.testing.assert_array_equal(table["n_genes"], (chosen > 0).sum(axis=1))
    np.testing.assert_allclose(table["mito_fraction"], chosen[:, :2].sum(axis=1) / chosen.sum(axis=1))
    assert len(table) == len(source) == 8


def test_a_file_without_mitochondrial_genes_has_no_fraction(write):
    (table,) = surveyed(open_source("blood", write()))
    assert table["mito_fraction"].isna().all()


BAD = {
    "fractions": (0.5, "float32", "fractions among whole numbers, as estimated counts do .*0.5 in row 7, gene G4"),
    "negative": (-1, "int32", "negative values .*-1 in row 7, gene G4"),
    "negative fraction": (-0.5, "float64", "negative values"),
    "NaN": (np.nan, "float64", "NaN or infinite values"),
    "infinite": (np.inf, "float32", "NaN or infinite values"),
    "too large": (2**40, "int64", "numbers too large for counts"),
}


@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
@pytest.mark.parametrize(("value", "number_type", "message"), BAD.values(), ids=BAD.keys())
def test_what_is_not_counts_is_refused(write, counts_of, *, form, value, number_type, message):
    counts = counts_of(12).astype(number_type)
    counts[7, 4] = value
    with pytest.raises(SourceError, match=f"raw counts are needed, but X holds {message}"):
        surveyed(open_source("blood", write("data", counts, form=form)))


def test_the_refusal_names_the_places_that_may_hold_counts(annotated, counts_of, tmp_path):
    counts = csr_matrix(counts_of(5))
    annotated(csr_matrix(np.log1p(counts)), layers={"counts": counts}).write_h5ad(tmp_path / "data.h5ad")
    with pytest.raises(SourceError, match="say where the raw counts are: counts = 'layers/counts'"):
        surveyed(open_source("blood", tmp_path / "data.h5ad"))


def test_a_bad_value_in_a_cell_that_is_not_offered_is_no_matter(write, counts_of):
    counts = counts_of(12).astype(float)
    counts[1] = 0.5
    surveyed(open_source("blood", write("data", counts), where="cell_type == 'B'"))


def test_a_cell_has_the_same_counts_in_the_space_whatever_its_file(write, counts_of):
    """The same cells: in another order, of genes too, by Ensembl id, of another number type, with more genes."""
    counts = counts_of(6, 8)
    ids = [f"ENSG0000000000{at}" for at in range(8)]
    one = open_source("one", write("one", counts, genes=pd.DataFrame({"symbol": list("abcdefgh")}, index=ids)))
    wide = np.hstack([counts, counts_of(6, 2, seed=1)])[::-1, [9, 7, 0, 1, 6, 5, 8, 4, 3, 2]].astype(np.float64)
    names = [[*"abcdefgh", "x", "y"][at] for at in [9, 7, 0, 1, 6, 5, 8, 4, 3, 2]]
    two = open_source("two", write("two", wide, form="csc", genes=names))
    here, there = surveyed(one, two)
    assert here["n_counts_in_space"].tolist() == there["n_counts_in_space"].tolist()[::-1]
    assert (there["n_counts"].to_numpy()[::-1] >= here["n_counts"].to_numpy()).all()


def test_the_filter_gives_each_cell_its_first_reason():
    table = pd.DataFrame(
        {
            "n_counts": [1000, 99, 1000, 1000, 1000, 50],
            "n_genes": [500, 40, 49, 500, 500, 10],
            "mito_fraction": [0.1, 0.5, 0.5, 0.21, 0.2, np.nan],
            "n_counts_in_space": [9, 9, 9, 9, 0, 0],
        }
    )
    found = Quality(min_counts=100, min_genes=50, max_mito_fraction=0.2).reasons(table).tolist()
    assert found == [
        KEPT,
        "fewer than 100 counts",
        "fewer than 50 genes",
        "mito_fraction above 0.2",
        "no counts in the study's genes",
        "fewer than 100 counts",
    ]
    assert Quality().reasons(table).tolist() == [KEPT] * 4 + ["no counts in the study's genes"] * 2


def test_a_surveys_key_hangs_on_content_cells_and_genes(write):
    a, b = write("a"), write("b", seed=1)
    sources = [open_source("x", a), open_source("x", b), open_source("x", a, where="donor == 'd1'")]
    keys = [survey_key(source, gene_space({"x": gene_names(source.genes)})) for source in sources]
    short = gene_names(sources[0].genes.iloc[:9])
    narrow = gene_space({"x": gene_names(sources[0].genes), "y": short})
    keys.append(survey_key(sources[0], narrow))
    assert len(set(keys)) == 4
    assert survey_key(open_source("x", a), gene_space({"x": gene_names(sources[0].genes)})) == keys[0]
