"""What a study does about cells that are in it twice, and about donors of more than one source."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from corpuscle.core.errors import StudyError
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study

TEXT = """name = "twice"
[sources]
a = {{ path = "a.h5ad"{a} }}
b = {{ path = "b.h5ad"{b} }}
[genes]
space = "{space}"
[quality]
{quality}
[holdout]
{holdout}
[[corpora]]
name = "B"
parts = [{{ source = "b", fraction = 1.0 }}]
[[models]]
name = "pca"
n_components = 2
[[tasks]]
name = "latents"
on = ["a"]
"""
N, G = 40, 800


@pytest.fixture
def study(annotated, tmp_path):
    laws = np.random.default_rng(7).gamma(0.5, 1.0, G) + 0.02
    counts = np.random.default_rng(0).poisson(laws / laws.sum() * 700, (N, G)).astype(np.int32)
    other = np.random.default_rng(1).poisson(laws / laws.sum() * 700, (N, G)).astype(np.int32)

    def made(copies=0, change=lambda x: x, obs_a=None, obs_b=None, **keys):
        both = np.vstack([change(counts[:copies]), other[copies:]]).astype(np.int32)
        for name, cells, obs, genes in (("a", counts, obs_a, slice(0, 600)), ("b", both, obs_b, slice(200, G))):
            data = annotated(csr_matrix(cells[:, genes]), obs=obs, genes=[f"G{at}" for at in range(G)[genes]])
            data.obs_names = [f"{name}{at}x" for at in range(N)]
            if obs is None:
                del data.obs["donor"]
            data.write_h5ad(tmp_path / f"{name}.h5ad")
        text = TEXT.format(**{"a": "", "b": "", "space": "union", "quality": "", "holdout": "", **keys})
        return Study.parse(text, tmp_path)

    return made


def thinned(counts):
    return np.random.default_rng(3).binomial(counts, 0.7)


def test_copies_in_files_with_other_genes_are_refused_with_reasons(study):
    with pytest.raises(StudyError, match=r"15 cells of target 'a'.*15 have identical counts.*over 400 shared genes"):
        prepare(study(15))
    with pytest.raises(StudyError, match=r"15 are near-duplicates.*detected genes agree, chance below 1e-\d+.*drop"):
        prepare(study(15, thinned))


def test_drop_duplicates_drops_identical_cells_in_every_gene_space(study):
    plan = prepare(study(15, quality="drop_duplicates = true"))
    assert len(plan.pools["b"]) == N - 15
    assert "counts equal to an earlier cell's" in plan.quality["reason"].tolist()


def test_near_duplicates_are_dropped_from_training_and_counted(study):
    plan = prepare(study(15, thinned, quality='near_duplicates = "drop"'))
    assert plan.corpora["B", 0].cells["row"].tolist() == list(range(15, N))
    assert len(plan.targets["a"]) == N
    counted = plan.quality.set_index(["source", "reason"])["n_cells"].to_dict()
    assert counted == {("a", "kept"): N, ("b", "kept"): N - 15, ("b", "copy of an evaluation cell"): 15}


def test_near_duplicates_are_kept_with_a_warning_and_identical_ones_are_not(study):
    plan = prepare(study(15, thinned, quality='near_duplicates = "keep"'))
    assert len(plan.corpora["B", 0]) == N
    assert any("15 are near-duplicates" in problem.message for problem in plan.warnings)
    with pytest.raises(StudyError, match="15 have identical counts"):
        prepare(study(15, quality='near_duplicates = "keep"'))


def _donors(second, study_of_b):
    a = {"donor": ["D1", "D2"] * (N // 2), "study": ["s"] * N}
    return {"obs_a": a, "obs_b": {"donor": second * (N // 2), "study": [study_of_b] * N}}


HELD = 'a = { by = "donor", values = ["D1"] }'


@pytest.mark.parametrize("spelled", ["D1", " d1"])
def test_a_held_out_donor_in_another_source_of_the_study_is_refused(study, spelled):
    with pytest.raises(StudyError, match=r"1 donors that are held out of 'a' are trained on from 'b'.*D1"):
        prepare(study(holdout=HELD, **_donors([spelled, "D3"], "s")))


def test_a_donor_id_of_another_study_is_a_warning_unless_it_is_its_own(study):
    def warned(**keys):
        plan = prepare(study(holdout=HELD, **_donors(["D1", "D3"], "t"), **keys))
        return [problem.message for problem in plan.warnings if "donor ids" in problem.message]

    (message,) = warned()
    assert 'donors = "own"' in message
    assert not warned(b=', donors = "own"')


def _messages(plan):
    return [problem.message for problem in plan.warnings]


def test_donors_of_every_target_of_a_source_are_compared(study, tmp_path):
    made = study(**_donors(["D1", "D3"], "t"))
    targets = ("{ source = 'a', where = 'donor == \"D2\"', name = 'x' }, "
               "{ source = 'a', where = 'donor == \"D1\"', name = 'y' }")  # fmt: skip
    plan = prepare(Study.parse(made.text.replace('on = ["a"]', f"on = [{targets}]"), tmp_path))
    assert any("also ids of training cells of 'b': 'D1'" in message for message in _messages(plan))


def test_donors_that_no_corpus_has_are_not_warned_of(study, tmp_path):
    made = study(holdout=HELD, **_donors(["D1", "D3"], "t"))
    left_out = made.text.replace('name = "B"', 'name = "B"\nexclude = \'donor == "D1"\'')
    assert not any("donor ids" in message for message in _messages(prepare(Study.parse(left_out, tmp_path))))


@pytest.mark.parametrize("spelled", ["D-1", "D_01"])
def test_ids_of_one_study_that_are_written_almost_alike_are_warned_of(study, spelled):
    plan = prepare(study(holdout=HELD, **_donors([spelled, "D3"], "s")))
    assert any(f"'D1' and {spelled!r}" in message for message in _messages(plan))
    plan = prepare(study(holdout=HELD, **_donors([spelled, "D3"], "t")))
    assert not any("donor ids" in message for message in _messages(plan))


def test_a_held_out_donor_in_a_copy_of_the_file_is_refused_without_a_study_label(study, tmp_path):
    parts = {"donor": ["D1", "D2"] * (N // 2), "half": ["x"] * (N // 2) + ["y"] * (N // 2)}
    made = study(holdout=HELD, obs_a=parts, a=", where = \"half == 'x'\"", b=", where = \"half == 'y'\"")
    (tmp_path / "b.h5ad").write_bytes((tmp_path / "a.h5ad").read_bytes())
    with pytest.raises(StudyError, match="held out of 'a' are trained on from 'b': 'D1'"):
        prepare(made)


@pytest.mark.parametrize("by", ["study", "batch"])
def test_a_held_out_study_or_batch_in_another_source_is_warned_of(study, by):
    labels = {"donor": ["d"] * N, "study": ["s"] * N, by: ["one", "two"] * (N // 2)}
    made = study(holdout=f'a = {{ by = "{by}", values = ["one"] }}', obs_a=labels,
                 obs_b={**labels, "donor": ["e"] * N})  # fmt: skip
    assert any(f"{by} 'one', held out of 'a', is also a {by}" in message for message in _messages(prepare(made)))


def test_donors_of_cells_that_others_are_made_of_count(study, tmp_path):
    made = study(holdout=HELD, **_donors(["D1", "D3"], "s"))
    steps = 'name = "B"\nsteps = [{ alteration = "pseudobulk", k = 5, by = "study" }]'
    with pytest.raises(StudyError, match="held out of 'a' are trained on from 'b': 'D1'"):
        prepare(Study.parse(made.text.replace('name = "B"', steps), tmp_path))


def test_files_of_one_source_with_the_same_cells_are_refused(study, tmp_path):
    made = study()
    (tmp_path / "copy_of_a.h5ad").write_bytes((tmp_path / "a.h5ad").read_bytes())
    with pytest.raises(StudyError, match=r"'a.h5ad' and 'copy_of_a.h5ad' of source 'a' hold the same cells"):
        prepare(Study.parse(made.text.replace('"a.h5ad"', '["a.h5ad", "copy_of_a.h5ad"]'), tmp_path))
    with pytest.raises(StudyError, match="are also in training corpus"):
        prepare(Study.parse(made.text.replace('"b.h5ad"', '"a.h5ad"'), tmp_path))
