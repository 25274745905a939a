"""Preparing a study opens its data, draws all corpora, and tells everything that is wrong with both at once."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import corpuscle
from corpuscle.core.errors import StudyError
from corpuscle.execution.graph import runs_of
from corpuscle.execution.opened import Opened
from corpuscle.store import Store
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study

MODEL = 'models = [{ name = "toy:MeanProfile" }]\n'


@pytest.fixture
def study(tmp_path):
    """Make a study of files in the test's folder."""

    def made(sources: str, corpora: str = "", tasks: str = "", rest: str = "") -> Study:
        seeds = "" if "seeds" in rest else "seeds = 1"
        parts = corpora or '{ name = "A", parts = [{ source = "blood", n_cells = 5 }] },'
        head = f'name = "small"\n{rest}\n{MODEL}{seeds}'
        text = f"{head}\ncorpora = [\n{parts}\n]\ntasks = [\n{tasks}\n]\n[sources]\n{sources}\n"
        return Study.parse(text, tmp_path)

    return made


def problems(study):
    with pytest.raises(StudyError) as caught:
        prepare(study)
    return {problem.place: problem for problem in caught.value.problems}


BLOOD = 'blood = { path = "blood.h5ad" }'
PANCREAS = 'pancreas = { path = "pancreas.h5ad" }'
ON_BLOOD = '{ name = "reconstruction", on = ["blood"] },'


def test_a_plan_has_every_corpus_at_every_seed_and_its_runs_seed_by_seed(study, write):
    write("blood", 30)
    write("pancreas", 20, seed=1)
    corpora = """
      { name = "A", parts = [{ source = "blood", n_cells = 5 }] },
      { name = "B", parts = [{ source = "blood", n_cells = 5 }, { source = "pancreas", fraction = 0.5 }] },
    """
    holdout = 'seeds = 2\nholdout = { blood = { by = "donor", values = ["d1"] } }'
    plan = prepare(study(f"{BLOOD}\n{PANCREAS}", corpora, ON_BLOOD, holdout))
    assert list(plan.corpora) == [("A", 0), ("A", 1), ("B", 0), ("B", 1)]
    assert [(run.corpus, run.seed) for run in plan.runs] == [("A", 0), ("B", 0), ("A", 1), ("B", 1)]
    assert plan.n_training == {"blood": 20, "pancreas": 20}
    assert set(plan.targets["blood"].labels("donor")) == {"d1"}
    for (name, _), corpus in plan.corpora.items():
        assert "d1" not in corpus.labels("donor")[corpus.cells["source"] == "blood"]
        assert len(corpus) == {"A": 5, "B": 15}[name]
    counted = plan.composition().query("column == 'source' and corpus == 'B'").groupby("value")["n_cells"].sum()
    assert counted.to_dict() == {"blood": 10, "pancreas": 20}


def test_a_corpus_of_one_cell_is_refused_with_the_models_that_need_more(study, write):
    write("blood", 30)
    corpora = """
      { name = "A", parts = [{ source = "blood", n_cells = 5 }] },
      { name = "B", parts = [{ source = "blood", n_cells = 1 }] },
    """
    models = """
      [[models]]
      name = "ldvae"
      budget = { steps = 1 }
      validation_share = 0.5
      [[models]]
      name = "pca"
    """
    given = study(BLOOD, corpora, ON_BLOOD, 'holdout = { blood = { by = "cell", share = 0.3 } }')
    found = problems(Study.parse(given.text.replace(MODEL, "") + models, given.folder))
    assert {place: problem.message for place, problem in found.items()} == {
        "corpora[1]": "corpus 'B': expected at least 3 training cells for models 'ldvae', 'pca', got 1; draw more cells"
    }


def test_held_out_cells_are_the_same_at_every_seed_and_in_every_study(study, write):
    write("blood", 30)
    rest = 'holdout = { blood = { by = "cell", share = 0.3 } }'
    other = '{ name = "Z", parts = [{ source = "blood", n_cells = 9 }] },'
    plans = [prepare(study(BLOOD, corpora, ON_BLOOD, rest)) for corpora in ("", other)]
    one, two = (plan.targets["blood"].cells["row"].tolist() for plan in plans)
    assert one == two
    assert len(one) == 9


def test_preparing_twice_gives_the_same_and_reads_the_counts_once(study, write, tmp_path, monkeypatch):
    path = write("blood", 30)
    store, made = Store(tmp_path / "store"), study(BLOOD, rest="seeds = 3")
    plans = [prepare(made, store)]
    monkeypatch.setattr("corpuscle.study.opening.survey", None)
    plans.append(prepare(made, store))
    one, two = ({key: corpus.fingerprint for key, corpus in plan.corpora.items()} for plan in plans)
    assert one == two
    assert len(set(one.values())) == 3
    pd.testing.assert_frame_equal(plans[0].quality, plans[1].quality)
    path.unlink()
    write("blood", 30, seed=9)
    with pytest.raises(TypeError):
        prepare(made, store)


def test_every_dropped_cell_is_counted_under_its_reason(study, write, counts_of):
    counts = counts_of(30) + 1
    counts[3] = 0
    counts[4, 5:] = 0
    counts[5] = counts[6] = counts[7]
    counts[8, 29] = 100_000
    genes = [*(f"G{at}" for at in range(29)), "MT-ND1"]
    write("blood", counts, genes=genes)
    rest = "quality = { min_counts = 10, min_genes = 20, max_mito_fraction = 0.5, drop_duplicates = true }"
    plan = prepare(study(BLOOD, rest=rest))
    assert plan.quality.set_index("reason")["n_cells"].to_dict() == {
        "kept": 25,
        "fewer than 10 counts": 1,
        "fewer than 20 genes": 1,
        "mito_fraction above 0.5": 1,
        "counts equal to an earlier cell's": 2,
    }
    assert sorted(set(range(30)) - set(plan.sources["blood"].cells["row"])) == [3, 4, 6, 7, 8]


def test_duplicates_are_dropped_across_sources(study, write, counts_of):
    counts = counts_of(20)
    write("blood", counts)
    write(
        "pancreas",
        np.vstack([counts[:4], counts_of(10, seed=1)])[:, ::-1],
        genes=[f"G{at}" for at in range(29, -1, -1)],
    )
    plan = prepare(study(f"{BLOOD}\n{PANCREAS}", rest="quality = { drop_duplicates = true }"))
    assert {name: len(source) for name, source in plan.sources.items()} == {"blood": 20, "pancreas": 10}


def test_a_sources_own_quality_is_its_own(study, write):
    write("blood", 20)
    write("pancreas", 20)
    sources = 'blood = { path = "blood.h5ad", quality = { max_mito_fraction = 1.0 } }\n' + PANCREAS
    found = problems(study(sources, rest="quality = { max_mito_fraction = 0.2 }"))
    assert list(found) == ["quality.max_mito_fraction"]
    assert "'pancreas' has no mitochondrial genes" in found["quality.max_mito_fraction"].message


@pytest.mark.parametrize("space", ['space = "union"', 'space = "genes.txt"'], ids=["union", "list"])
def test_the_gene_space_is_as_the_study_says(study, write, tmp_path, space):
    (tmp_path / "genes.txt").write_text("G1\nG7\nG35\n")
    write("blood", 10)
    write("pancreas", 10, genes=[f"G{at}" for at in range(5, 35)])
    plan = prepare(study(f"{BLOOD}\n{PANCREAS}", rest=f"genes = {{ {space} }}"))
    assert len(plan.space) == (35 if "union" in space else 2)
    assert plan.genes["kept"].tolist() == ([30, 30] if "union" in space else [2, 1])
    assert plan.genes["counts_kept"].between(0, 1).all()


def test_a_target_is_the_cells_that_its_where_matches(study, write):
    write("blood", 30)
    write("pancreas", 12, seed=1)
    bees = """{ source = "pancreas", where = "cell_type == 'B'", name = "bees" }"""
    tasks = f'{{ name = "residuals", on = ["pancreas", {bees}] }},'
    plan = prepare(study(f"{BLOOD}\n{PANCREAS}", tasks=tasks))
    assert {name: len(target) for name, target in plan.targets.items()} == {"pancreas": 12, "bees": 6}
    assert set(plan.targets["bees"].labels("cell_type")) == {"B"}


def test_an_evaluation_cell_in_a_corpus_is_an_error_that_names_it(study, write):
    write("blood", 20)
    found = problems(
        study(BLOOD, '{ name = "A", parts = [{ source = "blood", n_cells = 20 }] },', ON_BLOOD, "seeds = 2")
    )
    assert list(found) == ["corpora[0]"]
    assert "20 cells of target 'blood' are also in training corpus 'A'" in found["corpora[0]"].message
    assert "blood row 0 (cell0)" in found["corpora[0]"].message
    assert found["corpora[0]"].line == 6


def test_a_copy_in_another_file_is_found(study, write, counts_of):
    counts = counts_of(20)
    write("blood", counts)
    genes = [f"G{at}" for at in range(29, -1, -1)]
    write("pancreas", np.vstack([counts_of(9, seed=1), counts[:1]])[:, ::-1].astype(float), genes=genes, form="csc")
    corpora = '{ name = "A", parts = [{ source = "blood", fraction = 1.0 }] },'
    found = problems(study(f"{BLOOD}\n{PANCREAS}", corpora, '{ name = "residuals", on = ["pancreas"] },'))
    assert "1 have identical counts): pancreas row 9 (cell9)" in found["corpora[0]"].message


@pytest.mark.parametrize(
    ("source", "place", "message"),
    [
        ('path = "nothing.h5ad"', "sources.blood", "no such file"),
        ('path = "text.h5ad"', "sources.blood", "truncated, damaged or of another kind"),
        ('path = "blood.h5ad", where = "cell_type == \'Mono\'"', "sources.blood", "matches none of 20 cells"),
        ('path = "blood.h5ad", where = "celltype == \'B\'"', "sources.blood", "did you mean 'cell_type'"),
        ('path = "blood.h5ad", donor = "individual"', "sources.blood", "the file has no such column"),
        ('path = "blood.h5ad", counts = "raw"', "sources.blood", "no counts at 'raw'; the file has: X"),
        ('path = "blood.h5ad", quality = { min_counts = 100000 }', "sources.blood", "quality drops every cell: 20"),
        ('path = "logged.h5ad"', "sources.blood", "(log-normalised)"),
        ('path = "mixed.h5ad"', "genes", "share no gene"),
    ],
)  # fmt: skip
def test_bad_data_is_told_at_its_source(study, write, counts_of, *, source, place, message):
    write("blood", 20)
    write("other", 20, seed=1)
    write("logged", np.log1p(counts_of(20)))
    write("mixed", 20, genes=[f"Z{at}" for at in range(30)])
    (write("blood").parent / "text.h5ad").write_text("no HDF5")
    write("blood", 20)
    found = problems(study(f'blood = {{ {source} }}\nother = {{ path = "other.h5ad" }}'))
    assert list(found) == [place]
    assert message in found[place].message
    assert found[place].line == (0 if place == "genes" else 12)


def test_all_problems_of_the_data_are_told_at_once(study, write, counts_of):
    write("blood", 20)
    write("logged", np.log1p(counts_of(20)))
    write("mixed", 20, genes=[f"Z{at}" for at in range(30)], seed=2)
    sources = """
      blood = { path = "blood.h5ad" }
      missing = { path = "missing.h5ad" }
      logged = { path = "logged.h5ad" }
      mixed = { path = "mixed.h5ad", quality = { min_counts = 100000 } }
    """
    corpora = """
      { name = "A", parts = [{ source = "blood", n_cells = 21 }] },
      { name = "B", parts = [{ source = "blood", n_cells = 2, sampler = "label_balanced", by = "tissue" }] },
      { name = "C", parts = [{ source = "blood", n_cells = 2 }], exclude = "cell_type == 'b'" },
      { name = "D", parts = [{ source = "missing", n_cells = 2 }] },
    """
    tasks = '{ name = "residuals", on = [{ source = "blood", where = "cell_type == \'Mono\'" }] },'
    holdout = 'holdout = { blood = { by = "batch", share = 0.5 } }'
    found = problems(study(sources, corpora, tasks, holdout))
    assert set(found) == {
        "genes", "sources.missing", "sources.logged", "sources.mixed", "corpora[0]", "corpora[1]", "corpora[2]",
        "holdout.blood",
    }  # fmt: skip


def test_a_target_without_cells_is_told(study, write):
    write("blood", 20)
    write("pancreas", 10, seed=1)
    tasks = (
        '{ name = "residuals", on = ["pancreas", { source = "pancreas", where = "cell_type == \'X\'", name = "x" }] },'
    )
    found = problems(study(f"{BLOOD}\n{PANCREAS}", tasks=tasks))
    assert list(found) == ["tasks[0].on[1]"]
    assert "matches none of the 10 evaluation cells of 'pancreas'" in found["tasks[0].on[1]"].message


@pytest.mark.parametrize("name", ["source", "row", "barcode", "times"])
def test_a_file_may_name_its_columns_like_ours(study, write, name):
    write("blood", 20, obs={name: ["x"] * 20})
    plan = prepare(study(f'blood = {{ path = "blood.h5ad", where = "{name} == \'x\'" }}'))
    cells = plan.corpora["A", 0].cells
    assert set(cells["source"]) == {"blood"}
    assert set(cells[f"{name}_in_file"]) == {"x"}
    assert set(cells["times"]) == {1}


def test_the_demo_study_prepares():
    plan = prepare(Study.read(Path(corpuscle.__file__).parent / "study" / "demo.toml"))
    assert all(len(corpus) for corpus in plan.corpora.values())


def test_progress_is_told(study, write):
    write("blood", 20)
    told = []
    prepare(study(BLOOD), notice=lambda what, share: told.append((what, share)))
    assert {what for what, _ in told} == {"opening blood", "reading blood", "drawing A"}
    assert all(0 <= share <= 1 for _, share in told)


def rows(corpus):
    return set(zip(corpus.cells["source"], corpus.cells["row"], strict=True))


@pytest.mark.parametrize("sampler", ["uniform", "label_balanced", "geometric_sketch", "hierarchical_kmeans"])
def test_a_nested_ladder_is_drawn_at_every_size_and_seed(study, write, sampler):
    write("blood", 50)
    parts = f'parts = [{{ source = "blood", sampler = "{sampler}" }}]'
    corpora = f'{{ name = "L", {parts}, ladder = {{ percent = [10, 50, 100] }} }},'
    plan = prepare(study(BLOOD, corpora, rest="seeds = 2"))
    assert list(plan.corpora) == [(f"L {size} %", seed) for size in (10, 50, 100) for seed in (0, 1)]
    for seed in (0, 1):
        small, middle, large = (rows(plan.corpora[f"L {size} %", seed]) for size in (10, 50, 100))
        assert small < middle < large
        assert [len(small), len(middle), len(large)] == [5, 25, 50]
    assert rows(plan.corpora["L 50 %", 0]) != rows(plan.corpora["L 50 %", 1])


def test_what_is_wrong_with_a_ladder_is_told_once_where_it_stands(study, write):
    write("blood", 50)
    corpora = """
      { name = "A", parts = [{ source = "blood" }], ladder = { percent = [10, 50] } },
      { name = "L", parts = [{ source = "blood" }], ladder = { cells = [10, 60] } },
    """
    found = problems(study(BLOOD, corpora, rest="seeds = 3"))
    assert list(found) == ["corpora[1]"]
    assert "its ladder asks for 60 cells, but its parts have only 50" in found["corpora[1]"].message
    assert found["corpora[1]"].line == 8


def test_principal_components_are_found_once_for_all_runs_and_only_when_asked_for(study, write, tmp_path, monkeypatch):
    from corpuscle.corpus.expression import principal_components

    write("blood", 60)
    store = Store(tmp_path / "store")
    sketched = """
      { name = "A", parts = [{ source = "blood", n_cells = 10, sampler = "geometric_sketch" }] },
      { name = "B", parts = [{ source = "blood", n_cells = 20, sampler = "hierarchical_kmeans" }] },
    """
    prepare(study(BLOOD), store)
    assert not (tmp_path / "store" / "components").exists()
    told = []
    first = prepare(study(BLOOD, sketched, rest="seeds = 2"), store, lambda what, _: told.append(what))
    assert "finding principal components of blood" in told
    monkeypatch.setattr(principal_components, "find_axes", None)
    monkeypatch.setattr(principal_components, "project", None)
    again = prepare(study(BLOOD, sketched, rest="seeds = 2"), store)
    assert {key: c.fingerprint for key, c in again.corpora.items()} == {
        key: corpus.fingerprint for key, corpus in first.corpora.items()
    }
    with pytest.raises(TypeError):
        prepare(study(BLOOD, sketched, rest='holdout = { blood = { by = "cell", share = 0.5 } }'), store)


def test_held_out_cells_are_no_target_of_a_sampler(study, write, monkeypatch):
    from corpuscle.corpus.samplers import importance

    write("blood", 40)
    write("pancreas", 30, seed=1)
    corpora = """
      { name = "A", parts = [{ source = "blood", n_cells = 10, sampler = "importance", target = "pancreas" }] },
    """
    holdout = 'holdout = { pancreas = { by = "donor", values = ["d1"] } }'
    looked_at = []
    monkeypatch.setattr(
        importance, "log_ratio", lambda points, target, _: looked_at.append(target) or len(points) * [0]
    )
    plan = prepare(study(f"{BLOOD}\n{PANCREAS}", corpora, '{ name = "residuals", on = ["pancreas"] },', holdout))
    assert set(plan.corpora["A", 0].cells["source"]) == {"blood"}
    assert [len(target) for target in looked_at] == [20]
    prepare(study(f"{BLOOD}\n{PANCREAS}", corpora))
    assert [len(target) for target in looked_at] == [20, 30]


def test_a_spike_in_takes_its_share_from_another_source(study, write):
    write("blood", 40)
    write("pancreas", 30, seed=1)
    corpora = """
      { name = "A", parts = [{ source = "blood", n_cells = 20 }] },
      { name = "S", parts = [SPIKED] },
    """.replace("SPIKED", '{ source = "blood", n_cells = 20, sampler = "spike_in", spike = "pancreas", share = 0.5 }')
    plan = prepare(study(f"{BLOOD}\n{PANCREAS}", corpora))
    plain, spiked = rows(plan.corpora["A", 0]), rows(plan.corpora["S", 0])
    assert len(spiked) == 20
    assert len(spiked & plain) == 10
    assert plan.composition().query("corpus == 'S' and column == 'source'")["n_cells"].tolist() == [10, 10]


def test_a_sampler_that_cannot_choose_is_told_at_its_corpus(study, write):
    write("blood", 40)
    write("pancreas", 5, seed=1)
    corpora = """
      { name = "A", parts = [{ PART, sampler = "label_balanced", weights = { Mono = 2.0 } }] },
      { name = "B", parts = [{ PART, sampler = "spike_in", spike = "pancreas", share = 0.5 }] },
    """.replace("PART", 'source = "blood", n_cells = 30')
    found = problems(study(f"{BLOOD}\n{PANCREAS}", corpora))
    assert "weights has 'Mono', which is no cell_type here" in found["corpora[0]"].message
    assert "needs 15 cells of pancreas, which has 5 left" in found["corpora[1]"].message


def test_a_warm_up_longer_than_the_training_is_warned_of_with_its_place(study, write):
    write("blood", 40)
    model = '{ name = "masked_autoencoder", widths = [8, 4], budget = { %s }, rate_schedule = { warmup = 500 } }'
    corpora = "".join(f'{{ name = "{n}", parts = [{{ source = "blood", n_cells = {n} }}] }},' for n in (10, 20))
    for budget, fewest in (("steps = 20", "'10' and 1 more, .* 20 steps"), ("steps = 501", None)):
        planned = study(BLOOD, corpora)
        text = planned.text.replace('{ name = "toy:MeanProfile" }', model % budget)
        warned = {one.place: one.message for one in prepare(Study.parse(text, planned.folder)).warnings}
        assert ("models[0]" in warned) == (fewest is not None)
        if fewest:
            assert re.search(f"on corpus {fewest}, and warm-up takes 500", warned["models[0]"])


@pytest.mark.parametrize(
    ("held", "is_warned"), [('{ by = "donor", values = ["d1"] }', True), ('{ by = "cell", share = 0.3 }', False)]
)
def test_batches_that_a_model_will_not_embed_are_warned_of(study, write, held, is_warned):
    write("blood", 40)
    model = '{ name = "scgpt", budget = { steps = 1 }, integration = { batch = "donor" } }'
    corpora = '{ name = "A", parts = [{ source = "blood", fraction = 1.0 }] },'
    planned = study(BLOOD, corpora, '{ name = "integration", on = ["blood"] },', f"holdout = {{ blood = {held} }}")
    text = planned.text.replace('{ name = "toy:MeanProfile" }', model)
    warned = [one.message for one in prepare(Study.parse(text, planned.folder)).warnings if one.place == "models[0]"]
    assert bool(warned) == is_warned
    if is_warned:
        assert re.search(
            r"cells of a donor that it was trained on, and \d+ of \d+ cells of target 'blood'.*\(d1\)", warned[0]
        )


def test_fits_of_a_draw_share_its_corpus_and_draws_share_initialisations(study, write, tmp_path):
    write("blood", 30)
    plan = prepare(study(BLOOD, rest="seeds = { draws = 2, fits = 3 }"))
    assert list(plan.corpora) == [("A", 0), ("A", 1)]
    fits = {one.run.seed: one.fit for one in runs_of(plan, Opened(tmp_path / "store").corpora)}
    assert [fit.corpus == fits[0].corpus for fit in fits.values()] == [True, True, True, False, False, False]
    assert [fit.seed for fit in fits.values()] == [0, 1, 2, 0, 1, 2]
    assert len({fit.key for fit in fits.values()}) == 6
    alone = prepare(study(BLOOD, rest="seeds = 2"))
    known = [one.fit.key for one in runs_of(alone, Opened(tmp_path / "store").corpora)]
    assert known == [fits[0].key, fits[4].key], "what is the same is made once"
