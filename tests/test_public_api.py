"""What the package offers: a name that goes, or that another takes the place of, is seen here first."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import corpuscle
from repository import ROOT

OFFERED = {
    "alter", "analyse", "calibrated_clusters", "evaluate", "fit", "Fitted", "measure", "mixture", "sample",
    "CorpuscleError", "InputError", "Plan", "Results", "Study", "__version__", "compose", "dataset_path", "describe",
    "open_source", "overlap", "prepare", "recommend", "render", "run", "value", "advise", "moment_forecast",
    "MomentForecast",
}  # fmt: skip


def test_the_package_offers_these_names_and_no_others() -> None:
    assert set(corpuscle.__all__) == OFFERED
    for name in OFFERED:
        assert getattr(corpuscle, name) is not None


def test_no_room_takes_the_place_of_a_name_that_is_offered() -> None:
    import_module("corpuscle.execution.workflow")
    import_module("corpuscle.cli")
    assert callable(corpuscle.run)
    rooms = {path.stem for path in Path(corpuscle.__file__).parent.iterdir() if path.name != "__init__.py"}
    assert {getattr(corpuscle, name).__name__ for name in rooms & OFFERED} == {"corpuscle.mixture"}


@pytest.mark.parametrize("name", ["CITATION.cff", "docs/scverse/meta.yaml"])
def test_what_names_the_version_names_this_one(name: str) -> None:
    found = re.search(r"^version: (.+)$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    assert found[1] == corpuscle.__version__
