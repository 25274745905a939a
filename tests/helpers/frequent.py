"""A model whose training keeps a checkpoint every moment, for tests that kill it."""

import os
import time
from pathlib import Path
from typing import Any

from corpuscle.core.components import component, find
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.model import Model, Progress, silent
from corpuscle.model.training import checkpoints

Scvi: Any = find(Model, "scvi")
# In the processes that import this module, which train nothing else.
checkpoints.checkpoints_in.__wrapped__.__defaults__ = (0.2,)  # type: ignore[attr-defined]


@component
class Frequent(Scvi):
    """`marks` is a file: each fit notes there the first shares that it reports; one that goes on begins later.

    A training takes at least so many `seconds`.
    """

    marks: str = ""
    seconds: float = 0.0

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> Any:
        n_noted, slept = 0, -1.0

        def noted(share: float) -> None:
            nonlocal n_noted, slept
            # One that goes on slept before.
            time.sleep(self.seconds * max(0.0, share - slept) if slept >= 0 else 0)
            slept = share
            if self.marks and n_noted < 3:
                n_noted += 1
                with Path(self.marks).open("a") as file:
                    file.write(f"{corpus.name} {os.getpid()} {share}\n")
            progress(share)

        return super().fit(corpus, seed, noted)
