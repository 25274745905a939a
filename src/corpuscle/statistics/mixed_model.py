"""Mixed model: all corpora of a score at once, with random donors and runs. An option, through statsmodels."""

import warnings
from typing import Any

import numpy as np
import pandas as pd

from corpuscle.core.errors import InputError
from corpuscle.core.scores import completed
from corpuscle.statistics.over_donors import donor_scores
from corpuscle.statistics.over_runs import KEYS

PLACE = tuple(name for name in KEYS if name != "unit")
# What varies, besides the corpus: a random part of each value of these columns.
RANDOM = {"donor": "0 + C(donor)", "seed": "0 + C(seed)", "run": "0 + C(run)", "donor_corpus": "0 + C(donor_corpus)"}
COLUMNS = (
    *PLACE, "corpus", "difference", "low", "high", "p", *(f"sd_{name}" for name in RANDOM), "sd_rest", "n_seeds",
    "n_donors", "reason",
)  # fmt: skip


def mixed_model(scores: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Estimate every corpus' difference from the baseline by one linear mixed model per score, by REML.

    value ~ corpus + (1 | donor) + (1 | seed) + (1 | run) + (1 | donor × corpus), where a run is a seed of a corpus:
    what a fit adds by chance. All corpora share the variance components, so that it has more power than
    `corpuscle.statistics.comparisons.summarise` with few runs, and is right where their scatter is alike. Intervals and
    p are Wald's, with normal quantiles: with three runs they are too short. Read it next to the summary, not instead.

    Parameters
    ----------
    scores
        Score rows, with the columns of `corpuscle.core.scores.COLUMNS`; of a score with donors.
    baseline
        Name of the corpus that the others are compared with.

    Returns
    -------
    pandas.DataFrame
        One row per score and corpus but the baseline: ``difference`` with ``low`` and ``high`` (95 %, the metric's
        unit) and ``p``, the variance components as standard deviations (``sd_donor``, ``sd_seed``, ``sd_run``,
        ``sd_donor_corpus``, ``sd_rest``), ``n_seeds``, ``n_donors``, and the ``reason`` where the fit did not converge.

    Raises
    ------
    InputError
        When statsmodels is not installed.
    """
    try:
        import statsmodels.formula.api as formulas  # an extra
    except ImportError as error:
        raise InputError("mixed model: statsmodels is not installed; pip install 'corpuscle[mixed]'") from error
    rows: list[tuple[Any, ...]] = []
    for found in donor_scores(completed(scores), PLACE):
        if baseline not in found.corpora or len(found.corpora) < 2 or found.values.shape[1] < 2:
            continue
        data = _long(found.values)
        others = [corpus for corpus in found.corpora if corpus != baseline]
        # One level for the treatment's reference, whatever the names: formulas see codes alone.
        data["level"] = data["corpus"].map({name: at for at, name in enumerate([baseline, *others])})
        data["donor_corpus"] = data["donor"].astype(str) + "/" + data["level"].astype(str)
        data["run"] = data["seed"].astype(str) + "/" + data["level"].astype(str)
        data["one"] = 1
        model = formulas.mixedlm("value ~ C(level)", data, groups="one", vc_formula=RANDOM)
        with warnings.catch_warnings():
            # A component of zero lies on the border of what can be; statsmodels warns of it at every step.
            warnings.simplefilter("ignore")
            fit = model.fit(reml=True, method=["lbfgs", "powell"])
        deviations = np.sqrt(np.maximum(np.append(_components(fit), fit.scale), 0))
        ends, reason = fit.conf_int(), "" if fit.converged else "the fit did not converge"
        for at, corpus in enumerate(others, start=1):
            name = f"C(level)[T.{at}]"
            rows.append((
                *found.key, corpus, fit.params[name], *ends.loc[name], fit.pvalues[name], *deviations,
                data["seed"].nunique(), found.values.shape[1], reason,
            ))  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _long(values: pd.DataFrame) -> pd.DataFrame:
    """Return a row per corpus, seed and donor."""
    long = values.rename_axis(columns="donor").stack().rename("value").reset_index()
    # The part of every donor, over all seeds and corpora, is found from codes: names may be any text.
    return long.assign(donor=pd.factorize(long["donor"])[0])


def _components(fit: Any) -> np.ndarray[Any, Any]:
    """Return the variances of the random parts in the order of `RANDOM`."""
    found = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True))
    return np.array([found[name] for name in RANDOM])
