"""A study file is read whole, and all that is wrong with it is told at once, each with its line."""

import re

import pytest

from corpuscle.core.errors import StudyError
from corpuscle.core.paths import safe_name
from corpuscle.study.spec import Study

GOOD = """\
name = "small"
sources.blood = { dataset = "pbmc3k" }
sources.file = { path = "cells.h5ad", where = "`cell type` in ['B']", donor = "individual", counts = "raw" }
corpora = [
  { name = "A", parts = [{ source = "blood", n_cells = 5 }] },
  { name = "B", parts = [{ source = "file", fraction = 0.5, sampler = "label_balanced", by = "donor" }] },
  # here: corpora
]
models = [
  { name = "toy:MeanProfile" },
  # here: models
]
tasks = [
  { name = "reconstruction", on = ["blood", { source = "file", where = "n > 1", name = "some" }] },
  # here: tasks
]
"""
PART = '{ source = "blood", n_cells = 5 }'
IMPUTE = '{ alteration = "impute_rare", threshold = 5'
DRAWN = '{ source = "blood", n_cells = 5, sampler ='


def problems(text: str) -> list[str]:
    with pytest.raises(StudyError) as caught:
        Study.parse(text)
    return [str(problem) for problem in caught.value.problems]


def places(text: str) -> set[str]:
    with pytest.raises(StudyError) as caught:
        Study.parse(text)
    return {problem.place for problem in caught.value.problems}


def test_a_good_study_is_read(tmp_path):
    study = Study.parse(GOOD, tmp_path)
    assert study.name == "small"
    assert list(study.seeds) == [0, 1, 2]
    assert study.baseline == "A"
    assert [str(recipe) for recipe in study.recipes] == [
        "5 of blood (uniform)",
        "50% of file (label_balanced, by = donor)",
    ]
    assert [model.label for model in study.models] == ["toy:MeanProfile"]
    assert [(task.label, task.targets) for task in study.tasks] == [("reconstruction", ("blood", "some"))]
    assert study.path("file") == tmp_path / "cells.h5ad"
    assert study.path("blood").exists()
    assert study.spec.sources["file"].roles == {"donor": "individual"}


def test_a_ladder_stands_for_a_corpus_of_each_size():
    ladders = """
    { name = "P", parts = [{ source = "blood" }], ladder = { percent = [1, 10, 2.5] } },
    { name = "N", parts = [{ source = "file", n_cells = 4000 }], ladder = { cells = [2000, 10], nested = false } },
    """
    study = Study.parse('baseline = "P 10 %"\n' + GOOD.replace("# here: corpora", ladders))
    assert {recipe.name: str(recipe) for recipe in study.recipes[2:]} == {
        "P 1 %": "1 % (nested) of 100% of blood (uniform)",
        "P 10 %": "10 % (nested) of 100% of blood (uniform)",
        "P 2.5 %": "2.5 % (nested) of 100% of blood (uniform)",
        "N 2,000 cells": "2,000 cells (independent) of 4,000 of file (uniform)",
        "N 10 cells": "10 cells (independent) of 4,000 of file (uniform)",
    }
    assert [recipe.rung.larger for recipe in study.recipes[2:]] == [(10, 2.5), (), (10,), None, None]
    assert len({safe_name(recipe.name) for recipe in study.recipes}) == 7


def test_a_ladder_is_no_baseline_but_its_sizes_are():
    ladder = '{ name = "P", parts = [{ source = "blood" }], ladder = { percent = [1, 10] } },'
    (found,) = problems('baseline = "P"\n' + GOOD.replace("# here: corpora", ladder))
    assert "there is no corpus 'P'" in found
    assert "Legal here: A, B, P 1 %, P 10 %" in found


def test_a_sources_quality_overrides_the_studys():
    text = (
        GOOD.replace('"pbmc3k" }', '"pbmc3k", quality = { min_counts = 7 } }')
        + "quality = { min_counts = 3, min_genes = 2 }"
    )
    study = Study.parse(text)
    assert (study.quality["blood"].min_counts, study.quality["blood"].min_genes) == (7, 2)
    assert study.quality["file"].min_counts == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seeds = 0", "seeds should be greater than or equal to 1 .it is 0"),
        ("seeds = -1", "should be greater"),
        ("seeds = true", "seeds should be a whole number .it is True"),
        ('seeds = "3"', "seeds should be a whole number .it is '3'"),
        ("seeds = 2.0", "should be a whole number .it is 2.0"),
        ("seeds = nan", "should be a whole number"),
        ("seeds = 2024-01-01", "should be a whole number .it is datetime.date.2024, 1, 1"),
        ("seeds = [1]", "should be a whole number"),
        ("seeds = { draws = 3 }", "seeds.*fits"),
        ("seeds = { draws = 3, fits = 1 }", "fits should be greater than or equal to 2"),
        ("seeds = { draws = 3, fits = 2, more = 1 }", "there is no 'more' here"),
        ("seed = 3", "there is no 'seed' here; did you mean 'seeds'?"),
        ('baseline = "C"', "there is no corpus 'C'; Legal here: A, B"),
        ('baseline = "a"', "did you mean 'A'"),
        ('control = "C"', "there is no corpus 'C'; Legal here: A, B"),
        ('control = "A"', "'A' is the baseline"),
        ("margins = { r2_log = 0 }", "r2_log should be greater than 0"),
        ("margins = { r2_logs = 0.1 }", "no task has a metric 'r2_logs'; did you mean 'r2_log'"),
        ("margins = { r2_log = inf }", "r2_log should be a finite number"),
        ("quality = { min_count = 3 }", "there is no 'min_count' here; did you mean 'min_counts'"),
        ("quality = { max_mito_fraction = inf }", "max_mito_fraction should be "),
        ('quality = { min_counts = "5" }', "min_counts should be a whole number"),
        ("quality = 3", "quality should be a table"),
        ('genes = { by = "symbols" }', "by should be 'ensembl' or 'symbol'"),
        ('genes = { spaces = "union" }', "did you mean 'space'"),
        ('holdout = { blud = { by = "cell", share = 0.1 } }', "there is no source 'blud'; did you mean 'blood'"),
        ('holdout = { blood = { by = "cell" } }', "give either share or values"),
        ('holdout = { blood = { by = "cell", share = 1.5 } }', "share should be less than 1"),
        ('holdout = { blood = { by = "doner", share = 0.5 } }', "by should be 'donor', 'batch', 'study' or 'cell'"),
        ('holdout = { blood = { by = "donor", value = ["x"] } }', "did you mean 'values'"),
        ("holdout = { blood = 3 }", "blood should be a table"),
        ("sources.x = 3", "x should be a table"),
        ("sources.x = {}", "give either path .a file. or dataset"),
        ('sources.x = { path = "a", dataset = "b" }', "give either path"),
        ('sources.x = { dataset = "pbmc" }', "there is no data set 'pbmc'; did you mean 'pbmc3k'"),
        ('sources.x = { path = "a", doner = "d" }', "there is no 'doner' here; did you mean 'donor'"),
        ('sources.x = { path = "a", where = "f(1)" }', "a call is not allowed"),
        ('sources.x = { path = "a", quality = { min_gene = 1 } }', "did you mean 'min_genes'"),
        ('sources."a\\nb" = { path = "a" }', "should match pattern"),
    ],
)
def test_what_is_wrong_is_told_with_the_nearest_legal_name_and_its_line(line, message):
    head, *rest = GOOD.splitlines()
    (found,) = problems("\n".join([head, line, *rest]) if not line.startswith("sources") else f"{line}\n{GOOD}")
    assert re.match(f"line {1 if line.startswith('sources') else 2}: ", found)
    assert re.search(message, found)


# Which list, the entry at its end, the place in that entry, the message.
ENTRIES = """
corpora | name = "C", parts = [] | parts | should not be empty
corpora | name = "", parts = [PART] | name | should not be empty
corpora | name = "A", parts = [PART] | name | two corpora of one name: 'A' stands 2 times
corpora | name = "a", parts = [PART] | name | two corpora of one name
corpora | name = "C", parts = [PART], exclude = "x ==" | exclude | not an expression
corpora | name = "C", parts = [PART], stages = [] | stages | did you mean 'steps'
corpora | name = "C", parts = [PART], steps = { alteration = "thin" } | steps | should be a list
corpora | name = "C", parts = [PART], steps = ["thin"] | steps[0] | should be a table
corpora | name = "C", parts = [PART], steps = [{ keep = 0.1 }] | steps[0].alteration | is required and missing
corpora | name = "C", parts = [PART], steps = [{ alteration = "thinn" }] | steps[0].alteration | did you mean 'thin'
corpora | name = "C", parts = [PART], steps = [{ alteration = "thin", keep = 2 }] | steps[0].keep | less than 1
corpora | name = "C", parts = [PART], steps = [{ alteration = "thin" }] | steps[0] | 'keep' is required and missing
corpora | name = "C", parts = [PART], steps = [{ alteration = "oversample", too = 5 }] | steps[0].too | mean 'to'
corpora | name = "C", parts = [PART], steps = [{ alteration = "exclude", where = "x ==" }] | steps[0].where | not an exp
corpora | name = "C", parts = [PART], steps = [{ alteration = "ablate", types = 0 }] | steps[0].types | a list of labels
corpora | name = "C", parts = [PART], steps = [IMPUTE, model = "lvdae" }] | steps[0].model | did you mean 'ldvae'
corpora | name = "C", parts = [PART], steps = [IMPUTE, settings = { n = 3 } }] | steps[0].settings.n | there is no 'n'
corpora | name = "C", parts = [{ source = "blood" }] | parts[0] | give either n_cells .* or fraction
corpora | name = "C", parts = [{ source = "blood", n_cells = 1, fraction = 0.1 }] | parts[0] | give either n_cells
corpora | name = "C", parts = [{ source = "blud", n_cells = 1 }] | parts[0].source | did you mean 'blood'
corpora | name = "C", parts = [{ source = "blood", n_cells = 0 }] | parts[0].n_cells | should be greater than 0
corpora | name = "C", parts = [{ source = "blood", fraction = nan }] | parts[0].fraction | should be .* number
corpora | name = "C", parts = [{ source = "blood", n_cells = 5, fracton = 1 }] | parts[0].fracton | mean 'fraction'
corpora | name = "C", parts = [DRAWN "random" }] | parts[0].sampler | no sampler
corpora | name = "C", parts = [PART, 3] | parts[1] | should be a table
corpora | name = "C", parts = [{ source = "blood" }], ladder = { cells = 5 } | ladder.cells | should be a list
corpora | name = "C", parts = [PART], ladder = 3 | ladder | should be a table
corpora | name = "C", parts = [PART], ladder = {} | ladder | give either percent .* or cells
corpora | name = "C", parts = [PART], ladder = { percent = [5], cells = [5] } | ladder | give either percent
corpora | name = "C", parts = [PART], ladder = { percents = [5] } | ladder.percents | did you mean 'percent'
corpora | name = "C", parts = [PART], ladder = { percent = [] } | ladder.percent | should not be empty
corpora | name = "C", parts = [PART], ladder = { percent = 5 } | ladder.percent | should be a list
corpora | name = "C", parts = [PART], ladder = { percent = [5, 101] } | ladder.percent[1] | less than or equal to 100
corpora | name = "C", parts = [PART], ladder = { percent = [5, nan] } | ladder.percent[1] | should be a .*number
corpora | name = "C", parts = [PART], ladder = { cells = [0] } | ladder.cells[0] | should be greater than 0
corpora | name = "C", parts = [PART], ladder = { cells = [0.5] } | ladder.cells[0] | should be a whole number
corpora | name = "C", parts = [PART], ladder = { percent = [5], nested = 1 } | ladder.nested | should be true or false
corpora | name = "C", parts = [PART], ladder = { percent = [5, 10, 5.0] } | ladder.percent[2] | 5 stands twice
corpora | name = "C 5 %", parts = [PART] }, { name = "C", parts = [PART], ladder = { percent = [5] } | name | stands 2
corpora | name = "C", parts = [DRAWN "spike_in", share = 0.1 }] | parts[0] | 'spike' is required
corpora | name = "C", parts = [DRAWN "spike_in", spike = "k", share = 0.1 }] | parts[0].spike | no source 'k'
corpora | name = "C", parts = [DRAWN "importance", target = "fil" }] | parts[0].target | mean 'file'
corpora | name = "C", parts = [DRAWN "geometric_sketch", n_components = 51 }] | parts[0].n_components | less than
corpora | name = "C", parts = [DRAWN "label_balanced", weights = { B = 0.0 } }] | parts[0].weights.B | greater
models | name = "ldva" | name | there is no model 'ldva'; did you mean 'ldvae'
models | name = "ldvae", budget = { epoch = 3 } | budget.epoch | did you mean 'epochs'
models | name = "ldvae", budget = 3 | budget | should be a table
models | name = "ldvae", lable = "x" | lable | did you mean 'label'
models | name = "toy:MeanProfile" | name | two models of one label
tasks | name = "recontruction", on = ["blood"] | name | did you mean 'reconstruction'
tasks | name = "residuals", on = [] | on | should not be empty
tasks | name = "residuals", on = ["blud"] | on[0] | there is no source 'blud'
tasks | name = "residuals", on = ["blood", "blood"] | on[1] | stands twice
tasks | name = "residuals", on = [{ source = "file", name = "blood" }] | on[0] | already means other cells
tasks | name = "residuals", on = [{ source = "blood", were = "x" }] | on[0].were | did you mean 'where'
tasks | name = "residuals", on = [{ source = "blood", where = "x.y", name = "odd" }] | on[0] | an attribute is not
tasks | name = "residuals", on = [3] | on[0] | should be a table
tasks | name = "residuals", on = "blood" | on | should be a list
tasks | name = "reconstruction", on = ["blood"] | name | two tasks of one label
tasks | name = "reconstruction", label = "x", on = ["blood"], posterior = "mode" | posterior | 'mean' or 'sample'
"""


@pytest.mark.parametrize("case", ENTRIES.strip().splitlines())
def test_what_is_wrong_in_an_entry_is_told_where_it_stands(case):
    table, entry, place, message = case.split(" | ")
    text = GOOD.replace(
        f"# here: {table}", f"{{ {entry.replace('PART', PART).replace('DRAWN', DRAWN).replace('IMPUTE', IMPUTE)} }}"
    )
    (found,) = problems(text)
    assert re.search(message, found)
    line = 1 + GOOD[: GOOD.index(f"# here: {table}")].count("\n")
    assert re.match(rf"line {line}: {table}\[\d\]\.{re.escape(place)}: ", found)


def test_all_problems_are_told_at_once_at_every_level():
    found = places("""
name = 5
seeds = "3"
basline = "B"
[sources.a]
path = 3
[sources.b]
dataset = "pbmc3"
where = "f(x)"
[holdout]
a = { by = "donor", share = inf }
q = { by = "cell", share = 0.1 }
[quality]
min_count = 1
[[corpora]]
name = "B"
parts = [{ source = "zz", n_cells = "5" }, { source = "b", n_cells = 3, fraction = 0.1, sampler = "unifrm" }]
exclude = "x("
[[corpora]]
parts = 3
[[corpora]]
name = "b"
parts = []
[[models]]
name = "ldvae"
n_latent = 1.5
n_layer = 3
[[models]]
label = "m"
[[tasks]]
name = "reconstructio"
on = []
[[tasks]]
name = "residuals"
on = ["b", { source = "k", wher = "x" }]
""")
    assert found == {
        "name", "seeds", "basline", "sources.a.path", "sources.b.dataset", "sources.b.where", "holdout.a.share",
        "holdout.q", "quality.min_count", "corpora[0].parts[0].source", "corpora[0].parts[0].n_cells",
        "corpora[0].parts[1]", "corpora[0].parts[1].sampler", "corpora[0].exclude", "corpora[1].name",
        "corpora[1].parts", "corpora[2].name", "corpora[2].parts", "models[0].n_latent", "models[0].n_layer",
        "models[1].name", "tasks[0].name", "tasks[0].on", "tasks[1].on[1]", "tasks[1].on[1].wher",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", {"name", "sources", "corpora", "models"}, id="nothing"),
        pytest.param("sources = 3\n" + GOOD.replace("sources.", "quality."), {"sources"}, id="sources are no table"),
        pytest.param(GOOD.replace('{ dataset = "pbmc3k" }', "3"), {"sources.blood"}, id="a source is no table"),
        pytest.param('baseline = "A"\n' + GOOD.replace('name = "A", ', ""), {"corpora[0].name"}, id="no name"),
        pytest.param(
            re.sub(r"corpora = \[.*?\n\]", "corpora = []", GOOD, flags=re.DOTALL), {"corpora"}, id="no corpora"
        ),
        pytest.param(
            re.sub(r"models = \[.*?\n\]", "models = 3", GOOD, flags=re.DOTALL), {"models"}, id="models are no list"
        ),
        pytest.param(
            re.sub(r"models = \[.*?\n\]", "models = [[]]", GOOD, flags=re.DOTALL), {"models[0]"}, id="no tables"
        ),
    ],
)
def test_no_problem_is_told_that_only_follows_from_another(text, expected):
    assert {place.partition(".where")[0] for place in places(text)} - {"quality.blood", "quality.file"} == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\nname = "y"', "not TOML: Cannot overwrite a value"),
        ("name = \n[x]", "^line 1: not TOML: Invalid value, at column 8"),
        ("[" * 5000, "not TOML"),
        ("a = " + "[" * 5000 + "]" * 5000, "not TOML"),
        ("[" + ".".join("a" * 3000) + "]", "nested more than 100 deep"),
        ("a = " + "9" * 5000, "not TOML"),
        ("name = 'x\n", "not TOML"),
    ],
    ids=["twice", "no value", "brackets", "deep", "deep tables", "huge number", "open text"],
)
def test_what_is_not_toml_is_told(text, message):
    (found,) = problems(text)
    assert re.search(message, found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such study file: .*study.toml"),
        (b"name = '\xff\xfe'", "cannot be read as text"),
        (b"PK\x03\x04\x00\x00", "not TOML"),
    ],
    ids=["missing", "not UTF-8", "binary"],
)
def test_what_is_no_study_file_is_told(tmp_path, content, message):
    if content is not None:
        (tmp_path / "study.toml").write_bytes(content)
    with pytest.raises(StudyError, match=message):
        Study.read(tmp_path / "study.toml")


def test_a_folder_is_no_study_file(tmp_path):
    with pytest.raises(StudyError, match="cannot be read as text"):
        Study.read(tmp_path)


def test_a_byte_order_mark_is_no_matter(tmp_path):
    (tmp_path / "study.toml").write_text(GOOD, encoding="utf-8-sig")
    study = Study.read(str(tmp_path / "study.toml"))
    assert study.folder == tmp_path
    assert study.text == GOOD


@pytest.mark.parametrize("number", ["0x" + "f" * 4000, "9" * 300, "-9223372036854775809"])
def test_a_number_beyond_64_bits_is_reported_with_its_line(number):
    text = f'name = "x"\nsources.a = {{ path = "a.h5ad", quality = {{ min_counts = {number} }} }}\n'
    with pytest.raises(StudyError, match=r"line 2: sources\.a\.quality.min_counts: a whole number beyond 64 bits"):
        Study.parse(text)


def test_a_number_of_thousands_of_digits_is_reported_in_words():
    with pytest.raises(StudyError, match=r"not TOML: a whole number of thousands of digits$"):
        Study.parse("seeds = " + "9" * 5000)


COUNTS = """
name = "x"
corpora = [{{ name = "A", parts = [{{ source = "a", n_cells = 5 }}] }}]
models = [{{ name = "pca" }}]
[sources]
a = {{ path = "a.h5ad", counts = {} }}
"""


@pytest.mark.parametrize(
    ("counts", "layer", "rounds"),
    [('"raw"', "raw", False), ("{ round = true }", "X", True), ('{ layer = "raw", round = true }', "raw", True)],
)
def test_counts_are_a_place_or_a_place_that_is_rounded(counts, layer, rounds):
    spec = Study.parse(COUNTS.format(counts)).spec.sources["a"].counts
    assert (spec.layer, spec.round) == (layer, rounds)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("3", r"line 6: sources.a.counts: .*should be a text such as .raw., or a table"),
        ('{ layers = "X" }', "line 6: sources.a.counts.layers: there is no 'layers' here; did you mean 'layer'"),
        ('{ round = "yes" }', "line 6: sources.a.counts.round: round should be true or false"),
    ],
)
def test_faulty_counts_are_reported_with_what_they_can_be(counts, message):
    with pytest.raises(StudyError, match=message):
        Study.parse(COUNTS.format(counts))


def test_crossed_seeds_number_runs_draw_by_draw():
    crossed = Study.parse("seeds = { draws = 3, fits = 2 }\n" + GOOD)
    assert (list(crossed.seeds), list(crossed.draws)) == ([0, 1, 2, 3, 4, 5], [0, 1, 2])
    assert [(crossed.draw_of(seed), crossed.fit_of(seed)) for seed in crossed.seeds] == [
        (0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1),
    ]  # fmt: skip
    plain = Study.parse("seeds = 3\n" + GOOD)
    assert [(plain.draw_of(seed), plain.fit_of(seed)) for seed in plain.seeds] == [(0, 0), (1, 1), (2, 2)]
