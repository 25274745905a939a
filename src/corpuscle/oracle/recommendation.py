"""Recommendation: what `recommend` found, all of it in tables and sentences."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True, repr=False)
class Recommendation:
    """Which mixture to train on, how sure that is, and what speaks against it.

    Attributes
    ----------
    study
        The study's name.
    folder
        Where everything is written.
    abstains
        Whether there is no advice.
    advice
        In a sentence or two: what to train on and what was confirmed, or why there is no advice.
    next_step
        What to do next, in a sentence.
    reasons
        Why there is no advice, and what else is not known, a sentence each.
    weights
        The recommended mixture, shares by ingredient; empty where there is none.
    tables
        The tables that are written as CSV, by name: see `corpuscle.oracle.writing.TABLES`.
    facts
        Numbers of trainings by stage, failures, the proxy, and such.
    warnings
        What is legal in the stages and affects what can be claimed.
    """

    study: str
    folder: Path
    abstains: bool
    advice: str
    next_step: str
    reasons: tuple[str, ...]
    weights: Mapping[str, float]
    tables: Mapping[str, pd.DataFrame]
    facts: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def page(self) -> Path:
        """The page."""
        return self.folder / "recommendation.html"

    def __repr__(self) -> str:
        return f"Recommendation({self.study!r}: {self.advice})"
