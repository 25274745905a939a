"""Studies in Python: the tables of a study file, with AnnData objects and components that were built."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

import corpuscle
from corpuscle.core.errors import StudyError
from corpuscle.evaluation.tasks.annotation import Annotation
from corpuscle.model.architectures.hvg import HVG
from elsewhere import assert_same

PARTS = [{"source": "blood", "n_cells": 20}]


def cells(seed=0, n=40):
    rng = np.random.default_rng(seed)
    obs = {"cell_type": np.resize(["B", "T"], n)}
    counts = csr_matrix(rng.poisson(2.0, (n, 10)).astype(np.float32))
    genes = pd.DataFrame(index=[f"G{at}" for at in range(10)])
    return anndata.AnnData(counts, pd.DataFrame(obs, [f"c{at}-{seed}" for at in range(n)]), genes)


def tables(source, **more):
    tables = {
        "name": "mine",
        "seeds": np.int64(1),
        "sources": {"blood": source},
        "corpora": [{"name": "A", "parts": PARTS}],
        "models": ["hvg", {"name": HVG(n_genes=3), "label": "three"}],
        "holdout": {"blood": {"by": "cell", "share": 0.3}},
        "tasks": [{"name": Annotation(max_cells=100), "on": ["blood"]}],
    }
    return tables | more


def test_python_says_what_toml_says(tmp_path: Path) -> None:
    cells().write_h5ad(tmp_path / "blood.h5ad")
    study = corpuscle.Study(**tables(tmp_path / "blood.h5ad", question=None))
    read = corpuscle.Study.parse(study.to_toml())
    assert read.spec == study.spec
    assert [model.label for model in study.models] == ["hvg", "three"]
    assert study.models[1].model == HVG(n_genes=3)
    assert study.tasks[0].task == Annotation(max_cells=100)
    assert repr(study) == "Study('mine': 1 source, 1 corpus, 2 models, 1 task, 1 seed)"
    assert len(repr(corpuscle.prepare(study))) < 100


def test_an_anndata_is_a_source_and_the_run_can_be_done_again_from_its_folder(tmp_path: Path) -> None:
    given = cells()
    # What a file cannot hold under its name or as it is.
    given.obs["score/1"], given.obs["mixed"] = 0.5, np.resize([1, "a"], 40).astype(object)
    given.layers["umis"] = given.X.copy()
    given.X = np.log1p(given.X.toarray())
    study = corpuscle.Study(**tables({"path": given, "counts": "layers/umis", "where": "cell_type != 'NK'"}))
    results = corpuscle.run(study, tmp_path / "out", workers=0)
    assert not results.failures
    files = list((tmp_path / "out" / "sources").iterdir())
    assert len(files) == 1
    assert f'path = "sources/{files[0].name}"' in study.to_toml()
    # The same cells in another session: nothing is done, or written, again.
    written = files[0].stat().st_mtime_ns
    again = corpuscle.Study(**tables({"path": given.copy(), "counts": "layers/umis", "where": "cell_type != 'NK'"}))
    assert again.to_toml() == study.to_toml()
    assert corpuscle.run(again, tmp_path / "out", workers=0).reused == 2
    assert corpuscle.run(tmp_path / "out" / "study.toml", tmp_path / "out", workers=0).reused == 2
    assert files[0].stat().st_mtime_ns == written
    # The same cells from a file of the user's have the same scores.
    cells().write_h5ad(tmp_path / "blood.h5ad")
    of_file = corpuscle.Study(**tables(str(tmp_path / "blood.h5ad")))
    assert not corpuscle.run(of_file, tmp_path / "file", workers=0).failures
    assert_same(tmp_path / "out", tmp_path / "file")


@pytest.mark.parametrize("what", ["counts", "a label", "a gene's name"])
def test_other_content_is_another_file(what: str) -> None:
    one, other = cells(), cells()
    if what == "counts":
        other.X[3, 3] += 1
    elif what == "a label":
        other.obs.iloc[3, 0] = "NK"
    else:
        other.var_names = ["H", *other.var_names[1:]]
    files = [corpuscle.Study(**tables(each)).given["blood"].path for each in (one, cells(), other)]
    assert files[0] == files[1] != files[2]


def test_what_is_backed_by_a_file_is_read_there(tmp_path: Path) -> None:
    cells().write_h5ad(tmp_path / "blood.h5ad")
    backed = anndata.read_h5ad(tmp_path / "blood.h5ad", backed="r")
    assert corpuscle.Study(**tables(backed)).path("blood") == tmp_path / "blood.h5ad"
    # With a label that the file does not have, it is written anew.
    backed.obs["new"] = "x"
    plan = corpuscle.prepare(corpuscle.Study(**tables(backed)))
    assert "new" in plan.pools["blood"].cells
    backed.file.close()


@pytest.mark.parametrize("in_table", [False, True])
def test_normalised_values_are_refused_with_the_place_of_the_counts(in_table: bool) -> None:
    given = cells()
    given.layers["counts"] = given.X.copy()
    given.X = np.log1p(given.X.toarray() / 7)
    with pytest.raises(StudyError, match=r'but X holds .*; say where the raw counts are: counts = "layers/counts"'):
        corpuscle.prepare(corpuscle.Study(**tables({"path": given} if in_table else given)))
    given.layers["logs"] = given.X
    wrong = {"path": given, "counts": "layers/logs"}
    with pytest.raises(StudyError, match=r'but layers/logs holds .*: counts = "layers/counts"'):
        corpuscle.prepare(corpuscle.Study(**tables(wrong)))
    corpuscle.prepare(corpuscle.Study(**tables({"path": given, "counts": "layers/counts"})))


def test_a_study_of_files_made_in_python_has_no_lines_when_they_are_opened(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"nope\.h5ad") as error:
        corpuscle.prepare(corpuscle.Study(**tables(str(tmp_path / "nope.h5ad"))))
    assert [problem.line for problem in error.value.problems] == [0]
    # What was written in a file has lines.
    read = corpuscle.Study.parse(corpuscle.Study(**tables(str(tmp_path / "nope.h5ad"))).to_toml())
    with pytest.raises(StudyError, match=r"line [1-9]"):
        corpuscle.prepare(read)


def test_a_model_may_be_its_name_alone_in_a_file_as_in_python() -> None:
    text = corpuscle.Study(**tables("blood.h5ad", models=["hvg", "pca"])).to_toml()
    start = text.index("models = [")
    short = text.replace(text[start : text.index("]", start) + 1], 'models = ["hvg", "pca"]')
    assert short != text
    assert corpuscle.Study.parse(short).spec == corpuscle.Study.parse(text).spec
    with pytest.raises(StudyError, match=r"models\[1\].*there is no model 'pcaa'; did you mean 'pca'"):
        corpuscle.Study.parse(short.replace('"pca"', '"pcaa"'))
    with pytest.raises(StudyError, match=r"tasks\[0\].*'on' is required and missing"):
        corpuscle.Study(**tables("blood.h5ad", tasks=["annotation"]))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"sources": {"a": None}}, r"sources.a: expected an AnnData, the path of a file, or a table .*; got None"),
        ({"sources": {"a": 5}}, r"sources.a: expected an AnnData, .*; got 5"),
        ({"sources": {"a": pd.DataFrame()}}, r"sources.a: expected an AnnData, .*; got "),
        (
            {"sources": {"blood": {"path": cells(), "counts": "umis"}}},
            "sources.blood.counts: .*no 'umis'.*Legal here: X",
        ),
        ({"models": ["ldvea"]}, r"models\[0\].name: there is no model 'ldvea'; did you mean 'ldvae'"),
        ({"corpra": []}, "corpra: .*did you mean 'corpora'"),
        ({"question": lambda: 1}, "question: a study cannot have a function here"),
        ({"corpora": [{"name": "A", "parts": [{"source": "blod", "n_cells": 3}]}]}, "there is no source 'blod'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_no_line(more: dict[str, object], message: str) -> None:
    with pytest.raises(StudyError, match=message) as error:
        corpuscle.Study(**tables(cells(), **more))
    assert all(problem.line == 0 for problem in error.value.problems)


def test_cells_are_gone_with_the_process_where_there_is_no_folder() -> None:
    study = corpuscle.Study(**tables(cells()))
    path = study.path("blood")
    assert path.exists()
    assert anndata.read_h5ad(path).obs_names.tolist() == cells().obs_names.tolist()
    assert "corpuscle-" in str(path)
