"""Writing: a recommendation, or a valuation, as files: one JSON document, tables as CSV, and a page."""

import json
import math
from typing import Any

from corpuscle.core.csv_text import csv_text
from corpuscle.core.text import escaped
from corpuscle.core.version import __version__
from corpuscle.oracle.advice import Advice
from corpuscle.oracle.recommendation import Recommendation
from corpuscle.oracle.valuation import WAYS, Valuation
from corpuscle.report.page.recommended import render_recommendation
from corpuscle.report.page.valued import render_valuation
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
    "front": "mixtures of the front, and others that are not shown to be dominated, with expected scores",
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
        "warnings": list(found.warnings),
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


def write_valuation(found: Valuation) -> None:
    """Write a valuation into its folder: ``valuation.json``, tables as CSV, and the page."""
    for name, table in found.tables.items():
        write_text(found.folder / f"{name}.csv", csv_text(table))
    plain = _plain({
        "corpuscle": __version__, "study": found.study, "proxy": found.proxy, "sentences": found.sentences(),
        "ways": {way: WAYS[way] for way in found.ledgers}, "failed": dict(found.failures),
        "remarks": list(dict.fromkeys(note for one in found.ledgers.values() for note in one.notes)),
        "warnings": list(found.warnings),
        "tables": {name: f"{name}.csv" for name in found.tables},
    })  # fmt: skip
    write_text(found.folder / "valuation.json", json.dumps(plain, indent=1, allow_nan=False) + "\n")
    render_valuation(found.folder)


def write_advice(found: Advice) -> None:
    """Write advice on a candidate into its folder: ``advice.json``, and tables as CSV."""
    tables = {"candidate_values": found.values, "known_sources": found.known, "candidate_features": found.features}
    for name, table in tables.items():
        write_text(found.folder / f"{name}.csv", csv_text(table))
    plain = _plain({
        "corpuscle": __version__, "candidate": found.candidate, "abstains": found.abstains,
        "advice": found.sentence(), "check": found.check, "slopes": found.slopes.to_dict(),
        "summary": found.summary or None,
        "tables": {name: f"{name}.csv" for name in tables},
    })  # fmt: skip
    write_text(found.folder / "advice.json", json.dumps(plain, indent=1, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {escaped(str(key)): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    # As in the tables, so that the page finds in these what is named here.
    if isinstance(value, str):
        return escaped(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
