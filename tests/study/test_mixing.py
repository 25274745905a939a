"""Studies of mixtures: what they refuse, and the ordinary studies that they become."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from corpuscle import InputError, Study, prepare
from corpuscle.core.errors import StudyError
from corpuscle.oracle.outputs import outputs_of
from corpuscle.study.mixing import Mixing, mixing_of, weights_table, whole_pools

STUDY = """
name = "mixed"
[sources]
blood = {{ path = "{blood}" }}
lung = {{ path = "{lung}" }}
[holdout]
blood = {{ by = "cell", share = 0.25 }}
[mixture]
{mixture}
[[models]]
name = "hvg"
[[tasks]]
name = "annotation"
on = ["blood"]
"""


@pytest.fixture
def study(write: Callable[..., Path]) -> Callable[..., Study]:
    def made(mixture: str = "n_cells = 20", **changed: str) -> Study:
        text = STUDY.format(mixture=mixture, blood=write("blood", 40), lung=write("lung", 9, seed=1))
        for old, new in changed.items():
            text = text.replace(old, new)
        return Study.parse(text)

    return made


def mixing(study: Study) -> Mixing:
    return mixing_of(study, prepare(whole_pools(study)).pools)


def test_a_mixture_is_a_corpus_of_whole_cells_whose_small_sources_repeat_theirs(
    study: Callable[..., Study],
) -> None:
    found = mixing(study())
    assert found.cells == {"blood": 30, "lung": 9}
    expanded = found.expand([found.corpus("half", {"blood": 1, "lung": 1})], seeds=2, first_seed=3)
    assert expanded.seeds == range(3, 5)
    plan = prepare(expanded)
    assert set(plan.corpora) == {("half", 3), ("half", 4)}
    cells = plan.corpora["half", 3].cells.groupby("source")["times"].agg(["sum", "size", "max"])
    assert cells.loc["blood"].tolist() == [10, 10, 1]
    assert cells.loc["lung"].tolist() == [10, 9, 2]


def test_groups_of_a_source_are_ingredients_and_keep_their_cells_whatever_else_is_mixed(
    study: Callable[..., Study],
) -> None:
    found = mixing(study('n_cells = 8\nsources = ["lung"]\ngroups = { source = "blood", by = "cell_type" }'))
    assert found.names == ["lung", "blood: B", "blood: T"]
    tables = [found.corpus("T", {"blood: T": 1, "lung": 1}), found.corpus("all", dict.fromkeys(found.names, 1))]
    plan = prepare(found.expand(tables))
    drawn = {name: corpus.cells[corpus.cells["source"] == "blood"] for (name, _), corpus in plan.corpora.items()}
    assert set(drawn["T"]["cell_type"]) == {"T"}
    both = drawn["all"][drawn["all"]["cell_type"] == "T"]
    assert set(both["row"]) <= set(drawn["T"]["row"])


def test_weights_are_those_that_can_be_drawn(study: Callable[..., Study]) -> None:
    table = weights_table(mixing(study()), pd.DataFrame({"blood": [2 / 3, 1.0], "lung": [1 / 3, 0.0]}, ["a", "b"]))
    assert table.to_numpy().tolist() == [[0.65, 0.35], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("weights", "said"),
    [({"blud": 1}, "expected numbers from 0"), ({"lung": 1, "blood": -1}, "from 0"), ({"blood": 0}, "some above 0")],
)
def test_what_is_no_mixture_is_refused(study: Callable[..., Study], weights: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        mixing(study()).counts(weights)


def test_a_share_beyond_a_sources_repeated_cells_is_refused(study: Callable[..., Study]) -> None:
    with pytest.raises(InputError, match="lung has 9 cells, each at most 1 times"):
        mixing(study("n_cells = 20\nmost_repeats = 1")).counts({"blood": 1, "lung": 1})


@pytest.mark.parametrize(
    ("mixture", "place", "said"),
    [
        ('n_cells = 9\nsources = ["blud", "lung"]', "mixture.sources[0]", "did you mean 'blood'"),
        ('n_cells = 9\nsources = ["lung"]', "mixture.sources", "one source has no mixtures"),
        ('n_cells = 9\nsources = ["lung", "lung"]', "mixture.sources[1]", "stands twice"),
        ('n_cells = 9\nsources = ["blood", "lung"]\ngroups = { source = "blood", by = "cell_type" }', "mixture.groups",
         "stands twice"),
        ("sources = []", "mixture.n_cells", "required"),
        ('n_cells = 9\nproxy = { model = "hgv" }', "mixture.proxy.model", "did you mean 'hvg'"),
        ("n_cells = 9\nproxy = { n_genes = [] }", "mixture.proxy.n_genes", "got an empty list"),
        ("n_cells = 9\nproxy = { n_genes = [5, 5] }", "mixture.proxy.n_genes", "has a value twice"),
        ("n_cells = 9\nproxy = { n_gene = [5] }", "mixture.proxy.n_gene", "did you mean 'n_genes'"),
        ('n_cells = 9\nutility = { task = "anotation" }', "mixture.utility.task", "did you mean 'annotation'"),
        ('n_cells = 9\nutility = { metric = "r2" }', "mixture.utility.metric", "has no metric"),
        ('n_cells = 9\nutility = { targets = ["lung"] }', "mixture.utility.targets", "not asked on 'lung'"),
        ("n_cells = 9\nruns = 20", "mixture.runs", "20 runs are fewer than the stages take"),
        ('n_cells = 9\ntransfer = "hvg"', "mixture.transfer", "is the proxy itself"),
        ('n_cells = 9\ncombine = "front"', "mixture.combine", "'mean', 'worst' or 'pareto'"),
        ('n_cells = 9\ncombine = "pareto"', "mixture.combine", "two scores or more; got 1"),
        ("n_cells = 9\nmost_repeat = 3", "mixture.most_repeat", "did you mean 'most_repeats'"),
        ("n_cells = 9\nprior = { blood = 1 }", "mixture.prior", "nothing is said of lung"),
        ("n_cells = 9\nprior = { blood = 1, lung = 1, lunk = 1 }", "mixture.prior", "did you mean 'lung'"),
        ("n_cells = 9\nutility = { targets = { blood = -1 } }", "mixture.utility[0].targets", "weight above 0"),
        ("n_cells = 9\nconfirm_seeds = 3", "mixture.confirm_seeds", "greater than or equal to 5"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_place(study: Callable[..., Study], mixture: str, place: str, said: str) -> None:
    with pytest.raises(StudyError) as caught:
        study(mixture)
    found = {problem.place: problem for problem in caught.value.problems}
    assert said in found[place].message
    assert found[place].line


@pytest.mark.parametrize(
    "mixture",
    [
        "n_cells = 9\nutility = { targets = { blood = -1 } }",
        'n_cells = 9\nutility = { targets = { blood = "much" } }',
        "n_cells = 9\nutility = { targets = [1, 2] }",
        "n_cells = 9\nutility = { targets = 3 }",
        "n_cells = 9\nmixtures = 6\nruns = 60",
        "n_cells = 9\nseeds = 1\nruns = 60",
        'n_cells = 9\ncombine = "pareto"\nutility = { metrics = "accuracy" }',
        "n_cells = 9\nsources = 3\nprior = { blood = 1 }",
    ],
)
def test_one_fault_is_one_problem_in_plain_words(study: Callable[..., Study], mixture: str) -> None:
    with pytest.raises(StudyError) as caught:
        study(mixture)
    assert len(caught.value.problems) == 1
    assert "constrained" not in str(caught.value)


def test_a_fault_of_a_task_is_said_once_though_the_utility_lacks_the_task(study: Callable[..., Study]) -> None:
    with pytest.raises(StudyError) as caught:
        study('n_cells = 9\nutility = { task = "annotation" }', **{'on = ["blood"]': 'on = ["blood"]\nmax_cels = 5'})
    assert [problem.place for problem in caught.value.problems] == ["tasks[0].max_cels"]


def test_a_utility_that_names_no_metric_is_the_headline_of_its_task(study: Callable[..., Study]) -> None:
    headline = {'on = ["blood"]': 'on = ["blood"]\nheadline = { metric = "accuracy", way = "15 nearest" }'}
    (found,) = outputs_of(study("n_cells = 9", **headline))
    assert (found.name, found.metric, found.way) == ("accuracy (15 nearest) on blood", "accuracy", "15 nearest")
    # Of another metric, the headline's way says nothing.
    (found,) = outputs_of(study('n_cells = 9\nutility = { metric = "macro_f1" }', **headline))
    assert (found.metric, found.way) == ("macro_f1", None)


def test_two_metrics_on_one_target_can_be_traded_off(study: Callable[..., Study]) -> None:
    utility = '[{ metric = "macro_f1" }, { metric = "accuracy" }]'
    spec = study(f'n_cells = 9\ncombine = "pareto"\nutility = {utility}').spec.mixture
    assert spec is not None
    assert spec.combine == "pareto"


def test_no_group_or_no_label_is_said(study: Callable[..., Study]) -> None:
    with pytest.raises(InputError, match="has no label 'organ'"):
        mixing(study('n_cells = 8\ngroups = { source = "blood", by = "organ" }'))
    with pytest.raises(InputError, match="nothing is said of blood: T"):
        mixing(study('n_cells = 8\ngroups = { source = "blood", by = "cell_type" }\nprior = { "blood: B" = 1.0 }'))
    with pytest.raises(InputError, match="there is no source 'skin' to mix"):
        mixing(study("n_cells = 8\nprior = { skin = 1.0 }"))


def test_a_study_needs_corpora_or_a_mixture_and_run_names_recommend(study: Callable[..., Study]) -> None:
    with pytest.raises(StudyError, match="'corpora' is required and missing"):
        study(**{"[mixture]\nn_cells = 20": ""})
    with pytest.raises(StudyError, match=r"leave out \[\[corpora\]\]"):
        study(**{"[[models]]": '[[corpora]]\nname = "A"\nparts = [{ source = "blood", n_cells = 3 }]\n[[models]]'})
    with pytest.raises(StudyError, match="corpuscle recommend"):
        prepare(study())
