"""Named, independent random generators from one seed: nothing in Corpuscle draws from a global state."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import InputError

# 2^64 over the golden ratio: an odd number, so that its multiples are all different.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


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


def given_generator(rng: object) -> np.random.Generator:
    """Return the generator that somebody gives, or that of the seed that is given.

    Raises
    ------
    InputError
        When it is neither a generator nor a whole number of 0 or more.

    Examples
    --------
    >>> bool(given_generator(1).random() == given_generator(np.random.default_rng(1)).random())
    True
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if not is_seed(rng):
        raise InputError(f"rng: expected a numpy Generator, or a seed, a whole number of 0 or more; got {rng!r:.80}")
    return np.random.default_rng(int(rng))


def is_seed(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number of 0 or more.

    Examples
    --------
    >>> is_seed(np.int64(3)), is_seed(True), is_seed(None), is_seed(-1)
    (True, False, False, False)
    """
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_) and bool(value >= 0)


def torch_seed(rng: np.random.Generator) -> int:
    """Draw a seed for a ``torch.Generator``, so that torch's numbers depend on the same named stream."""
    return int(rng.integers(2**62))


def row_generators(key: int, rows: Iterable[int]) -> Iterator[np.random.Generator]:
    """Yield a generator for each row: its numbers depend on key and row alone, whatever rows are asked for together.

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
    """Draw a key for `row_generators`, `row_numbers` or `name_numbers`."""
    return int(rng.integers(2**63))


def row_numbers(key: int, name: str, rows: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Give each row of a named table a random number that depends on key, name and row alone.

    In ascending order of these numbers the rows are shuffled, and leaving some rows out leaves the order of the others:
    so two draws that share a key share what they can. This is splitmix64 (Steele et al. 2014) at the place that the row
    gives; two rows of one table never have the same number.

    Parameters
    ----------
    key
        Which shuffle, from 0 to 2^64 - 1.
    name
        Which table.
    rows
        Row numbers, shape (N,).

    Examples
    --------
    >>> few, many = row_numbers(7, "blood", np.array([3, 9])), row_numbers(7, "blood", np.arange(10))
    >>> bool(np.array_equal(few, many[[3, 9]]))
    True
    """
    numbers = rows.astype(np.uint64)
    numbers *= GOLDEN
    numbers += name_numbers(key, [name])
    return scrambled(numbers)


def name_numbers(key: int, names: Iterable[str]) -> NDArray[np.uint64]:
    """Give each name a random number that depends on the key and the name alone, shape (number of names,)."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    # Scrambled once before the key comes in: keys that differ in few bits then give unrelated numbers.
    return scrambled(scrambled(np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)) + np.uint64(key))


def scrambled(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit numbers, one to one (the finaliser of splitmix64, Steele et al. 2014)."""
    x = x ^ (x >> np.uint64(30))
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x
