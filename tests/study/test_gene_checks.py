"""What a study says of its genes, and which sources it refuses to cut to almost nothing."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import StudyError
from corpuscle.source.gene_names import gene_names
from corpuscle.source.genes import gene_space
from corpuscle.study.gene_checks import lost_sources
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study
from corpuscle.study.tables import GenesSpec

STUDY = """
name = "small"
models = [{{ name = "pca" }}]
corpora = [{{ name = "A", parts = [{{ source = "a", n_cells = 5 }}] }}]
genes = {{ {genes} }}
[sources]
a = {{ path = "a.h5ad"{keys} }}
b = {{ path = "b.h5ad" }}
"""


@pytest.fixture
def plan(tmp_path):
    return lambda genes="", keys="": prepare(Study.parse(STUDY.format(genes=genes, keys=keys), tmp_path))


def test_a_space_that_keeps_little_of_a_source_is_refused_unless_asked_for(plan, write):
    write("a", 12)
    write("b", 12, genes=[*(f"G{at}" for at in range(27, 30)), *(f"X{at}" for at in range(27))])
    with pytest.raises(StudyError) as caught:
        plan()
    found = {problem.place: problem for problem in caught.value.problems}
    assert set(found) == {"sources.a", "sources.b"}
    assert found["sources.b"].line == 8
    message = found["sources.b"].message
    assert "3 of its 30 genes" in message
    assert "less than 20%" in message
    assert "min_counts_kept = 0." in message
    assert plan("min_counts_kept = 0").genes["counts_kept"].lt(0.2).all()
    assert len(plan('space = "union"').space) == 57


def test_a_list_may_keep_what_it_keeps_and_says_what_was_not_found(plan, write, tmp_path):
    (tmp_path / "few.txt").write_text("G0\nNOPE\n")
    write("a", 12)
    write("b", 12)
    found = plan('space = "few.txt"')
    assert found.genes["counts_kept"].lt(0.2).all()
    assert [warning.line for warning in found.warnings if "1 of the 2 genes of few.txt" in warning.message] == [5]
    with pytest.raises(StudyError, match="less than 20%"):
        plan('space = "few.txt", min_counts_kept = 0.2')


@pytest.mark.parametrize(
    ("sizes", "cause"),
    [
        ({"panel": 5, "whole": 60}, "'panel' has only 5 genes"),
        ({"a": 60, "whole": 60}, "kind or organism: others lack whole0"),
    ],
    ids=["panel", "release"],
)
def test_the_likely_cause_is_named(sizes, cause):
    first, _ = sizes
    few = [f"G{at}" for at in range(5)]
    names = {
        source: gene_names(pd.DataFrame(index=[*few, *(f"{source}{at}" for at in range(size - 5))]))
        for source, size in sizes.items()
    }
    surveys = {source: pd.DataFrame({"n_counts": [100], "n_counts_in_space": [2]}) for source in sizes}
    surveys[first] = pd.DataFrame({"n_counts": [100], "n_counts_in_space": [90]})
    ((place, message),) = lost_sources(GenesSpec(), names, gene_space(names), surveys, "symbol")
    assert place == "sources.whole"
    assert cause in message
    assert "keep 2.0% of the counts" in message


def of_genes(plan):
    return [
        warning for warning in plan.warnings if "genes" in warning.message and "too few counts" not in warning.message
    ]


def test_the_names_that_were_found_and_what_was_left_out_are_shown(plan, write):
    genes = pd.DataFrame({"features": [f"CD{at}" for at in range(30)]}, index=[str(at) for at in range(30)])
    genes["feature_types"] = np.where(np.arange(30) < 28, "Gene Expression", "Antibody Capture")
    write("a", 12, genes=genes)
    write("b", 12, genes=[f"CD{at}" for at in range(29, -1, -1)])
    found = plan()
    (warning,) = of_genes(found)
    assert (warning.place, warning.line) == ("sources.a", 7)
    assert "the column 'features'" in warning.message
    assert found.genes["left_out"].tolist() == ["2 Antibody Capture", ""]
    assert found.genes["n_genes"].tolist() == [28, 30]
    assert of_genes(plan(keys=', genes = "features"')) == []


def test_names_by_place_are_remarked_on_where_they_are_matched(plan, write):
    write("a", 12, genes=[f"V{at}" for at in range(30)])
    write("b", 12, genes=[f"V{at}" for at in range(30)])
    assert [warning.place for warning in of_genes(plan())] == ["sources.a", "sources.b"]
