"""Wording: mixtures in words."""

from collections.abc import Mapping

# Sources that a sentence names.
MOST_NAMED = 8


def in_words(weights: Mapping[str, float]) -> str:
    """Return a mixture in words, the largest weights first.

    Examples
    --------
    >>> in_words({"lung": 0.25, "blood": 0.748, "skin": 0.002})
    '75 % blood, 25 % lung'
    """
    largest = sorted(weights, key=lambda name: -weights[name])
    parts = [f"{100 * weights[name]:.0f} % {name}" for name in largest if weights[name] >= 0.005]
    return ", ".join(parts[:MOST_NAMED]) + (" and less of others" if len(parts) > MOST_NAMED else "")
