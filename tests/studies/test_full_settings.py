"""What full files call published is what was published, and what they say of steps is what their models take."""

import pytest

from corpuscle.model.families.foundation import FoundationModel
from corpuscle.source import cell_filter
from corpuscle.study.spec import Study
from published import STUDIES

# Cells of the corpora whose steps a file states. The publication of size and diversity trained on 80 % of the cells.
STATED = {"composition_blood": (101_879, 203_758), "size_and_diversity": (199_800, 19_980_000)}
PUBLISHED = {"composition_blood": (2_122, 4_245), "size_and_diversity": (3_698, 370_000)}


def as_published(file):
    """Return the foundation models of a file that train as long as published."""
    models = [labelled.model for labelled in Study.read(file).models]
    return [model for model in models if isinstance(model, FoundationModel) and model.budget == "published"]


@pytest.mark.parametrize(
    "file", sorted(STUDIES.glob("*/full*.toml")), ids=lambda file: f"{file.parent.name}/{file.stem}"
)
def test_epochs_as_published_are_of_published_batches(file):
    for model in as_published(file):
        assert model.batch_size == model.published.batch_size


@pytest.mark.parametrize("study", sorted(STATED))
def test_the_steps_that_a_full_file_states_are_those_it_takes(study):
    file = STUDIES / study / "full.toml"
    (model,) = as_published(file)
    for n_cells, published in zip(STATED[study], PUBLISHED[study], strict=True):
        n_steps = model.n_steps(n_cells)
        assert f"{n_steps:,}" in file.read_text(encoding="utf-8")
        assert n_steps == pytest.approx(published, rel=0.015)


@pytest.mark.parametrize(
    "file", sorted(STUDIES.glob("*/full*.toml")), ids=lambda file: f"{file.parent.name}/{file.stem}"
)
def test_a_full_file_asks_for_no_data_that_it_does_not_use(file):
    study = Study.read(file)
    trained_on = {part.source for recipe in study.recipes for part in recipe.parts}
    # A sampler may take cells of a further source.
    trained_on |= {getattr(part.sampler, "spike", "") for recipe in study.recipes for part in recipe.parts}
    assert set(study.spec.sources) <= trained_on | {target.source for target in study.targets.values()}


@pytest.mark.parametrize("study", ["composition_blood", "size_and_diversity"])
def test_what_is_trained_on_from_the_census_is_of_the_published_assays(study):
    for file in (STUDIES / study).glob("full*.toml"):
        found = Study.read(file)
        for name in {part.source for recipe in found.recipes for part in recipe.parts}:
            source = found.spec.sources[name]
            if str(source.path).startswith("census:"):
                assays = {value for column, value in cell_filter.compared(source.where) if column == "assay"}
                assert len(assays) == 7 and all(assay.startswith("10x ") for assay in assays)


@pytest.mark.parametrize(("name", "term"), [("monocytes", "CL:0000576"), ("B cells", "CL:0000236")])
def test_a_left_out_type_is_all_that_the_cell_ontology_has_below_it(name, term):
    parser = pytest.importorskip("cellxgene_ontology_guide.ontology_parser").OntologyParser()
    terms = [one for one in parser.get_term_descendants(term, include_self=True) if not parser.is_term_deprecated(one)]
    below = {("cell_type", parser.get_term_label(one)) for one in terms}
    study = Study.read(STUDIES / "composition_blood" / "full.toml")
    (left_out,) = (one.exclude for one in study.recipes if one.name == {"monocytes": "No-Monocyte"}.get(name, "No-B"))
    assert cell_filter.compared(left_out) == below
    asked = [on.where for task in study.spec.tasks for on in task.on if on.title == name]
    assert len(asked) == 2 and set(asked) == {left_out}
