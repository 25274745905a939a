"""A user's own components, as a study names them with ``"toy:MeanProfile"``: quick, and made to fail on demand."""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from corpuscle.core.components import component
from corpuscle.core.errors import ModelError
from corpuscle.core.scores import Metric, Score
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.sampler import Sampler
from corpuscle.evaluation.task import Task
from corpuscle.model.model import FittedModel, Model, Progress, silent


class FittedMeanProfile(FittedModel):
    """Expects the training corpus' mean of every cell."""

    def __init__(self, genes: tuple[str, ...], profile: np.ndarray[Any, Any]) -> None:
        self.genes, self.profile = genes, profile
        self.history = pd.DataFrame({"step": [1], "epoch": [1.0], "quantity": ["elbo_train"], "value": [1.0]})

    def embed(self, cells: Corpus) -> Any:
        return np.zeros((len(cells), 1), np.float32)

    def expected_fractions(self, cells: Corpus, samples: np.random.Generator | None = None) -> Any:
        for rows, counts in cells.blocks():
            yield rows, np.tile(self.profile, (counts.shape[0], 1)).astype(np.float32)

    def save(self, folder: Path) -> None:
        self.history.to_parquet(folder / "history.parquet")
        (folder / "profile.json").write_text(json.dumps([list(self.genes), self.profile.tolist()]))


@component
class MeanProfile(Model):
    """A model that is fitted at once. `trouble` names a corpus on which it fails, hangs or kills its process."""

    trouble: str = ""
    kind_of_trouble: str = "error"
    marks: str = ""

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> FittedMeanProfile:
        if self.marks:
            with Path(self.marks).open("a") as file:
                file.write(f"{corpus.name} {seed}\n")
        if corpus.name == self.trouble:
            self._trouble(progress)
        total = np.asarray(corpus.counts().sum(axis=0, dtype=np.float64)).ravel()
        fitted = FittedMeanProfile(corpus.space.ids, total / total.sum())
        if corpus.name == self.trouble and self.kind_of_trouble == "history":
            fitted.history = pd.DataFrame({"epoch": ["one"]})
        return fitted

    def _trouble(self, progress: Progress) -> None:
        match self.kind_of_trouble:
            case "error":
                raise ModelError("it was told to fail")
            case "bug":
                raise ZeroDivisionError("a bug")
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                sys.exit(3)
            case "os_exit":
                os._exit(3)
            case "worker":
                parent = multiprocessing.parent_process()
                os.kill(parent.pid if parent else os.getpid(), signal.SIGKILL)
                time.sleep(600)
            case "interrupt":
                raise KeyboardInterrupt
            case "recursion":
                self._trouble(progress)
            case "full":
                import resource

                resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
            case "hang":
                progress(0.5)
                time.sleep(600)

    def load_fitted(self, folder: Path) -> FittedMeanProfile:
        genes, profile = json.loads((folder / "profile.json").read_text())
        return FittedMeanProfile(tuple(genes), np.array(profile))

    def n_steps(self, n_cells: int) -> int:
        return n_cells

    def seconds_per_step(self, n_genes: int) -> float:
        return 1e-6


@component
class Broken(Sampler):
    """A sampler that ends the process, or raises an error that is no message for people."""

    how: str = "exit"

    def choose(self, pool: Corpus, n_cells: int, rng: np.random.Generator, context: Context) -> Any:
        if self.how == "exit":
            sys.exit(3)
        return 1 / int(pool.n_cells < 0)


@component
class Impatient(MeanProfile):
    """A model that ends the process when it is asked how long its steps take."""

    def seconds_per_step(self, n_genes: int) -> float:
        sys.exit("no time")


@component
class FailsOnA(Task):
    """A task that has a bug where the corpus is called A; otherwise it says in which process it is."""

    metrics = (Metric("answer", "Answer", "The process."),)

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        if train.name == "A":
            raise ZeroDivisionError("a bug")
        yield self.metrics[0].score("all", float(os.getpid()), len(target))


@component
class OnGpu(MeanProfile):
    """A model that is fitted, and embeds, on a GPU where there is one; it notes when it was there, and on which."""

    @property
    def uses_gpu(self) -> bool:
        return True

    @property
    def embeds_on_gpu(self) -> bool:
        return True

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> FittedMeanProfile:
        with self.noting("fit"):
            return self._noting(MeanProfile().fit(corpus, seed, progress))

    def load_fitted(self, folder: Path) -> FittedMeanProfile:
        return self._noting(super().load_fitted(folder))

    def _noting(self, fitted: FittedMeanProfile) -> FittedMeanProfile:
        return FittedOnGpu(fitted.genes, fitted.profile, self)

    @contextlib.contextmanager
    def noting(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        time.sleep(0.2)
        yield
        with Path(self.marks).open("a") as file:
            file.write(f"{started} {time.monotonic()} {os.environ.get('CORPUSCLE_DEVICE', '')} {what}\n")


class FittedOnGpu(FittedMeanProfile):
    def __init__(self, genes: tuple[str, ...], profile: Any, model: OnGpu) -> None:
        super().__init__(genes, profile)
        self.model = model

    def embed(self, cells: Corpus) -> Any:
        with self.model.noting("embed"):
            return super().embed(cells)


@component
class Slow(MeanProfile):
    """A model that takes a while, so that something can happen meanwhile."""

    seconds: float = 0.3

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> FittedMeanProfile:
        for share in range(3):
            progress(share / 3)
            time.sleep(self.seconds / 3)
        return super().fit(corpus, seed, progress)
