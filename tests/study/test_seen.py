"""What scores say of a target's cells that a model learned from: by its corpus, by what its weights were trained on."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

import corpuscle
from corpuscle.core.errors import StudyError
from corpuscle.core.scores import SEEN
from corpuscle.report.sections.seen import seen_rows
from corpuscle.study.plan import Run
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study

TEXT = """name = "seen"
seeds = 1
[sources]
a = {{ path = "a.h5ad" }}
b = {{ path = "b.h5ad" }}
[quality]
near_duplicates = "keep"
[[corpora]]
name = "B"
parts = [{{ source = "b", fraction = 1.0 }}]
[[models]]
name = "pca"
n_components = 2
{more}
[[tasks]]
name = "clustering"
resolutions = []
on = ["a", "corpus"]
"""
N, G = 40, 600
EXTERNAL = '[[models]]\nname = "external"\nlabel = "{label}"\ncommand = ["cat", "{{cells}}", "{{embedding}}"]\n{more}'


def drawn(seed):
    laws = np.random.default_rng(7).gamma(0.5, 1.0, G) + 0.02
    return np.random.default_rng(seed).poisson(laws / laws.sum() * 700, (N, G)).astype(np.int32)


@pytest.fixture
def study(annotated, tmp_path):
    def made(more="", copies=0):
        b = drawn(1)
        b[:copies] = np.random.default_rng(3).binomial(drawn(0)[:copies], 0.9)
        for name, counts in (("a", drawn(0)), ("b", b), ("c", drawn(0)[:10])):
            data = annotated(csr_matrix(counts))
            del data.obs["donor"]
            data.obs_names = [f"{name}{at}x" for at in range(len(counts))]
            data.write_h5ad(tmp_path / f"{name}.h5ad")
        # What a checkpoint was trained on is often at hand in another form.
        logs = annotated(csr_matrix(np.log1p(1e4 * drawn(0)[:10] / drawn(0)[:10].sum(axis=1, keepdims=True))))
        logs.write_h5ad(tmp_path / "logs.h5ad")
        return Study.parse(TEXT.format(more=more), tmp_path)

    return made


def shares(plan, model="pca"):
    return plan.seen_by(Run("B", model, 0))


def test_own_corpora_are_unseen_but_for_copies_that_are_kept(study):
    assert shares(prepare(study())) == {"a": 0.0, "corpus": 1.0}
    assert shares(prepare(study(copies=10)))["a"] == 10 / N


def test_what_weights_were_trained_on_is_unknown_unless_it_is_said(study):
    models = [("unsaid", ""), ("none", "trained_on = []"), ("file", 'trained_on = ["c.h5ad"]'),
              ("logs", 'trained_on = ["logs.h5ad"]'), ("source", 'trained_on = ["a"]')]  # fmt: skip
    more = "\n".join(EXTERNAL.format(label=label, more=said) for label, said in models)
    plan = prepare(study(more))
    found = {label: shares(plan, label)["a"] for label, _ in models}
    assert math.isnan(found.pop("unsaid"))
    assert found == {"none": 0.0, "file": 10 / N, "logs": 10 / N, "source": 1.0}


def test_training_data_that_are_not_there_are_refused(study):
    with pytest.raises(StudyError, match=r"models\[1\].trained_on.*no such file"):
        prepare(study(EXTERNAL.format(label="x", more='trained_on = ["gone.h5ad"]')))
    with pytest.raises(StudyError, match="trained_on"):
        study(EXTERNAL.format(label="x", more="trained_on = 5"))


def test_scores_and_report_say_it_and_older_folders_are_read(study, tmp_path):
    folder = tmp_path / "run"
    # A task without maps, which take longer than all else.
    text = study(copies=10).text.replace(
        '"clustering"\nresolutions = []\non = ["a", "corpus"]', '"latents"\non = ["a"]'
    )
    results = corpuscle.run(Study.parse(text, tmp_path), folder, workers=0)
    assert results.scores[SEEN].eq(10 / N).all()
    assert "25.0 %" in (folder / "report.html").read_text(encoding="utf-8")
    (recorded,) = json.loads((folder / "artifacts.json").read_text(encoding="utf-8"))["runs"]
    assert recorded["seen"] == {"a": 10 / N}
    older = pd.read_parquet(folder / "scores.parquet").drop(columns=SEEN)
    older.to_parquet(folder / "scores.parquet")
    again = corpuscle.Results.load(folder)
    assert again.scores[SEEN].isna().all()
    assert {row.text for row in seen_rows(again.scores)} == {"unknown"}
    corpuscle.render(folder)
