"""Antibodies, peaks and guides are no genes, whatever the format: not in counts, thresholds or the gene space."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import SourceError
from corpuscle.source.features import features_of
from corpuscle.source.genes import gene_space
from corpuscle.source.quality import survey
from corpuscle.source.source import open_source
from stores import STORES

GEX = "Gene Expression"


@pytest.mark.parametrize("name", ["h5ad, CSR", "h5ad, dense", "zarr 3", "census", "collection"])
def test_they_are_left_out_of_every_format(tmp_path, annotated, counts_of, name):
    counts = counts_of(40)
    kinds = np.array([GEX] * 30, object)
    kinds[[3, 17]], kinds[29] = "Antibody Capture", "Peaks"
    # An antibody is called as a gene is.
    genes = pd.DataFrame({"feature_types": kinds}, index=[f"GENE{at}A" for at in range(30)])
    genes = genes.rename(index={"GENE17A": "GENE5A"}) if name not in ("census", "collection") else genes
    is_gene = kinds == GEX
    with pytest.warns(match="Variable names") if not genes.index.is_unique else _calm():
        path = STORES[name](tmp_path, annotated(counts, genes=genes))
    source = open_source("blood", path)
    assert source.genes.index.tolist() == [f"GENE{at}A" for at in range(30) if is_gene[at]]
    rows = np.array([39, 2, 2])
    np.testing.assert_array_equal(source.reader.read_counts(rows).toarray(), counts[rows][:, is_gene])
    assert dict(source.reader.about_genes().left_out) == {"Antibody Capture": 2, "Peaks": 1}
    table = survey(source, gene_space({"blood": source.gene_names}))
    np.testing.assert_array_equal(table["n_counts"], counts[:, is_gene].sum(axis=1))
    np.testing.assert_array_equal(table["n_counts_in_space"], counts[:, is_gene].sum(axis=1))


def test_the_files_of_one_source_may_have_other_antibodies(tmp_path, annotated, counts_of):
    counts, place = counts_of(12), tmp_path / "many"
    place.mkdir()
    genes = [f"X{at}Y" for at in range(30)]
    kinds = pd.DataFrame({"feature_types": [*[GEX] * 28, "Custom", "Custom"]}, index=genes)
    annotated(counts[:6], genes=kinds).write_h5ad(place / "a.h5ad")
    annotated(counts[6:, 27::-1], genes=genes[27::-1]).write_h5ad(place / "b.h5ad")
    source = open_source("blood", place)
    np.testing.assert_array_equal(source.reader.read_counts(np.arange(12)).toarray(), counts[:, :28])


@pytest.mark.parametrize(
    ("column", "kinds", "is_gene"),
    [
        pytest.param("feature_types", [GEX, "Peaks", "Anything"], [1, 0, 0], id="multiome"),
        pytest.param("Feature_Type", ["gene expression", "ADT", "HTO"], [1, 0, 0], id="capitals"),
        pytest.param("feature_types-0", [GEX, GEX, "Custom"], [1, 1, 0], id="of several files"),
        pytest.param("feature_types", [GEX, None, "CRISPR Guide Capture"], [1, 1, 0], id="some are missing"),
        pytest.param("feature_types", [None, None, None], [1, 1, 1], id="all are missing"),
        pytest.param("feature_type", ["protein_coding", "lncRNA", "TR_V_gene"], [1, 1, 1], id="biotypes"),
        pytest.param("feature_type", ["x", "Antibody Capture", "x"], [1, 0, 1], id="unknown kinds"),
        pytest.param("feature_types", [GEX, "Negative Control Probe", "Unassigned Codeword"], [1, 0, 0], id="Xenium"),
        pytest.param("type", ["a", "Peaks", "b"], [1, 1, 1], id="another column"),
    ],
)
@pytest.mark.parametrize("kind", ["object", "category"])
def test_genes_are_told_from_other_features(column, kinds, is_gene, kind):
    found = features_of(pd.DataFrame({column: pd.Series(kinds, dtype=kind)}))
    assert found.is_gene.tolist() == [bool(each) for each in is_gene]
    assert sum(found.others.values()) == 3 - sum(is_gene)


def test_a_file_without_genes_is_refused_with_its_name(write):
    genes = pd.DataFrame({"feature_types": ["Peaks"] * 30}, index=[f"chr1:{at}-{at + 5}" for at in range(30)])
    with pytest.raises(SourceError, match=r"data\.h5ad: no feature is of the type Gene Expression.* 30 Peaks"):
        open_source("blood", write(genes=genes))


def _calm():
    return ad.settings.override()
