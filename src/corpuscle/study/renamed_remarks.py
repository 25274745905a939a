"""What is likely not meant by the names that a study gives for labels."""

from collections.abc import Iterator, Mapping

from corpuscle.core.text import plural
from corpuscle.source.label_map import PACKAGED
from corpuscle.source.spelling import spelling
from corpuscle.study.labels import some_names
from corpuscle.study.near_labels import near_labels
from corpuscle.study.renamed import IDS, Given, Renamed, by_spelling

# Labels of a message.
MOST_SHOWN = 5


def renamed_remarks(
    column: str,
    given: Mapping[str, list[Given]],
    there: Mapping[str, Mapping[str, int]],
    found: Mapping[str, Mapping[str, Renamed]],
) -> Iterator[tuple[str, str]]:
    """Yield what is likely not meant, with its place in the study file.

    Parameters
    ----------
    column
        The column of labels.
    given
        By source, the names that are given for it.
    there
        By source, its labels.
    found
        By source, what they are called instead.
    """
    for place, one in {one.place: one for ones in given.values() for one in ones}.items():
        sources = [name for name in there if place in [other.place for other in given[name]]]
        seen = {label: None for name in sources for label in there[name]}
        for message in _of_one(column, one, list(seen)):
            yield place, message
    for group in by_spelling(there, found).values() if column not in IDS else ():
        if len(group) > 1:
            names = " and ".join(f"{name!r} (in {labels[0][0]})" for name, labels in group.items())
            yield (
                f"labels.{column}",
                f"{names} differ by spelling alone and stay two labels of {column}, as one source has both, or both "
                "are given as names; if they mean the same, give them one name",
            )


def _of_one(column: str, one: Given, seen: list[str]) -> Iterator[str]:
    names, spelled = one.labels.names, {spelling(label) for label in seen}
    if undecided := [label for label in one.labels.undecided if label in set(seen)]:
        yield (
            f"{one.how} has no name for {plural(len(undecided), 'label')}, which stay as they are: "
            f"{some_names([repr(label) for label in undecided])}; write one under to"
        )
    lost = [label for label in names if label not in set(seen) and spelling(label) not in spelled]
    if lost and one.how != PACKAGED:
        yield f"no source has the {column} {_with_hints(lost, seen)}"
    chained = [label for label in seen if (name := names.get(label, label)) != label and names.get(name, name) != name]
    if chained:
        label, name = chained[0], names[chained[0]]
        yield f"names are given once: {label!r} becomes {name!r} and stays it, though {name!r} becomes {names[name]!r}"


def _with_hints(lost: list[str], seen: list[str]) -> str:
    shown = []
    for label in lost[:MOST_SHOWN]:
        near = [other.label for other in near_labels(label, seen)]
        shown.append(f"{label!r} (near: {some_names([repr(one) for one in near])})" if near else repr(label))
    more = f" and {len(lost) - MOST_SHOWN:,} more" if len(lost) > MOST_SHOWN else ""
    there = "" if any("(near" in one for one in shown) else f"; there are {some_names([repr(label) for label in seen])}"
    return f"{', '.join(shown)}{more}, so these names do nothing{there}"
