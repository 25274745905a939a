"""Corpuscle: design, train on, and measure training corpora for single-cell models.

Importing the package loads nothing heavy: what it offers is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from corpuscle.core.version import __version__

if TYPE_CHECKING:
    from corpuscle import mixture
    from corpuscle.alone.altering import alter
    from corpuscle.alone.evaluating import evaluate
    from corpuscle.alone.fitting import Fitted, fit
    from corpuscle.alone.measuring import measure
    from corpuscle.alone.moment_forecasting import MomentForecast, moment_forecast
    from corpuscle.alone.overlapping import overlap
    from corpuscle.alone.sampling import sample
    from corpuscle.core.errors import CorpuscleError, InputError
    from corpuscle.evaluation.calibrated import calibrated_clusters
    from corpuscle.execution.results import Results
    from corpuscle.execution.workflow import compose, describe, run
    from corpuscle.oracle.advising import advise
    from corpuscle.oracle.recommending import recommend
    from corpuscle.oracle.valuing import value
    from corpuscle.report.analyse import analyse
    from corpuscle.report.page.render import render
    from corpuscle.source.source import dataset_path, open_source
    from corpuscle.study.plan import Plan
    from corpuscle.study.preparation import prepare
    from corpuscle.study.spec import Study

# Where each public name is.
_HOMES = {
    "CorpuscleError": "corpuscle.core.errors",
    "Fitted": "corpuscle.alone.fitting",
    "InputError": "corpuscle.core.errors",
    "MomentForecast": "corpuscle.alone.moment_forecasting",
    "Plan": "corpuscle.study.plan",
    "Results": "corpuscle.execution.results",
    "Study": "corpuscle.study.spec",
    "alter": "corpuscle.alone.altering",
    "analyse": "corpuscle.report.analyse",
    "calibrated_clusters": "corpuscle.evaluation.calibrated",
    "compose": "corpuscle.execution.workflow",
    "dataset_path": "corpuscle.source.source",
    "describe": "corpuscle.execution.workflow",
    "evaluate": "corpuscle.alone.evaluating",
    "fit": "corpuscle.alone.fitting",
    "measure": "corpuscle.alone.measuring",
    "moment_forecast": "corpuscle.alone.moment_forecasting",
    "open_source": "corpuscle.source.source",
    "overlap": "corpuscle.alone.overlapping",
    "prepare": "corpuscle.study.preparation",
    "advise": "corpuscle.oracle.advising",
    "recommend": "corpuscle.oracle.recommending",
    "value": "corpuscle.oracle.valuing",
    "render": "corpuscle.report.page.render",
    "run": "corpuscle.execution.workflow",
    "sample": "corpuscle.alone.sampling",
}
# Packages that are offered whole.
_ROOMS = ("mixture",)
__all__ = [
    "CorpuscleError",
    "Fitted",
    "InputError",
    "MomentForecast",
    "Plan",
    "Results",
    "Study",
    "__version__",
    "advise",
    "alter",
    "analyse",
    "calibrated_clusters",
    "compose",
    "dataset_path",
    "describe",
    "evaluate",
    "fit",
    "measure",
    "mixture",
    "moment_forecast",
    "open_source",
    "overlap",
    "prepare",
    "recommend",
    "render",
    "run",
    "sample",
    "value",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"corpuscle.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
