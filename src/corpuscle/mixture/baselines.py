"""Baselines: mixtures that need no runs, and that any advice has to be better than."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from corpuscle.core.errors import InputError
from corpuscle.core.text import shortened
from corpuscle.mixture.simplex import checked_caps, within

TEMPERATURE = 3.0


def baselines(
    cells: Mapping[str, float], *, caps: Mapping[str, float] | None = None, temperature: float = TEMPERATURE
) -> pd.DataFrame:
    """Return the mixtures that are usual without any run, one a row.

    - ``natural``: w_i in proportion to the cells n_i;
    - ``uniform``: all sources alike;
    - ``temperature``: in proportion to n_i^(1/τ), between the two;
    - ``unimax``: all alike, but no cell more often than the caps allow; what is left goes to the others (Chung et al.
      2023, https://arxiv.org/abs/2304.09151). Without caps it is uniform.

    All are within the caps.

    Parameters
    ----------
    cells
        Cells of each source.
    caps
        The largest weight of a source; see `caps_of`.
    temperature
        τ, at least 1.

    Raises
    ------
    InputError
        When a source has no cells, the temperature is below 1, or no mixture is within the caps.

    Examples
    --------
    >>> baselines({"blood": 8000, "lung": 1000}).round(2)
                 blood  lung
    natural       0.89  0.11
    uniform       0.50  0.50
    temperature   0.67  0.33
    unimax        0.50  0.50
    """
    for name, number in cells.items():
        if not 0 < number < np.inf:
            raise InputError(f"cells: expected a number above 0 for {shortened(str(name))}; got {number!r}")
    if not 1 <= temperature < np.inf:
        raise InputError(f"temperature: expected a number from 1 on; got {temperature!r}")
    caps_K = checked_caps(caps, tuple(cells))
    cells_K = np.array(list(cells.values()), float)
    # Filled from the smallest cap, as UniMax does: what one cannot take, the others share alike.
    unimax_K, left = np.zeros(len(cells_K)), 1.0
    for rank, at in enumerate(np.argsort(caps_K)):
        unimax_K[at] = min(caps_K[at], left / (len(cells_K) - rank))
        left -= unimax_K[at]
    rows = {"natural": cells_K, "uniform": np.ones(len(cells_K)), "temperature": cells_K ** (1 / temperature)}
    shares_NK = np.stack([row / row.sum() for row in rows.values()])
    found = np.vstack([within(shares_NK, caps_K), unimax_K / unimax_K.sum()])
    return pd.DataFrame(found, index=[*rows, "unimax"], columns=list(cells))
