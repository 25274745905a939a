"""Shared labels: which labels of targets the training corpora have, laid out for people."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pandas as pd

from corpuscle.corpus.corpus import Corpus
from corpuscle.study.labels import Labels, label_sets, some_names, used_roles
from corpuscle.study.spec import Study

# How many groups of corpora, and how many labels of a cell, are listed before the rest is counted.
MOST_GROUPS, MOST_LABELS = 4, 12
COLUMNS = ("label", "target", "shared", "only in the target", "only in corpora", "in the corpora")


def shared_labels(study: Study, targets: Mapping[str, Corpus], corpora: Mapping[str, Corpus]) -> pd.DataFrame:
    """Lay out which labels of each target the corpora have.

    Returns
    -------
    A row per label and target: columns ``label`` (its role), ``target``, ``shared``, ``only in the target``, ``only in
    corpora`` (of all corpora together, each a text of names) and ``in the corpora``, which corpora have how many of the
    target's. Labels that no target has are left out.
    """
    rows = []
    for role in used_roles(study):
        corpora_of: dict[Labels, list[str]] = defaultdict(list)
        for name, labels in label_sets(corpora, role).items():
            corpora_of[labels].append(name)
        for target, labels in label_sets(targets, role).items():
            if labels:
                learned = Labels().union(*corpora_of)
                sets = (_listed(part) for part in (labels & learned, labels - learned, learned - labels))
                rows.append((role, target, *sets, _in_corpora(labels, corpora_of)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _listed(labels: Labels) -> str:
    """Write how many labels there are, and some of them."""
    # Names of the Cell Ontology have commas.
    rest = f" and {len(labels) - MOST_LABELS:,} more" if len(labels) > MOST_LABELS else ""
    return f"{len(labels):,}: {'; '.join(sorted(labels)[:MOST_LABELS])}{rest}" if labels else "none"


def _in_corpora(labels: Labels, corpora_of: Mapping[Labels, Sequence[str]]) -> str:
    """Write which of a target's labels corpora have, those that have most first."""
    by_shared: dict[tuple[Labels, bool], list[str]] = defaultdict(list)
    for there, names in corpora_of.items():
        by_shared[labels & there, bool(there)] += names
    groups = sorted(by_shared.items(), key=lambda group: -len(group[0][0]))
    parts = [_part(labels, *group, names) for group, names in groups[:MOST_GROUPS]]
    if rest := groups[MOST_GROUPS:]:
        n_corpora = sum(len(names) for _, names in rest)
        parts.append(f"at most {len(rest[0][0][0])} in {n_corpora:,} more corpora")
    return "; ".join(parts)


def _part(labels: Labels, shared: Labels, has_labels: bool, names: Sequence[str]) -> str:  # noqa: FBT001
    corpora = some_names(names)
    if not shared:
        return f"none in {corpora}" if has_labels else f"no labels in {corpora}"
    if shared == labels:
        return f"all in {corpora}"
    return f"{len(shared)} of {len(labels)} in {corpora} (without {some_names(sorted(labels - shared))})"
