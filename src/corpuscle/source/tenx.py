"""What 10x Genomics' formats have in common: which features are genes."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.errors import SourceError


def is_gene(features: pd.DataFrame) -> NDArray[np.bool_]:
    """Say which features are genes: all, where the table has no ``feature_type``; antibodies and guides are not.

    Raises
    ------
    SourceError
        When none is.

    Examples
    --------
    >>> is_gene(pd.DataFrame({"feature_type": ["Gene Expression", "Antibody Capture"]}))
    array([ True, False])
    """
    if "feature_type" not in features:
        return np.ones(len(features), bool)
    found: NDArray[np.bool_] = (features["feature_type"] == "Gene Expression").to_numpy(bool)
    if len(features) and not found.any():
        kinds = ", ".join(sorted(set(features["feature_type"])))
        raise SourceError(f"no feature is of the type Gene Expression, so there are no genes; the types are {kinds}")
    return found
