"""One gene space: the same genes whatever a file calls them, and a count of what each source lost."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from corpuscle.core.errors import SourceError
from corpuscle.source.gene_names import gene_names
from corpuscle.source.genes import gene_space, loss_table, not_found

LYZ, CD14, INS, ND1 = "ENSG00000090382", "ENSG00000170458", "ENSG00000254647", "ENSG00000198888"


def symbols(*names):
    return gene_names(pd.DataFrame(index=list(names)))


def ensembl(*names, **columns):
    return gene_names(pd.DataFrame(columns, index=list(names)))


@pytest.mark.parametrize(
    ("genes", "ids"),
    [("intersection", ("B", "C")), ("union", ("A", "B", "C", "D"))],
)
def test_intersection_and_union(genes, ids):
    space = gene_space({"one": symbols("C", "B", "A"), "two": symbols("B", "D", "C")}, genes)
    assert space.ids == ids
    assert [gene for gene, there in zip(ids, space.measured("one"), strict=True) if there] == sorted(set(ids) - {"D"})


def test_genes_meet_by_ensembl_id_without_version():
    space = gene_space(
        {"one": ensembl(f"{LYZ}.7", CD14, feature_name=["LYZ", "CD14"]), "two": ensembl(CD14, f"{LYZ}.12")}
    )
    assert space.ids == (LYZ, CD14)
    assert space.symbols == ("LYZ", "CD14")


@pytest.mark.parametrize("column", ["feature_name", "gene_symbols", "symbol"])
def test_where_a_source_has_symbols_only_all_meet_by_symbol(column):
    space = gene_space({"one": ensembl(LYZ, CD14, **{column: ["LYZ", "CD14"]}), "two": symbols("LYZ", "INS")})
    assert space.ids == ("LYZ",)


def test_ids_may_be_in_a_column():
    found = gene_names(pd.DataFrame({"gene_ids": [f"{LYZ}.1", None]}, index=["LYZ", "AL627309.1"]))
    assert found.ensembl.tolist() == [LYZ, ""]
    assert found.symbols.tolist() == ["LYZ", "AL627309.1"]


def test_duplicates_are_summed_and_genes_outside_dropped():
    names = symbols("B", "A", "B", "Z")
    space = gene_space({"one": names, "two": symbols("A", "B")})
    counts = csr_matrix(np.array([[1, 2, 3, 4], [0, 0, 0, 9], [200, 0, 100, 0]], np.uint8))
    projected = space.project(counts, "one")
    assert projected.dtype == np.float32
    np.testing.assert_array_equal(projected.toarray(), [[2, 4], [0, 0], [0, 300]])
    assert projected.has_sorted_indices
    assert counts.toarray()[0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("missing", [None, np.nan, "", "nan", " ", "<NA>", "NA", "N/A", "NULL"], ids=repr)
def test_a_gene_without_a_name_is_in_no_space(missing):
    names = gene_names(pd.DataFrame(index=pd.Index(["A", missing], dtype=object)))
    space = gene_space({"one": names, "two": names}, "union")
    assert space.ids == ("A",)
    assert loss_table({"one": names, "two": names}, space, "symbol")["no_id"].tolist() == [1, 1]


def test_the_loss_table_accounts_for_every_gene():
    names = {"one": symbols("A", "B", "B", "", "X"), "two": symbols("A", "B", "Y")}
    table = loss_table(names, gene_space(names), "symbol").set_index("source")
    assert table.loc["one"].to_dict() == {"n_genes": 5, "no_id": 1, "lost": 1, "merged": 1, "kept": 2}
    parts = table[["no_id", "lost", "merged", "kept"]].sum(axis=1)
    assert parts.tolist() == table["n_genes"].tolist() == [5, 3]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("g.txt", "INS\nLYZ\nUNHEARD\n", id="one a line"),
        pytest.param("g.txt", "gene\r\nINS\r\nLYZ\r\n", id="header and Windows line ends"),
        pytest.param("g.txt", "\ufeffINS\nLYZ\n\n", id="byte order mark and empty lines"),
        pytest.param(
            "g.csv", ",feature_id,feature_name\n0,ENSG00000254647,INS\n1,ENSG00000090382,LYZ\n", id="CSV with index"
        ),
        pytest.param("g.csv", "feature_name,score\nINS,1\nLYZ,2\n", id="CSV"),
        pytest.param("g.csv", '"feature_id","feature_name"\n"x","INS"\n"y","LYZ"\n', id="quoted CSV"),
        pytest.param("g.tsv", "x\tsymbol\n0\tINS\n1\tLYZ\n", id="TSV"),
        pytest.param("features.tsv", f"{INS}\tINS\tGene Expression\n{LYZ}\tLYZ\tGene Expression\n", id="10x features"),
    ],
)
def test_a_list_of_genes_is_read(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    space = gene_space({"one": symbols("LYZ", "INS", "CD14"), "two": symbols("LYZ", "CD14")}, tmp_path / name)
    assert space.ids == ("INS", "LYZ")
    assert space.measured("two").tolist() == [False, True]


def test_a_list_of_ids_serves_sources_that_have_them(tmp_path):
    (tmp_path / "g.csv").write_text(f",feature_id,feature_name\n0,{INS}.3,INS\n1,{LYZ},LYZ\n")
    assert gene_space({"one": ensembl(LYZ, CD14, INS)}, tmp_path / "g.csv").ids == (LYZ, INS)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        pytest.param(None, 'no such gene list: .*; write "intersection", "union"', id="missing"),
        pytest.param(b"", "not a list of genes", id="empty"),
        pytest.param(b"\xff\xfe\x00LYZ", "not a list of genes", id="not text"),
        pytest.param(b"LYZ\nA,B,C\n", "not a list of genes", id="ragged"),
        pytest.param(b"NOPE\n", "no source has a gene of the list", id="no gene of any source"),
        pytest.param(b"a,b\n1,2\n", "none of the study's genes|no source has a gene", id="no column of genes"),
    ],
)
def test_a_list_that_is_none_is_told(tmp_path, write, message):
    path = tmp_path / "genes.csv"
    if write is not None:
        path.write_bytes(write)
    with pytest.raises(SourceError, match=message):
        gene_space({"one": symbols("LYZ", "CD14")}, path)


def test_a_folder_is_no_list(tmp_path):
    with pytest.raises(SourceError, match="not a list of genes"):
        gene_space({"one": symbols("LYZ")}, tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(
            {"a": symbols("LYZ"), "b": symbols("lyz1")}, "share no gene .* a: LYZ, …; b: lyz1", id="nothing shared"
        ),
        pytest.param({"a": symbols("LYZ"), "b": ensembl(LYZ)}, "'b' names no gene by symbol", id="ids and symbols"),
        pytest.param({"a": symbols("LYZ"), "b": symbols("")}, "'b' names no gene by symbol", id="no names"),
    ],
)
def test_sources_that_cannot_meet_are_told_with_examples(names, message):
    with pytest.raises(SourceError, match=message):
        gene_space(names)


def test_the_fingerprint_tells_spaces_apart():
    one, two = symbols("A", "B", "C"), symbols("A", "C", "B")
    spaces = [
        gene_space({"x": one}),
        gene_space({"x": two}),
        gene_space({"y": one}),
        gene_space({"x": symbols("A", "B")}),
    ]
    assert len({space.fingerprint for space in spaces}) == len(spaces)
    assert gene_space({"x": one}).fingerprint == gene_space({"x": symbols("A", "B", "C")}).fingerprint


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(pd.DataFrame(index=["MT-ND1", "LYZ"]), id="symbols"),
        pytest.param(pd.DataFrame(index=["mt-Nd1", "Lyz"]), id="mouse"),
        pytest.param(pd.DataFrame({"feature_name": ["MT-ND1", "LYZ"]}, index=[ND1, LYZ]), id="ids with symbols"),
        pytest.param(pd.DataFrame(index=[f"{ND1}.2", LYZ]), id="ids only"),
    ],
)
def test_mitochondrial_genes_are_found(table):
    assert gene_names(table).mitochondrial.tolist() == [True, False]


@pytest.mark.parametrize("space", ["intersection", "union"])
@pytest.mark.parametrize(
    ("one", "other", "example"),
    [
        ([f"ENSG000000{at:05}" for at in range(9)], [f"ENSMUSG000000{at:05}" for at in range(9)], "ENSG.* and ENSMUSG"),
        ([f"LYZ{at}" for at in range(20)], ["MALAT1", *(f"Lyz{at}" for at in range(20))], "LYZ0 and Lyz0"),
    ],
    ids=["ensembl", "symbol"],
)
def test_genes_of_different_organisms_are_refused_with_the_way_out(one, other, example, space):
    names = {source: gene_names(pd.DataFrame(index=genes)) for source, genes in (("man", one), ("mouse", other))}
    with pytest.raises(
        SourceError, match=rf"'man' and 'mouse' name genes of different organisms \({example}.*orthologs"
    ):
        gene_space(names, space)


def test_a_few_names_may_differ_in_case_only():
    one, other = [f"G{at}" for at in range(30)], [*(f"G{at}" for at in range(25)), *(f"g{at}" for at in range(25, 30))]
    names = {source: gene_names(pd.DataFrame(index=genes)) for source, genes in (("a", one), ("b", other))}
    assert len(gene_space(names)) == 25


def test_a_transgene_does_not_make_mouse_human():
    man = [f"ENSG000000{at:05}" for at in range(60)]
    mouse = [*(f"ENSMUSG000000{at:05}" for at in range(59)), man[0]]
    with pytest.raises(SourceError, match=r"different organisms \(ENSMUSG.* and ENSG"):
        gene_space({"mouse": ensembl(*mouse), "man": ensembl(*man)})


@pytest.mark.parametrize("by", ["ensembl", "symbol"])
@pytest.mark.parametrize("n_human", [40, 30, 20])
def test_an_experiment_of_two_organisms_shares_genes_with_one_of_either(by, n_human):
    man, mouse = [f"ENSG000000{at:05}" for at in range(60)], [f"ENSMUSG000000{at:05}" for at in range(60)]
    if by == "symbol":
        man, mouse = [f"LYZ{at}" for at in range(60)], [f"Lyz{at}" for at in range(60)]
    mixed = symbols(*man[:n_human], *mouse[n_human:])
    assert len(gene_space({"mixed": mixed, "mouse": symbols(*mouse)})) == 60 - n_human
    assert len(gene_space({"man": symbols(*man), "mixed": mixed})) == n_human


@pytest.mark.parametrize("genome", ["GRCh38_", "hg19_", "mm10___", "GRCm39_", "GRCh38______", "GRCh38-2020-A_"])
def test_the_genome_before_a_name_is_no_part_of_it(genome):
    found = ensembl(f"{genome}{LYZ}.3", f"{genome}{CD14}", feature_name=[f"{genome}LYZ", f"{genome}MT-CD14"])
    assert found.ensembl.tolist() == [LYZ, CD14]
    assert found.symbols.tolist() == ["LYZ", "MT-CD14"]
    assert symbols(f"{genome}LYZ", "EGFP", "Y_RNA").symbols.tolist() == ["LYZ", "EGFP", "Y_RNA"]


def test_genes_of_two_genomes_stay_apart():
    barnyard = symbols("GRCh38_C3", "mm10___C3", "GRCh38_MT-ND1", "mm10___mt-Nd1")
    assert len(gene_space({"both": barnyard})) == 4
    assert barnyard.mitochondrial.tolist() == [False, False, True, True]


@pytest.mark.parametrize("header", ["", "gene\n"], ids=["bare", "header"])
def test_genes_of_a_list_that_no_source_has_are_counted(tmp_path, header):
    path = tmp_path / "g.txt"
    path.write_text(f"{header}INS\nLYZ\nNOPE\n")
    space = gene_space({"one": symbols("LYZ", "INS")}, path)
    assert not_found(path, "symbol", space) == "no source has 1 of the 3 genes of g.txt, matched by symbol: NOPE"
    path.write_text(f"{header}INS\n")
    assert not_found(path, "symbol", space) == ""
