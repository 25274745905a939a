"""A source's path in a study file: one file, several, a pattern, a folder, or a place elsewhere."""

from pathlib import Path

import pytest

from corpuscle.core.errors import StudyError
from corpuscle.study.plan import prepare
from corpuscle.study.spec import Study

TEXT = """
name = "small"
corpora = [{{ name = "A", parts = [{{ source = "atlas", n_cells = 5 }}] }}]
models = [{{ name = "toy:MeanProfile" }}]
[sources]
atlas = {{ path = {path} }}
"""


@pytest.mark.parametrize("path", ['"*.h5ad"', '"."', '["a.h5ad", "b.h5ad"]'])
def test_many_files_are_one_source(write, tmp_path, path):
    write("a", 4)
    write("b", 4, seed=1)
    plan = prepare(Study.parse(TEXT.format(path=path), tmp_path))
    assert plan.n_training == {"atlas": 8}
    assert set(plan.corpora["A", 0].labels("file")) == {"a.h5ad", "b.h5ad"}


def test_a_folder_without_files_to_read_is_told_with_its_line(tmp_path):
    with pytest.raises(StudyError, match=r"line 6: sources.atlas: .*nothing in it can be read"):
        prepare(Study.parse(TEXT.format(path='"."'), tmp_path))


@pytest.mark.parametrize("path", ["[]", '""', '["a.h5ad", ""]', "3", "[3]", '{ a = "b" }', '["a.h5ad", ["b.h5ad"]]'])
def test_what_is_no_path_is_told_once_with_its_line(path):
    with pytest.raises(StudyError) as caught:
        Study.parse(TEXT.format(path=path))
    (problem,) = caught.value.problems
    assert str(problem).startswith("line 6: sources.atlas.path: ")
    assert "should be a text, in quotes, or a list of such texts" in str(problem)


def test_the_hosted_census_is_no_file_beside_the_study(tmp_path):
    study = Study.parse(TEXT.format(path='"census:2025-01-30/homo_sapiens"'), tmp_path)
    assert study.path("atlas") == Path("census:2025-01-30/homo_sapiens")
