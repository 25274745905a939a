"""Mixtures: which weights of the sources are worth training on, from tables of mixtures and their scores.

``fit(weights, scores).predict(weights)``; ``assess`` says what to train on and what ties with it, or that a table
allows no advice; ``design`` and ``next_runs`` choose which mixtures to run; ``coalitions`` and ``ledger`` are about
what each source is worth. Nothing here trains.
"""

from corpuscle.mixture.assessing import Assessment, assess
from corpuscle.mixture.baselines import baselines
from corpuscle.mixture.coalitions import coalitions
from corpuscle.mixture.designing import Design, design
from corpuscle.mixture.fitting import FittedMixture, Prediction, fit
from corpuscle.mixture.front import Front, front
from corpuscle.mixture.ledger import Ledger, ledger
from corpuscle.mixture.rounds import Contest, contest, next_runs
from corpuscle.mixture.simplex import caps_of
from corpuscle.mixture.utility import Utility

__all__ = [
    "Assessment",
    "Contest",
    "Design",
    "FittedMixture",
    "Front",
    "Ledger",
    "Prediction",
    "Utility",
    "assess",
    "baselines",
    "caps_of",
    "coalitions",
    "contest",
    "design",
    "fit",
    "front",
    "ledger",
    "next_runs",
]
