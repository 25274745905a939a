"""Simplex: mixtures that there can be, where no source can have more than its cells allow."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from corpuscle.core.errors import InputError
from corpuscle.core.text import shortened
from corpuscle.mixture.surrogate import Array

# Of Dirichlet draws, over the number of sources: from nearly single sources to nearly the centre.
STRENGTHS = (0.1, 0.2, 0.5, 1.0, 2.0)


def caps_of(cells: Mapping[str, float], n_cells: float, most_repeats: float = 4.0) -> dict[str, float]:
    """Return the largest weight of each source in a corpus: its cells, each seen so often at most.

    Parameters
    ----------
    cells
        Cells that each source has.
    n_cells
        Cells of the corpus.
    most_repeats
        How often a cell may be in it: up to four, repeats of text were about as good as new text (Muennighoff et al.
        2023, https://arxiv.org/abs/2305.16264).

    Raises
    ------
    InputError
        When a number is not above 0, or all sources together are too small.

    Examples
    --------
    >>> caps_of({"blood": 1000, "lung": 100}, n_cells=1000, most_repeats=2)
    {'blood': 1.0, 'lung': 0.2}
    """
    for name, number in {**cells, "the corpus": n_cells, "most_repeats": most_repeats}.items():
        if not 0 < number < np.inf:
            raise InputError(f"caps: expected a number above 0 for {shortened(str(name))}; got {number!r}")
    caps = {name: min(1.0, number * most_repeats / n_cells) for name, number in cells.items()}
    checked_caps(caps, tuple(cells), "allow more repeats, or make the corpus smaller")
    return caps


def checked_caps(
    caps: Mapping[str, float] | ArrayLike | None, sources: Sequence[str], to_do: str = "raise some of them"
) -> Array:
    """Return the largest weight of each source, shape (K,); None: 1 for all.

    Parameters
    ----------
    caps
        Shares by source, or one for each of them.
    sources
        Their names.
    to_do
        What to do where no mixture is within the caps.

    Raises
    ------
    InputError
        When a cap is no share, is of no source, or no mixture is within them.
    """
    if caps is None:
        return np.ones(len(sources))
    if isinstance(caps, Mapping):
        unknown = [name for name in caps if name not in sources]
        if unknown:
            raise InputError(f"caps: there is no source {shortened(repr(unknown[0]))}; there are "
                             f"{shortened(', '.join(sources))}")  # fmt: skip
        caps = [caps.get(name, 1.0) for name in sources]
    try:
        caps_K = np.asarray(caps, float)
    except (TypeError, ValueError):
        raise InputError(f"caps: expected shares from 0 to 1; got {shortened(repr(caps))}") from None
    if caps_K.shape != (len(sources),):
        raise InputError(f"caps: expected one for each of {len(sources)} sources; got the shape {caps_K.shape}")
    if not (share_K := (caps_K >= 0) & (caps_K <= 1 + 1e-9)).all():
        at = int(np.flatnonzero(~share_K)[0])
        raise InputError(
            f"caps: expected a share from 0 to 1 (0.2 for 20 %) for {shortened(sources[at])}; got {caps_K[at]:g}"
        )
    caps_K = np.minimum(caps_K, 1.0)
    if caps_K.sum() < 1 - 1e-9:
        raise InputError(
            f"caps: the largest weights of all sources sum to {caps_K.sum():.3g}, so that no mixture is within them; "
            f"expected 1 or more: {to_do}"
        )
    return np.asarray(caps_K)


def within(weights_NK: Array, caps_K: Array) -> Array:
    """Return mixtures within the caps: what is above goes to the other sources, in proportion to their weights.

    Examples
    --------
    >>> within(np.array([[0.8, 0.1, 0.1]]), np.array([0.5, 1.0, 0.2])).round(3).tolist()
    [[0.5, 0.3, 0.2]]
    """
    found_NK = np.asarray(weights_NK, float)
    found_NK = found_NK / found_NK.sum(axis=1, keepdims=True)
    # Each round fills a source of every mixture that is not done.
    for _ in range(len(caps_K)):
        over_N = np.maximum(found_NK - caps_K, 0).sum(axis=1)
        if (over_N <= 1e-12).all():
            break
        found_NK = np.minimum(found_NK, caps_K)
        free_NK = (found_NK < caps_K - 1e-12) * 1.0
        share_NK = found_NK * free_NK
        # Sources without any weight take what is left by the room that they have.
        none_N = share_NK.sum(axis=1) <= 1e-12
        share_NK[none_N] = (caps_K - found_NK)[none_N]
        found_NK += over_N[:, None] * share_NK / np.maximum(share_NK.sum(axis=1, keepdims=True), 1e-300)
    return np.asarray(np.minimum(found_NK, caps_K) / np.minimum(found_NK, caps_K).sum(axis=1, keepdims=True))


def dirichlet(rng: np.random.Generator, n: int, caps_K: Array, centre_K: Array | None = None) -> Array:
    """Draw mixtures within the caps, shape (n, K): Dirichlet draws of several strengths around a centre.

    Parameters
    ----------
    rng
        The only source of randomness.
    n
        How many.
    caps_K
        The largest weights.
    centre_K
        The mean of the draws before the caps; None: all sources alike.
    """
    n_sources = len(caps_K)
    centre_K = np.full(n_sources, 1 / n_sources) if centre_K is None else centre_K
    strengths_N = np.resize(STRENGTHS, n) * n_sources
    # Gamma draws over their sum are Dirichlet; the floor is where a draw of tiny strength is all zeros.
    drawn_NK = rng.gamma(np.maximum(strengths_N[:, None] * centre_K, 1e-3)) + 1e-300
    drawn_NK /= drawn_NK.sum(axis=1, keepdims=True)
    return within(np.where(drawn_NK < 1e-4, 0.0, drawn_NK), caps_K)
