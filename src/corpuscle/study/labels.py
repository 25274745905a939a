"""Labels of targets and corpora: which they share, and what makes them differ without being meant to.

Label sets are found once per target and corpus, and corpora with the same are taken together: studies of thousands of
corpora stay quick to check, and their lines readable.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from corpuscle.core.text import shortened
from corpuscle.corpus.corpus import Corpus
from corpuscle.source.labels import text_of
from corpuscle.source.source import ROLES
from corpuscle.source.spelling import spelling
from corpuscle.study.near_labels import near_labels
from corpuscle.study.spec import Study

Labels = frozenset[str]
# How many names, and how many groups of labels, are listed before the rest is counted.
MOST_NAMES, MOST_GROUPS = 3, 4
# For so many labels of a target, near ones are looked for, in so many different sets of corpora's labels.
MOST_LOOKED_AT, MOST_SETS = 200, 20
_NUMBER = re.compile(r"\s*-?(?:\d+(?:\.\d+)?|inf)\s*")
# A minus that ends a word says what is not there, as in CD4- T; one inside a word is punctuation, as in T-cell.
_MINUS = re.compile(r"(?<=\w)-(?!\w)")


class Remark(NamedTuple):
    """What is legal and likely not meant, at a place of the study file."""

    place: str
    message: str


def used_roles(study: Study) -> list[str]:
    """Return the labels that a study looks at: cell types, and those that a task, model, sampler or step names."""
    specs = [task.task.spec() for task in study.tasks] + [model.model.spec() for model in study.models]
    for recipe in study.recipes:
        specs += [part.sampler.spec() for part in recipe.parts] + [step.spec() for step in recipe.steps]
    named = {value for spec in specs for value in _texts(spec)}
    return [role for role in ROLES if role == "cell_type" or role in named]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)


def label_sets(cells: Mapping[str, Corpus], role: str) -> dict[str, Labels]:
    """Return the labels that are there, of each target or corpus."""
    return {name: _label_set(corpus.cells.get(role)) for name, corpus in cells.items()}


def _label_set(column: "pd.Series[Any] | None") -> Labels:
    if column is None:
        return frozenset()
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return frozenset(column.dropna().unique())
    used = np.bincount(column.cat.codes.to_numpy() + 1, minlength=len(column.cat.categories) + 1)[1:] > 0
    return frozenset(column.cat.categories[used])


def some_names(names: Sequence[str]) -> str:
    """List some names and count the others.

    Examples
    --------
    >>> some_names(["A", "B", "C", "D", "E"])
    'A, B, C and 2 more'
    """
    rest = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {rest:,} more" if rest > 0 else "")


def remarks(study: Study, targets: Mapping[str, Corpus], corpora: Mapping[str, Corpus]) -> Iterator[Remark]:
    """Find targets without the labels that a task asks about, corpora that share none, and labels that look alike.

    Parameters
    ----------
    study
        The study.
    targets, corpora
        The cells to evaluate on, and the training corpora, of one seed, by name.
    """
    roles = used_roles(study)
    of_targets = {role: label_sets(targets, role) for role in roles}
    of_corpora = {role: label_sets(corpora, role) for role in roles}
    learned = {role for model in study.models for role in model.model.learns}
    said = set[tuple[str, str]]()
    for at, task in enumerate(study.tasks):
        for role in task.task.asks_about:
            if role not in of_targets:
                continue
            needed = role in task.task.looks_up or role in learned
            for target in task.targets:
                if target in targets:
                    sets = of_targets[role][target], of_corpora[role] if needed else {}
                    yield from _unanswerable(f"tasks[{at}]", role, target, *sets)
                    if needed and (role, target) not in said:
                        said.add((role, target))
                        yield from _written_otherwise(f"tasks[{at}]", role, target, *sets)
        for role, values in task.task.asks_for.items():
            asked = {name: targets[name] for name in task.targets if name in targets}
            # In place, corpora are asked.
            asked |= {} if len(asked) == len(task.targets) else corpora
            yield from _lacking(f"tasks[{at}]", role, values, asked)
        if any(target not in targets for target in task.targets):
            yield from _taught_in_place(f"tasks[{at}]", task.task.asks_about, study)
    for role in roles:
        # Donors are looked at where leaks are.
        if role != "donor":
            yield from _alike(study, role, {**of_targets[role], **of_corpora[role]})


def _lacking(place: str, label: str, values: Sequence[str], asked: Mapping[str, Corpus]) -> Iterator[Remark]:
    for name, there in label_sets(asked, label).items():
        if lost := [value for value in values if value not in there]:
            has = some_names(sorted(there)) or "none at all"
            yield Remark(
                place,
                f"no cell of {name!r} has the {label} {lost[0]!r}, which the task asks for, so its scores will be "
                f"missing; there are {has}",
            )


def _taught_in_place(place: str, asked: Sequence[str], study: Study) -> Iterator[Remark]:
    """Find models that learned, of the cells that a task asks about in place, the labels that it asks about."""
    for role in asked:
        names = [repr(one.label) for one in study.models if role in (*one.model.learns, *one.model.guided_by)]
        if names:
            yield Remark(
                place,
                f"in place, the task asks about the {role} of cells whose {role} {some_names(names)} learned: their "
                "scores say how well that was learned, not what else is in these cells; ask it on held-out cells",
            )


def _unanswerable(
    place: str, role: str, target: str, labels: Labels, of_corpora: Mapping[str, Labels]
) -> Iterator[Remark]:
    if not labels:
        hint = "say under [sources] which column has it"
        yield Remark(place, f"no cell of target {target!r} has a {role}, so its scores will be missing; {hint}")
        return
    apart = [name for name, there in of_corpora.items() if not labels & there]
    if apart:
        some = some_names(sorted(of_corpora[apart[0]])) or "none at all"
        near = some_names([_pair(*pair) for pair in _near_pairs(labels, of_corpora[apart[0]])])
        hint = f" These may mean the same: {near}; give such one name under [labels]." if near else ""
        yield Remark(
            place,
            f"target {target!r} and {_corpora(apart)} share no {role}: there, {some_names(sorted(labels))}; in "
            f"{apart[0]!r}, {some}.{hint} What is concluded from these cells cannot be right",
        )


def _near_pairs(labels: Labels, others: Labels, least: float = 0.0) -> list[tuple[str, str]]:
    """Return the labels next to the others that they are nearest to, the nearest first."""
    found = []
    for label in sorted(labels)[:MOST_LOOKED_AT]:
        near = near_labels(label, sorted(others))
        found += [(near[0].share, label, near[0].label)] if near and near[0].share >= least else []
    return [(one, other) for _, one, other in sorted(found, key=lambda pair: (-pair[0], pair[1]))]


def _pair(one: str, other: str) -> str:
    return f"{one!r} ~ {other!r}"


def _written_otherwise(
    place: str, role: str, target: str, labels: Labels, of_corpora: Mapping[str, Labels]
) -> Iterator[Remark]:
    """Find labels of a target that a corpus lacks, where it has a label that says the same in other words."""
    pairs: dict[tuple[str, str], str] = {}
    # Where nothing is shared, that is said, with what is near.
    sets = {there: name for name, there in reversed([*of_corpora.items()]) if labels & there and labels - there}
    for there, name in [*sets.items()][:MOST_SETS]:
        for pair in _near_pairs(labels - there, there - labels, least=1.0):
            # Of those that differ by case, blanks or punctuation, `_alike` says so.
            if look(pair[0]) != look(pair[1]):
                pairs.setdefault(pair, name)
    if pairs:
        shown = [f"{_pair(*pair)} (of corpus {name!r})" for pair, name in pairs.items()]
        yield Remark(
            place,
            f"labels of {role} of target {target!r} look like others of a corpus that lacks them, and count as "
            f"different: {some_names(shown)}; if they mean the same, give them one name under [labels] "
            "(`corpuscle labels STUDY -o FILE` writes a first table)",
        )


def _corpora(names: Sequence[str]) -> str:
    return f"{'corpus' if len(names) == 1 else 'corpora'} {some_names([repr(name) for name in names])}"


def _alike(study: Study, role: str, sets: Mapping[str, Labels]) -> Iterator[Remark]:
    """Find labels that differ by case, blanks and punctuation alone."""
    by_look: dict[str, list[str]] = defaultdict(list)
    for label in sorted(frozenset[str]().union(*sets.values())):
        by_look[look(label)].append(label)
    groups = [labels for labels in by_look.values() if len(labels) > 1]
    if any(role in table for table in (study.spec.labels, *(one.labels for one in study.spec.sources.values()))):
        # Of what differs by spelling alone, it was said why it stays two labels.
        groups = [labels for labels in groups if len({spelling(label) for label in labels}) > 1]
    if not groups:
        return
    shown = [" and ".join(f"{label!r} (in {_first(label, sets)})" for label in labels) for labels in groups]
    yield Remark(
        "sources",
        f"labels of {role} that differ only by case, blanks or punctuation count as different: {_joined(shown)}; if "
        f'they mean the same, write {role} = "alike" under [labels], or give them one name there',
    )


def _joined(parts: Sequence[str]) -> str:
    rest = len(parts) - MOST_GROUPS
    return "; ".join(parts[:MOST_GROUPS]) + (f"; and {rest:,} more" if rest > 0 else "")


def _first(label: str, sets: Mapping[str, Labels]) -> str:
    return next(name for name, there in sets.items() if label in there)


def look(label: str) -> str:
    """Return what a label looks like without regard to case, blanks and punctuation.

    A plus stays, as in CD4+, and so does a minus that ends a word, as in CD4-, and what stands between digits: 1-1 is
    not 11. Numbers keep their sign.

    Examples
    --------
    >>> [look(label) for label in ("CD4 T", "cd4-T", "CD4+ T", "CD4- T", "1-1", "11", "1.0", "-1")]
    ['cd4t', 'cd4t', 'cd4+t', 'cd4\u2212t', '1.1', '11', '1', '-1']
    """
    if _NUMBER.fullmatch(label):
        return str(text_of(float(label)))
    text = unicodedata.normalize("NFKC", label).casefold()
    text = _MINUS.sub("\N{MINUS SIGN}", text)
    text = re.sub(r"(?<=\d)(?:[^\w+]|_)+(?=\d)", "\0", text)
    return re.sub(r"[^\w+\N{MINUS SIGN}\0]|_", "", text).replace("\0", ".") or label


def unseen(label: str, targets: Mapping[str, Corpus], corpora: Mapping[str, Corpus]) -> Iterator[str]:
    """Yield the targets with values of a label that a corpus lacks, of a model that cannot embed such cells.

    Parameters
    ----------
    label
        The label.
    targets, corpora
        The cells, by name; the corpora of one seed.
    """
    seen = {name: set(corpus.labels(label).tolist()) for name, corpus in corpora.items()}
    for target, cells in targets.items():
        values, n_cells = np.unique(cells.labels(label), return_counts=True)
        for name, known in seen.items():
            new = [value for value in values.tolist() if value not in known]
            if new:
                n_new = int(n_cells[np.isin(values, new)].sum())
                names = shortened(", ".join(new))
                yield (
                    f"it embeds cells of a {label} that it was trained on, and {n_new:,} of {len(cells):,} cells of "
                    f"target {target!r} are of one that corpus {name!r} does not have ({names}): it "
                    "will not answer there"
                )
                break
