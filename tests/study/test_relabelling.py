"""A study's names for labels: what they change, what they must not merge, and what is said of them."""

from typing import NamedTuple

import pandas as pd
import pytest

from corpuscle.core.errors import StudyError
from corpuscle.corpus.context import Context
from corpuscle.corpus.stored import StoredCorpora
from corpuscle.execution.results_folder import manifest
from corpuscle.store import Store
from corpuscle.study.findings import Findings
from corpuscle.study.opening import open_sources
from corpuscle.study.preparation import prepare
from corpuscle.study.relabelling import counts, relabel
from corpuscle.study.spec import Study

STUDY = """
name = "small"
seeds = 1
models = [{{ name = "hvg", n_genes = 10 }}]
corpora = [{{ name = "Other", parts = [{{ source = "other", fraction = 1.0 }}]{extra} }}]
tasks = [{{ name = "annotation", split = "corpus", on = ["blood"] }}]
[sources]
blood = {{ path = "blood.h5ad"{blood} }}
other = {{ path = "other.h5ad" }}
{labels}
"""
MONO = '"CD14 Mono" = "CD14-positive monocyte", "CD14+ Monocyte" = "CD14-positive monocyte"'


@pytest.fixture(autouse=True)
def _cells_are_not_too_poor(monkeypatch):
    """Leave out the warning of cells with few genes: the files of these tests have thirty."""
    monkeypatch.setattr("corpuscle.study.overlaps.undecidable", lambda *_: ())


@pytest.fixture
def written(write, tmp_path):
    """Write two files whose cells have these types, and read a study of them that gives some names."""

    def made(labels, blood=("CD14 Mono", "B"), other=("CD14+ Monocyte", "B"), *, extra="", of_blood="", **obs):
        for seed, (name, types) in enumerate({"blood": blood, "other": other}.items()):
            more = {column: [values[seed]] * 24 for column, values in obs.items()}
            donors = [f"{name} {at % 3}" for at in range(24)]
            write(name, 24, seed=seed, obs={"donor": donors, "cell_type": [*types] * (24 // len(types)), **more})
        return Study.parse(STUDY.format(labels=labels, extra=extra, blood=of_blood), tmp_path)

    return made


@pytest.fixture
def planned(written):
    """Prepare such a study."""
    return lambda *given, **more: prepare(written(*given, **more))


class Named(NamedTuple):
    """What labels are called: by source, in a record, and what was noted."""

    types: dict[str, list[str]]
    record: pd.DataFrame
    warnings: list[str]


@pytest.fixture
def named(written):
    """Name the labels of such a study; nothing else of it is looked at."""
    return lambda *given, **more: name_labels(written(*given, **more))


def name_labels(study):
    findings = Findings(study)
    sources, record = relabel(findings, open_sources(findings, lambda *_: None))
    findings.stop()
    types = {name: [*counts(source, "cell_type")] for name, source in sources.items()}
    return Named(types, record, [str(one) for one in findings.warnings])


def table(*names):
    return f"[labels]\ncell_type = {{ {', '.join(names)} }}"


def test_labels_of_one_name_are_one_in_targets_corpora_and_what_is_recorded(planned):
    plan = planned(table(MONO))
    for cells in (plan.targets["blood"], plan.corpora["Other", 0]):
        assert set(cells.labels("cell_type")) == {"B", "CD14-positive monocyte"}
    assert plan.relabelled.to_dict("records") == [
        {"label": "cell_type", "source": source, "from": before, "to": "CD14-positive monocyte", "how": "given",
         "n_cells": 12}
        for source, before in (("blood", "CD14 Mono"), ("other", "CD14+ Monocyte"))
    ]  # fmt: skip
    assert [one.place for one in plan.warnings] == ["seeds"]
    (facts,) = manifest(plan, plan.corpora["Other", 0], 0)["inputs"]
    assert facts["labels"] == {"cell_type": {"CD14+ Monocyte": "CD14-positive monocyte"}}


def test_an_id_is_shown_as_its_name_and_a_file_says_the_same(named, tmp_path):
    (tmp_path / "a.csv").write_text("from,to\nCD14 Mono,CL:0001054\nCD14+ Monocyte,CL_0001054\n")
    by_file = named('[labels]\ncell_type = "a.csv"')
    by_id = named(table(MONO.replace("CD14-positive monocyte", "CL:0001054")))
    assert by_file.types == by_id.types == {name: ["B", "CD14-positive monocyte"] for name in ("blood", "other")}


@pytest.mark.parametrize(("names", "alone"), [
    ("", False), ('[labels]\ncell_type = "alike"', False), (table('"T" = "T cell"'), False),
    (table('"CD14+ Monocyte" = "Mono"'), True), (table('"cd14+_monocyte" = "Mono"'), True),
])  # fmt: skip
def test_what_is_kept_of_a_corpus_has_another_name_only_where_its_labels_have(planned, names, alone):
    before, after = (planned(one).corpora["Other", 0].identity() for one in ("", names))
    assert (before != after) == alone


def test_a_column_that_is_no_role_counts_too_and_is_read_again_so(planned, tmp_path):
    """Files decide other columns, and the fingerprint leaves them out: not where a study names their labels."""
    obs = {"condition": ("ctrl", "CTRL")}
    plain = planned("", **obs).corpora["Other", 0]
    plan = planned('[labels]\ncondition = { "CTRL" = "control", "ctrl" = "control" }', **obs)
    corpus = plan.corpora["Other", 0]
    assert set(corpus.labels("condition")) == set(plan.targets["blood"].labels("condition")) == {"control"}
    assert corpus.fingerprint != plain.fingerprint
    stored = StoredCorpora(Context(plan.pools, store=Store(tmp_path / "store")))
    again = StoredCorpora(Context(plan.pools, store=Store(tmp_path / "store"))).open(stored.keep(corpus))
    assert again.fingerprint == corpus.fingerprint
    assert (
        again.take(again.labels("cell_type") == "B").fingerprint
        != plain.take(plain.labels("cell_type") == "B").fingerprint
    )


def test_a_sources_own_names_come_before_the_studys(named):
    own = ', labels = { cell_type = { "CD14 Mono" = "Mono of blood" } }'
    plan = named(table(MONO), of_blood=own)
    assert plan.types == {"blood": ["B", "Mono of blood"], "other": ["B", "CD14-positive monocyte"]}


def test_spelling_alone_is_no_difference_where_a_study_says_so(named):
    blood, other = ("CD4 T", "CD4+ T", "NK/T"), ("cd4-T", "CD4- T", "NKT")
    assert named("", blood, other).types == {"blood": sorted(blood), "other": sorted(other)}
    plan = named('[labels]\ncell_type = "alike"', blood, other)
    assert plan.types == {"blood": sorted(blood), "other": ["CD4 T", "CD4- T", "NKT"]}
    assert plan.record[["from", "to", "how"]].values.tolist() == [["cd4-T", "CD4 T", "spelled as in blood"]]


@pytest.mark.parametrize(
    ("blood", "other"), [(("B", "b"), ("B", "T")), (("T", "x"), ("B", "b")), (("b", "x"), ("B", "b"))]
)
def test_two_labels_of_one_source_are_never_merged(named, blood, other):
    plan = named('[labels]\ncell_type = "alike"', blood, other)
    assert plan.types == {"blood": sorted(blood), "other": sorted(other)}
    assert plan.record.empty
    (warning,) = [one for one in plan.warnings if "stay two labels" in one]
    assert "as one source has both" in warning


def test_a_name_is_found_by_spelling_and_gives_its_own(named):
    plan = named(table('"CD14 MONO" = "Mono"', '"x" = "b"'), ("cd14_mono", "B"), ("Mono", "x"))
    # "b" is a name that is given; "B" of the other source is spelled like it.
    assert plan.types == {"blood": ["Mono", "b"], "other": ["Mono", "b"]}
    assert set(plan.record["how"]) == {"given, spelled otherwise", "given", "spelled as in other"}


def test_donors_are_never_merged_by_spelling(named):
    assert named('[labels]\ndonor = "alike"', donor=("D1", "d1")).record.empty


def test_names_are_given_once(named):
    plan = named(table('"B" = "CD14 Mono"', '"CD14 Mono" = "B"'))
    assert plan.types["blood"] == ["B", "CD14 Mono"]
    assert len(plan.record) == 3
    (warning,) = plan.warnings
    assert "'B' becomes 'CD14 Mono' and stays it, though 'CD14 Mono' becomes 'B'" in warning


def test_labels_that_no_source_has_are_named_with_near_ones(named, tmp_path):
    assert any(
        "no source has the cell_type 'CD14 Monocytes' (near: 'CD14 Mono', 'CD14+ Monocyte'), so these names" in one
        for one in named(table('"CD14 Monocytes" = "Mono"')).warnings
    )
    (tmp_path / "a.csv").write_text("from,to\nB,\nZ,\n")
    (warning,) = named('[labels]\ncell_type = "a.csv"').warnings
    assert "a.csv has no name for 1 label, which stay as they are: 'B'" in warning


@pytest.mark.parametrize(("labels", "of_blood", "place", "message"), [
    ("[labels]\ncell_typ = {}", "", "labels.cell_typ", "did you mean 'cell_type'?"),
    ("", ", labels = { stage = {} }", "sources.blood.labels.stage", "source 'blood' has no column 'stage'"),
    ('[labels]\ncell_type = "gone.csv"', "", "labels.cell_type", "there is no such file"),
    (table('"B" = "CL:9999999"'), "", "labels.cell_type.B", "has no term 'CL:9999999'"),
    (table('"B" = "CL:0000003"'), "", "labels.cell_type.B", "is obsolete in the Cell Ontology; write CL:0000000"),
    (table('"B" = ""'), "", "labels.cell_type", "'B' should have a name, as a text; got ''"),
    (table('"B" = 1'), "", "labels.cell_type", "'B' should have a name, as a text; got 1"),
    ("[labels]\ncell_type = 1", "", "labels.cell_type", 'the path of a CSV or TSV with the columns from and to'),
    ("[labels]\nbarcode = {}", "", "labels.barcode", "holds no labels"),
    ("[labels]\ncell_type_ontology_term_id = {}", "", "labels.cell_type_ontology_term_id", "name those of cell_type"),
])  # fmt: skip
def test_names_that_cannot_be_given_are_refused_where_they_stand(named, labels, of_blood, place, message):
    with pytest.raises(StudyError) as caught:
        named(labels, of_blood=of_blood)
    (problem,) = caught.value.problems
    assert problem.place == place
    assert message in problem.message
    assert problem.line > 0


def test_ids_need_the_ontology_and_names_do_not(named, monkeypatch):
    from corpuscle.core.errors import MeasureError

    def gone():
        raise MeasureError("pip install 'corpuscle[ontology]'")

    monkeypatch.setattr("corpuscle.study.relabelling.installed_ontology", gone)
    assert named(table(MONO)).types["blood"] == ["B", "CD14-positive monocyte"]
    with pytest.raises(StudyError, match=r"labels.cell_type: pip install"):
        named(table('"B" = "CL:0000236"'))


@pytest.mark.parametrize("where", ["'B cell'", "'B'"])
def test_a_filter_that_calls_labels_as_the_files_do_is_refused(planned, where):
    extra = f', exclude = "cell_type in [{where}]"'
    if where == "'B cell'":
        plan = planned(table('"B" = "B cell"'), extra=extra)
        assert set(plan.corpora["Other", 0].labels("cell_type")) == {"CD14+ Monocyte"}
        return
    with pytest.raises(StudyError) as caught:
        planned(table('"B" = "B cell"'), extra=extra)
    (problem,) = caught.value.problems
    assert problem.place == "corpora[0].exclude"
    assert "compares cell_type with 'B', which [labels] calls 'B cell'; write that" in problem.message


@pytest.mark.parametrize(
    ("place", "extra"),
    [
        ("steps[0].types", ', steps = [{ alteration = "downsample", keep = 0.5, types = ["B"] }]'),
        ("steps[0].batches", ', steps = [{ alteration = "ablate", batches = ["B"], batch = "cell_type" }]'),
        ("steps[0].where", """, steps = [{ alteration = "exclude", where = "cell_type == 'B'" }]"""),
        ("steps[0].labels", ', steps = [{ alteration = "synthesize_from_bulk", n_cells = 3, labels = ["B"] }]'),
        ("parts[1].weights", None),
    ],
)
def test_a_setting_that_calls_labels_as_the_files_do_is_refused_once(planned, monkeypatch, place, extra):
    if extra is None:
        part = '{{ source = "other", fraction = 0.5, sampler = "label_balanced", weights = {{ B = 0.5 }} }}]'
        monkeypatch.setitem(globals(), "STUDY", STUDY.replace("= 1.0 }}]", f"= 0.1 }}}}, {part}"))
    with pytest.raises(StudyError) as caught:
        planned(table('"B" = "B cell"'), extra=extra or "")
    (problem,) = caught.value.problems
    assert problem.place == f"corpora[0].{place}"
    assert "'B', which [labels] calls 'B cell'; write that" in problem.message


def test_a_hold_out_that_calls_donors_as_the_file_does_is_refused_once(planned):
    labels = '[labels]\ndonor = { "other 1" = "d1" }\n[holdout.other]\nby = "donor"\nvalues = ["other 1"]'
    with pytest.raises(StudyError) as caught:
        planned(labels)
    (problem,) = caught.value.problems
    assert "holdout.other.values: names the donor 'other 1', which [labels] calls 'd1'" in str(problem)


def test_a_part_that_calls_labels_as_the_file_does_is_refused_once(planned, monkeypatch):
    part = """fraction = 1.0, only = "cell_type == 'B'" }}]"""
    monkeypatch.setitem(globals(), "STUDY", STUDY.replace("fraction = 1.0 }}]", part))
    with pytest.raises(StudyError) as caught:
        planned(table('"B" = "B cell"'))
    (problem,) = caught.value.problems
    assert problem.place == "corpora[0].parts[0].only"


def test_a_weight_of_no_label_is_answered_with_the_labels_there_are(planned, monkeypatch):
    part = 'fraction = 0.5, sampler = "label_balanced", weights = {{ "Bx" = 0.5 }} }}]'
    monkeypatch.setitem(globals(), "STUDY", STUDY.replace("fraction = 1.0 }}]", part))
    with pytest.raises(StudyError, match=r"weights has 'Bx', .*Legal here: B, CD14"):
        planned("")


def test_a_sources_where_is_about_its_file(named):
    plan = named(table('"B" = "B cell"'), of_blood=""", where = "cell_type == 'B'" """)
    assert plan.types["blood"] == ["B cell"]


def test_packaged_data_sets_share_their_types():
    study = Study(
        name="packaged",
        sources={name: {"dataset": name} for name in ("kang2018", "pbmc3k", "baron2016")},
        labels={"cell_type": "packaged"},
        corpora=[{"name": "Kang", "parts": [{"source": "kang2018", "n_cells": 400}]}],
        models=["pca"],
        tasks=[{"name": "annotation", "split": "corpus", "on": ["pbmc3k", "baron2016"]}],
        seeds=1,
    )
    assert Study.parse(study.to_toml()).spec == study.spec
    found = name_labels(study)
    known = {name: set(there) for name, there in found.types.items()}
    assert known["pbmc3k"] - known["kang2018"] == {"megakaryocyte"}
    assert known["baron2016"] & known["kang2018"] == {"T cell"}
    assert found.warnings == []


def test_a_table_in_python_is_one_of_a_study_file():
    tables = {"name": "a", "sources": {"a": {"path": "a.h5ad", "labels": {"stage": {1: "one"}}}}, "models": ["pca"],
              "corpora": [{"name": "A", "parts": [{"source": "a", "n_cells": 5}]}]}  # fmt: skip
    study = Study(**tables, labels={"cell_type": {"CD14 Mono": "CL:0001054"}})
    assert study.spec.labels == {"cell_type": {"CD14 Mono": "CL:0001054"}}
    assert study.spec.sources["a"].labels == {"stage": {"1": "one"}}


def test_numbers_are_labels_as_everywhere(named):
    plan = named(table('"0" = "B"', '"1" = "T"'), pd.array([0, 1]), pd.array([0.0, 1.0]))
    assert plan.types == {name: ["B", "T"] for name in ("blood", "other")}
