"""Writing: a recommendation as files: one JSON document, tables as CSV, and a page."""

import json
import math
from typing import Any

from corpuscle.core.csv_text import csv_text
from corpuscle.core.version import __version__
from corpuscle.oracle.recommendation import Recommendation
from corpuscle.report.page.recommended import render_recommendation
from corpuscle.store import write_text

# What each table has.
TABLES = {
    "forecast": "mixtures by their mean rank before anything was trained",
    "gate": "how calm the proxy's settings are",
    "mixtures": "weights, cells, distinct cells and most repeats of all mixtures",
    "trials": "every training's scores",
    "scorecard": "how well mixtures that were left out are ranked, by output",
    "credible_set": "mixtures that tie with the best",
    "credible_ranges": "the least and most weight of each source among them",
    "pareto": "mixtures than which no other one that was tried is expected to be better in every output",
    "predicted": "predicted scores with 90 % intervals, of recommended and usual mixtures and single sources",
    "predictions": "predicted and observed scores of all mixtures that were run",
    "effects": "what a tenth more of a source, or none of it, would do",
    "confirmation": "comparisons with rivals on fresh seeds",
    "agreement": "ranks of other settings and models against the proxy's",
}


def document(found: Recommendation) -> dict[str, Any]:
    """Return the recommendation as plain data; what is not known is null."""
    found_plain: dict[str, Any] = _plain({
        "corpuscle": __version__,
        "study": found.study,
        "abstains": found.abstains,
        "advice": found.advice,
        "next": found.next_step,
        "remarks": list(found.reasons),
        "weights": dict(found.weights),
        "facts": dict(found.facts),
        "tables": {name: f"{name}.csv" for name in found.tables},
    })  # fmt: skip
    return found_plain


def write(found: Recommendation) -> None:
    """Write all of it into the recommendation's folder; tables of an earlier one that this one lacks are removed."""
    for name in TABLES:
        path = found.folder / f"{name}.csv"
        if name in found.tables:
            write_text(path, csv_text(found.tables[name]))
        else:
            path.unlink(missing_ok=True)
    write_text(found.folder / "recommendation.json", json.dumps(document(found), indent=1, allow_nan=False) + "\n")
    render_recommendation(found.folder)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
