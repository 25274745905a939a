"""Components are found by name, checked when built, and told of in full when they are wrong."""

import re
import sys
import warnings
from pathlib import Path

import pytest

from corpuscle.core import components
from corpuscle.core.errors import ComponentError, CorpusError
from corpuscle.corpus.sampler import Sampler
from corpuscle.evaluation.task import Task
from corpuscle.model.model import Model
from corpuscle.source.reader import Reader

KINDS = [Reader, Sampler, Model, Task]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_name_finds_the_component_that_has_it(kind):
    for name in components.names(kind):
        found = components.find(kind, name)
        assert issubclass(found, kind)
        assert f"{found.__module__}.".startswith(f"{kind.home}.{name}.")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("unifrom", "did you mean 'uniform'", id="misspelt"),
        pytest.param("", "there is no sampler ''", id="empty"),
        pytest.param("os", "Legal here: .*label_balanced, .*uniform$", id="not a built-in"),
        pytest.param("nowhere:X", "cannot import 'nowhere'", id="no such module"),
        pytest.param(":X", "cannot import ''", id="no module"),
        pytest.param("toy:Nothing", "is not a sampler", id="no such class"),
        pytest.param("toy:MeanProfile", "is not a sampler", id="of another kind"),
        pytest.param("corpuscle.corpus.sampler:Sampler", "is not complete", id="abstract"),
    ],
)
def test_a_wrong_name_is_answered_with_what_there_is(name, message):
    with pytest.raises(ComponentError, match=message):
        components.find(Sampler, name)


def test_a_module_that_fails_to_import_is_the_users_to_mend(tmp_path: Path, monkeypatch):
    (tmp_path / "broken_samplers.py").write_text("1 / 0")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ComponentError, match="ZeroDivisionError: division by zero"):
        components.find(Sampler, "broken_samplers:Rare")


def test_every_wrong_parameter_is_told_with_its_path():
    with pytest.raises(ComponentError) as caught:
        components.build(Model, "ldvae", {"n_latnt": 3, "n_hidden": "wide", "budget": {"epoch": 3}})
    faults = dict(caught.value.faults)
    assert set(faults) == {("n_latnt",), ("n_hidden",), ("budget", "epoch")}
    assert "did you mean 'n_latent'" in faults["n_latnt",]
    assert "n_hidden should be a whole number (it is 'wide')" in faults["n_hidden",]
    assert "did you mean 'epochs'? Legal here: epochs, steps" in faults["budget", "epoch"]


def test_what_pydantic_says_is_put_in_words_in_one_place():
    """Elsewhere, messages would have its prefix ("Value error, "), or all the lines around them."""
    package = Path(components.__file__).parents[1]
    assert {path.name for path in package.rglob("*.py") if re.search(r"""["']msg["']""", path.read_text())} == {
        "components.py"
    }


def test_a_component_outside_its_home_is_named_by_module_and_class():
    model = components.build(Model, "toy:MeanProfile", {"trouble": "x"})
    assert model.name == "toy:MeanProfile"
    assert components.build(Model, model.name, {"trouble": "x"}) == model


def test_warnings_of_a_component_are_shown_when_it_is_done_and_not_where_it_fails():
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with components.guarded(Sampler):
            warnings.warn("rounding", RuntimeWarning, stacklevel=1)
            assert not shown
        assert [str(warning.message) for warning in shown] == ["rounding"]
        with pytest.raises(CorpusError), components.guarded(Sampler):
            warnings.warn("Mean of empty slice", RuntimeWarning, stacklevel=1)
            raise CorpusError("no cell is left")
    assert len(shown) == 1


def test_a_component_may_be_a_folder_and_its_class_in_any_file_of_it(tmp_path, monkeypatch):
    from corpuscle.corpus import samplers

    folder = tmp_path / "leading_cells"
    folder.mkdir()
    (folder / "__init__.py").write_text("from corpuscle.corpus.samplers.leading_cells.choice import LeadingCells\n")
    (folder / "_parts.py").write_text("import numpy as np\nfirst = np.arange\n")
    (folder / "choice.py").write_text(
        "from corpuscle.core.components import component\n"
        "from corpuscle.corpus.sampler import Sampler\n"
        "from corpuscle.corpus.samplers.leading_cells._parts import first\n"
        "@component\n"
        "class LeadingCells(Sampler):\n"
        "    def choose(self, pool, n_cells, rng, context):\n"
        "        return first(n_cells)\n"
    )
    monkeypatch.setattr(samplers, "__path__", [*samplers.__path__, str(tmp_path)])
    assert "leading_cells" in components.names(Sampler)
    found = components.build(Sampler, "leading_cells", {})
    assert found.name == "leading_cells"
    assert found.choose(None, 3, None, None).tolist() == [0, 1, 2]
