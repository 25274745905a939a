"""Named, independent random generators from one seed: nothing in Corpuscle draws from a global state."""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a generator for one named purpose.

    Two purposes get independent streams, and adding a purpose never changes another's numbers.

    Parameters
    ----------
    seed
        The run's seed.
    *names
        What the numbers are for, such as ``"corpus", "blood", 0``.

    Examples
    --------
    >>> bool(generator(0, "a").random() == generator(0, "a").random())
    True
    >>> bool(generator(0, "a").random() == generator(0, "b").random())
    False
    """
    digest = hashlib.sha256("\x1f".join(str(name) for name in names).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence([seed, *np.frombuffer(digest, np.uint32).tolist()]))


def torch_seed(rng: np.random.Generator) -> int:
    """Draw a seed for a ``torch.Generator``, so that torch's numbers hang on the same named stream."""
    return int(rng.integers(2**62))


def row_generators(key: int, rows: Iterable[int]) -> Iterator[np.random.Generator]:
    """Yield a generator for each row: its numbers hang on key and row alone, whatever rows are asked for together.

    Parameters
    ----------
    key
        Which stream of streams, from 0 to 2^64 - 1; drawn once, from a named generator.
    rows
        Which rows.

    Examples
    --------
    >>> one, two = (next(row_generators(7, [row])).random() for row in (3, 4))
    >>> [rng.random() for rng in row_generators(7, [4, 3])] == [two, one]
    True
    """
    for row in rows:
        yield np.random.Generator(np.random.Philox(key=np.array([key, row], np.uint64)))


def drawn_key(rng: np.random.Generator) -> int:
    """Draw a key for `row_generators`."""
    return int(rng.integers(2**63))
