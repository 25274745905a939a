"""Read the study file's tables; where they are faulty, say how, and keep what can be checked further."""

import copy
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ValidationError

from corpuscle.core.components import explain
from corpuscle.core.errors import Problem
from corpuscle.study.lines import line_of
from corpuscle.study.mixture_tables import GroupsSpec, MixtureSpec, ProxySpec, UtilitySpec
from corpuscle.study.tables import (
    TAGS,
    CorpusSpec,
    CountsSpec,
    GenesSpec,
    LadderSpec,
    ModelSpec,
    PartSpec,
    SeedsSpec,
    SourceSpec,
    StepSpec,
    StudySpec,
    TargetSpec,
    TaskSpec,
)

Location = tuple[str | int, ...]

_TABLES: dict[tuple[type[BaseModel], str | int], type[BaseModel]] = {
    (StudySpec, "sources"): SourceSpec,
    (StudySpec, "genes"): GenesSpec,
    (StudySpec, "seeds"): SeedsSpec,
    (SourceSpec, "counts"): CountsSpec,
    (StudySpec, "corpora"): CorpusSpec,
    (CorpusSpec, "parts"): PartSpec,
    (CorpusSpec, "ladder"): LadderSpec,
    (CorpusSpec, "steps"): StepSpec,
    (StudySpec, "mixture"): MixtureSpec,
    (MixtureSpec, "groups"): GroupsSpec,
    (MixtureSpec, "proxy"): ProxySpec,
    (MixtureSpec, "utility"): UtilitySpec,
    (StudySpec, "models"): ModelSpec,
    (StudySpec, "tasks"): TaskSpec,
    (TaskSpec, "on"): TargetSpec,
}

# Something legal for what a study cannot do without, so that the rest of a faulty one can be checked too.
_PART = {"source": "?", "n_cells": 1}
_CORPUS = {"name": "?", "parts": [_PART]}
_ELEMENTS: dict[str | int, Any] = {
    "sources": {"path": "?"},
    "parts": _PART,
    "steps": {"alteration": "?"},
    "corpora": _CORPUS,
    "models": {"name": "?"},
    "tasks": {"name": "?", "on": ["?"]},
    "on": "?",
}
_VALUES: dict[str | int, Any] = {
    "name": "?",
    "source": "?",
    "alteration": "?",
    "path": "?",
    "dataset": "pbmc3k",
    "n_cells": 1,
    "fraction": 1.0,
    "draws": 2,
    "fits": 2,
    "sources": {"?": {"path": "?"}},
    "parts": [_PART],
    "ladder": {"percent": [100.0]},
    "corpora": [_CORPUS],
    "models": [{"name": "?"}],
    "on": ["?"],
}
# Each round fixes what the one before brought to light; a study file is not nested deeper than this.
_ROUNDS = 10
# Faults of a file that are put into words; each is compared with the legal names.
MOST_SAID = 2000


def place_of(location: Iterable[str | int]) -> str:
    """Write a location as a place.

    Examples
    --------
    >>> place_of(("corpora", 1, "parts", 0, "n_cells"))
    'corpora[1].parts[0].n_cells'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def read_tables(raw: dict[str, Any], text: str) -> tuple[StudySpec | None, list[Problem]]:
    """Check the shape of a study file.

    Parameters
    ----------
    raw
        The file as TOML's parser returns it.
    text
        The file, for line numbers.

    Returns
    -------
    The tables and what is wrong with them. Where something is, it is left out of the tables, or has a stand-in: they
    serve to find further problems (see `follows_from`), not as a study. None when not even that can be made.
    """
    problems: list[Problem] = []
    raw = copy.deepcopy(raw)
    if not {"corpora", "mixture"} & set(raw):
        problems.append(Problem("corpora", "'corpora' is required and missing"))
        raw["corpora"] = copy.deepcopy(_VALUES["corpora"])
    for at in range(_ROUNDS):
        try:
            return StudySpec.model_validate(raw), problems
        except ValidationError as error:
            details = error.errors()
        if at == 0:
            problems += dict.fromkeys(_problem(detail, text) for detail in details[:MOST_SAID])
            if len(details) > MOST_SAID:
                problems.append(Problem("", f"{len(details) - MOST_SAID:,} more faults of the kinds of these"))
        # Backwards: what is left out of a list moves those behind it.
        for detail in reversed(details):
            # It may be in what was left out already.
            with suppress(LookupError, TypeError):
                _mend(raw, detail)
    return None, problems


def follows_from(problem: Problem, known: Sequence[Problem]) -> bool:
    """Return whether a problem is there only because of what stands in for a known one."""
    places = [other.place for other in known]
    if any(problem.place == place or problem.place.startswith((f"{place}.", f"{place}[")) for place in places):
        return True
    # A corpus without a name may be the one that is looked for; without sources, none can be found.
    if problem.place in ("baseline", "control"):
        return any(re.fullmatch(r"corpora(\[\d+\](\.name|\.ladder.*)?)?", place) for place in places)
    # What is counted, or compared with all that is mixed, has defaults in place of what is at fault.
    if problem.place in ("mixture.runs", "mixture.combine", "mixture.prior"):
        return any(place.startswith("mixture.") for place in places)
    return "sources" in places and "there is no source" in problem.message


def _problem(detail: Any, text: str) -> Problem:
    """Turn pydantic's finding into a place and a sentence."""
    location = _location(detail)
    table: type[BaseModel] = StudySpec
    for part in location[:-1]:
        table = _TABLES.get((table, part), table)
    place = place_of(location)
    return Problem(place, explain({**detail, "loc": location}, table.model_fields), line_of(text, place))


def _location(detail: Any) -> Location:
    # Pydantic marks a fault of a key itself, and which of several kinds a value is, by parts that are in no study file.
    return tuple(part for part in detail["loc"] if part not in ("[key]", *TAGS))


def _mend(raw: dict[str, Any], detail: Any) -> None:
    """Put something legal where pydantic found a fault; nothing, where nothing is needed."""
    *path, key = _location(detail)
    table: Any = raw
    for part in path:
        table = table[part]
    is_element = isinstance(key, int) or path == ["sources"]
    stand_in = _ELEMENTS.get(path[-1]) if is_element else _VALUES.get(key)
    if detail["type"] == "extra_forbidden" or detail["loc"][-1] == "[key]" or stand_in is None:
        del table[key]
    else:
        table[key] = copy.deepcopy(stand_in)
