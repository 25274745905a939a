"""Tracking: a run's progress and scores, sent to MLflow or Weights & Biases by their own clients, where asked for."""

import importlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pandas as pd

from corpuscle.core.errors import InputError, Problem
from corpuscle.core.fingerprint import fingerprint
from corpuscle.execution.listener import Listener
from corpuscle.execution.results import Results
from corpuscle.execution.tally import Tally
from corpuscle.study.plan import Run
from corpuscle.study.spec import Study


class Tracker(ABC):
    """A service that keeps the parameters and numbers of runs; see `tracker`."""

    package: str

    def __init__(self) -> None:
        self.client = _client(self.package)

    @abstractmethod
    def begin(self, study: str, settings: Mapping[str, Any]) -> None:
        """Begin a run of the service, named after the study."""

    @abstractmethod
    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Send numbers as they are at a step."""

    @abstractmethod
    def end(self, *, failed: bool) -> None:
        """End the run of the service."""


class MLflow(Tracker):
    """MLflow, at the address that its own settings (``MLFLOW_TRACKING_URI``) name."""

    package = "mlflow"

    def begin(self, study: str, settings: Mapping[str, Any]) -> None:
        """Begin a run."""
        self.client.start_run(run_name=study)
        self.client.log_params(dict(settings))

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Send numbers."""
        self.client.log_metrics(dict(numbers), step=step)

    def end(self, *, failed: bool) -> None:
        """End the run."""
        self.client.end_run("FAILED" if failed else "FINISHED")


class WandB(Tracker):
    """Weights & Biases, with the account and project of its own settings (``WANDB_PROJECT``)."""

    package = "wandb"

    def begin(self, study: str, settings: Mapping[str, Any]) -> None:
        """Begin a run."""
        self.client.init(name=study, config=dict(settings))

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Send numbers."""
        self.client.log(dict(numbers), step=step)

    def end(self, *, failed: bool) -> None:
        """End the run."""
        self.client.finish(exit_code=int(failed))


TRACKERS: dict[str, type[Tracker]] = {"mlflow": MLflow, "wandb": WandB}


def tracker(name: str) -> Tracker:
    """Return the service of a name.

    Raises
    ------
    InputError
        When there is none of that name, or its client is not installed.
    """
    if name not in TRACKERS:
        raise InputError(f"--track: there is no {name!r}; Legal here: {', '.join(TRACKERS)}")
    return TRACKERS[name]()


def _client(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(f"--track {package}: its client is not installed ({error}); pip install {package}") from error


def means(scores: pd.DataFrame) -> dict[str, float]:
    """Return the mean over seeds of each headline over all cells, under ``model/corpus/task/target/metric``.

    Names hold what services allow in them: letters, digits, blanks and ``_-./``.

    Examples
    --------
    >>> from corpuscle.core.scores import Metric, score_table
    >>> rows = [Metric("f1", "F1", "").score("all", 0.5, 9)._replace(headline=True)]
    >>> means(score_table(rows, corpus="Blood+Lung", model="ldvae", seed=0, task="annotation", target="blood"))
    {'ldvae/Blood_Lung/annotation/blood/f1': 0.5}
    """
    shown = scores[(scores["unit"] == "all") & scores["headline"] & scores["value"].notna()]
    keys = ["model", "corpus", "task", "target", "metric"]
    found = shown.groupby(keys, sort=False, observed=True)["value"].mean()
    names = _names({str(part) for place in found.index for part in place})
    return {"/".join(names[str(part)] for part in place): float(value) for place, value in found.items()}


def _names(texts: Collection[str]) -> dict[str, str]:
    """Return the texts as the services take them, with a suffix where two would be one.

    Examples
    --------
    >>> _names(["A+B", "A_B", "C"])
    {'A+B': 'A_B-6eeff3', 'A_B': 'A_B-982863', 'C': 'C'}
    """
    legal = {text: _legal(text) for text in texts}
    times = Counter(legal.values())
    return {text: name if times[name] == 1 else f"{name}-{fingerprint(text)[:6]}" for text, name in legal.items()}


def _legal(text: str) -> str:
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in " _-.") else "_" for letter in text)


@contextmanager
def sending(service: str, study: Study, listener: Listener) -> Iterator[Listener]:
    """Give a listener that also sends a run's progress and scores to a service; with an empty name, the same listener.

    Raises
    ------
    InputError
        When there is no such service, or its client is not installed.
    """
    if not service:
        yield listener
        return
    sent = tracker(service)
    corpora, models = [one.name for one in study.recipes], [one.label for one in study.models]
    settings = {"corpora": len(corpora), "models": ", ".join(models), "seeds": len(study.seeds)}
    sent.begin(study.name, settings)
    try:
        yield _Sending(sent, listener)
    except BaseException:
        sent.end(failed=True)
        raise
    sent.end(failed=False)


class _Sending(Listener):
    """Passes on all that it hears, and sends it, each per cent of progress once."""

    def __init__(self, sent: Tracker, other: Listener) -> None:
        self.sent, self.other = sent, other
        self.tally = Tally({})
        self.per_cent = -1

    def notice(self, what: str, share: float) -> None:
        """Pass it on."""
        self.other.notice(what, share)

    def warned(self, warnings: Sequence[Problem]) -> None:
        """Pass them on."""
        self.other.warned(warnings)

    def planned(self, n_steps: Mapping[Run, int], reused: int) -> None:
        """Note what is to do."""
        self.tally = Tally(n_steps)
        self.other.planned(n_steps, reused)

    def update(self, run: Run, share: float) -> None:
        """Send how far the whole is."""
        self.other.update(run, share)
        self.tally.update(run, share)
        per_cent = int(100 * self.tally.share)
        if per_cent > self.per_cent:
            self.per_cent = per_cent
            self.sent.log({"progress": per_cent / 100}, per_cent)

    def failed(self, what: str, why: str) -> None:
        """Pass it on."""
        self.other.failed(what, why)

    def left(self, seconds: float) -> None:
        """Pass it on."""
        self.other.left(seconds)

    def said(self, text: str) -> None:
        """Pass it on."""
        self.other.said(text)

    def finished(self, results: Results) -> None:
        """Send the scores."""
        self.other.finished(results)
        found = means(results.scores)
        self.sent.log({**found, "failed runs": float(len(results.failures))}, 100)
