"""Named, independent random generators from one seed: nothing in Corpuscle draws from a global state."""

import hashlib

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
