"""Trees: gradient boosting, a reference; it takes hundreds of runs before it is better than laws."""

import numpy as np

from corpuscle.core.components import component
from corpuscle.core.errors import InputError
from corpuscle.mixture.surrogate import Array, Predictor, Runs, Surrogate

# Leaves of at least this many runs, and what else few runs ask for; the same for all tables.
SETTINGS = {
    "n_estimators": 300, "learning_rate": 0.05, "num_leaves": 8, "min_child_samples": 3, "subsample": 0.9,
    "subsample_freq": 1, "colsample_bytree": 0.8, "reg_lambda": 0.1, "random_state": 0, "n_jobs": 1, "verbosity": -1,
    "deterministic": True, "force_row_wise": True,
}  # fmt: skip


@component
class Trees(Surrogate):
    """LightGBM, a model for each output, as RegMix uses (Liu et al. 2025, https://arxiv.org/abs/2407.01492).

    Needs the extra ``trees``.
    """

    def fit(self, runs: Runs) -> Predictor:
        """Fit all outputs; see `Surrogate.fit`."""
        try:
            from lightgbm import LGBMRegressor
        except ImportError as error:
            raise InputError("the surrogate trees needs LightGBM; install corpuscle[trees]") from error
        models = []
        for known_RO in runs.known_FRO:
            row = []
            for at, known_R in enumerate(known_RO.T):
                model = LGBMRegressor(**SETTINGS)
                model.fit(runs.weights_RK[known_R], runs.scores_RO[known_R, at])
                row.append(model)
            models.append(row)

        def predict(weights_NK: Array, n_fits: int | None = None) -> Array:
            found = [[model.predict(weights_NK) for model in row] for row in models[:n_fits]]
            return np.asarray(found, float).transpose(0, 2, 1)

        return predict
