"""A source's path in a study file: one file, several, a pattern, a folder, or a place elsewhere."""

import os
from pathlib import Path

import numpy as np
import pytest

from corpuscle.core.errors import StudyError
from corpuscle.execution.results_folder import input_facts
from corpuscle.study.preparation import prepare
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


@pytest.mark.parametrize("name", ["run[1]", "a?b", "[!a]", "old (1)", "half[", "st*r"])
def test_only_a_star_has_a_meaning_in_a_path(write, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    for at in range(2):
        write(f"s{at}", 4, seed=at).rename(folder / f"s{at}.h5ad")
    # Also where the study itself lies in such a folder.
    for base, path in ((tmp_path, f'"{name}/*.h5ad"'), (folder, '"*.h5ad"'), (tmp_path, f'"{name}"')):
        assert prepare(Study.parse(TEXT.format(path=path), base)).n_training == {"atlas": 8}


def test_a_star_in_the_folder_of_a_study_finds_no_file_elsewhere(write, tmp_path):
    (tmp_path / "st*r").mkdir()
    (tmp_path / "star").mkdir()
    write("data").rename(tmp_path / "star" / "data.h5ad")
    with pytest.raises(StudyError, match=r"no such file: .*st\*r/data\.h5ad"):
        prepare(Study.parse(TEXT.format(path='"data.h5ad"'), tmp_path / "st*r"))


@pytest.mark.parametrize(
    "path",
    ["~nosuchuser/a.h5ad", "a" * 300 + ".h5ad", "a/" * 3000 + "a.h5ad", "a\\u0000b.h5ad", "a.h5ad/b.h5ad", "~x/*.h5ad"],
    ids=["home of nobody", "a long name", "a long path", "a null", "below a file", "a pattern in it"],
)
def test_a_path_that_no_file_can_have_is_not_there(write, tmp_path, path):
    write("a")
    with pytest.raises(StudyError, match=r"line 6: sources\.atlas: (.*: )?no (such file|file matches)") as caught:
        prepare(Study.parse(TEXT.format(path=f'"{path}"'), tmp_path))
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("path", ["a" * 300, "a" * 300 + "/*", "loop"], ids=["no suffix", "pattern", "loop of links"])
def test_what_is_not_there_is_no_traceback(tmp_path, path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(StudyError, match=r"line 6: sources\.atlas: "):
        prepare(Study.parse(TEXT.format(path=f'"{path}"'), tmp_path))


def test_a_folder_that_may_not_be_read_is_reported_with_its_line(tmp_path, monkeypatch):
    (tmp_path / "shut").mkdir()

    def shut(_self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", shut)
    with pytest.raises(StudyError, match=r"line 6: sources\.atlas: .*shut: cannot be read: .*Permission denied"):
        prepare(Study.parse(TEXT.format(path='"shut"'), tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("name", ["a.h5ad", "a.h5", "a.mtx", "a.zarr", "pipe"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(StudyError, match="is a pipe, a socket or a device, no file"):
        prepare(Study.parse(TEXT.format(path=f'"{name}"'), tmp_path))


def test_rounding_is_recorded_where_the_inputs_are(write, counts_of, tmp_path):
    write("data", counts_of(8) * 1.0 + 0.3 * (counts_of(8, seed=1) == 1) * (counts_of(8) > 0))
    text = TEXT.format(path='"data.h5ad", counts = { layer = "X", round = true }')
    plan = prepare(Study.parse(text, tmp_path))
    (facts,) = input_facts(plan)
    assert (facts["counts"], facts["rounded"]) == ("X", True)
    corpus = plan.corpora["A", 0]
    order = [int(name.removeprefix("G")) for name in plan.space.ids]
    np.testing.assert_array_equal(corpus.counts(slice(0, 5)).toarray(), counts_of(8)[corpus.cells["row"]][:, order])
    plain = prepare(Study.parse(TEXT.format(path='"whole.h5ad"'), write("whole", counts_of(8)).parent))
    assert "rounded" not in input_facts(plain)[0]
    assert corpus.identity()[2] != plain.corpora["A", 0].identity()[2]


@pytest.mark.parametrize("path", ["none/hg19", "none.loom", "none/a.h5ad"], ids=["folder", "another suffix", "file"])
def test_what_is_not_there_is_said_to_be_no_such_file(tmp_path, path):
    with pytest.raises(StudyError, match=rf"no such file: .*{path}") as caught:
        prepare(Study.parse(TEXT.format(path=f'"{path}"'), tmp_path))
    assert "no reader" not in str(caught.value)


def test_a_file_that_many_sources_lack_is_said_once_and_what_they_lack_besides(tmp_path):
    many = "".join(f'tissue_{at} = {{ path = "all.h5ad", where = "tissue == {at}" }}\n' for at in range(20))
    text = TEXT.format(path='"all.h5ad"') + many + 'other = { path = "other.h5ad" }\n'
    with pytest.raises(StudyError) as caught:
        prepare(Study.parse(text, tmp_path))
    first, second = caught.value.problems
    which = "21 sources (atlas, tissue_0, tissue_1, tissue_2, tissue_3 and 16 more)"
    assert str(first).startswith(f"line 6: sources.atlas: {which}: no such file: ")
    assert first.message.endswith("all.h5ad")
    assert second.message.endswith("other.h5ad")


def test_one_failure_of_the_network_is_said_once_though_its_objects_have_other_addresses(tmp_path, monkeypatch):
    soma = pytest.importorskip("cellxgene_census")
    addresses = iter(range(0x7F00, 0x7FFF))

    def offline(**_settings):
        raise OSError(f"<connection at {next(addresses):#x}>: no route to host")

    monkeypatch.setattr(soma, "open_soma", offline)
    text = TEXT.format(path='"census:2023-05-15/homo_sapiens"')
    with pytest.raises(StudyError) as caught:
        prepare(Study.parse(text + 'marrow = { path = "census:2023-05-15/homo_sapiens" }\n', tmp_path))
    (problem,) = caught.value.problems
    assert "<connection>: no route to host" in problem.message and "2 sources (atlas, marrow): " in problem.message
