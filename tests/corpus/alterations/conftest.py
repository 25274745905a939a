"""A corpus of given labels and counts, and a way to alter it in a line."""

from collections.abc import Callable
from typing import Any

import pytest

from corpuscle.core import components
from corpuscle.core.randomness import generator
from corpuscle.corpus.alteration import Alteration, altered
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus


@pytest.fixture
def alter() -> Callable[..., Corpus]:
    """Alter a corpus by an alteration's name and settings."""

    def done(corpus: Corpus, name: str, seed: int = 0, context: Context | None = None, **settings: Any) -> Corpus:
        step = components.build(Alteration, name, settings)
        return altered(step, corpus, generator(seed, "test"), context or Context())

    return done


@pytest.fixture
def labelled(make: Callable[..., Corpus]) -> Callable[..., Corpus]:
    """Make a corpus of so many cells of each type, in two batches that take turns; None is no label."""

    def made(n_by_type: dict[str | None, int], **parts: Any) -> Corpus:
        labels = [label for label, n in n_by_type.items() for _ in range(n)]
        obs = {"cell_type": labels, "batch": [f"b{at % 2}" for at in range(len(labels))], **parts.pop("obs", {})}
        return make(parts.pop("counts", len(labels)), obs=obs, **parts)

    return made
