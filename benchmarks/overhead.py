"""What the engine and the store add to the work itself, and what a run of thousands takes.

    python benchmarks/overhead.py                      # all three
    python benchmarks/overhead.py demo --seeds 3       # the demo: what is not training, embedding or a task's answer
    python benchmarks/overhead.py trivial              # 3,000 artifacts that take no time, two workers
    python benchmarks/overhead.py many --runs 3000     # 3,000 runs of a model that is fitted at once

The demo may take 5 % longer than its trainings and tasks alone, an artifact that takes no time 50 ms, and the parent of
3,000 runs 1 GB with a page of 20 MB, which is asserted. Of many corpora only one measure is found: what measures
take is `growth.py describe`. The cells are 400 generated ones.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from anndata import AnnData

from corpuscle.core.components import component
from corpuscle.corpus.corpus import Corpus
from corpuscle.execution import artifacts, engine, measuring, workflow
from corpuscle.execution.artifact import Artifact
from corpuscle.execution.opened import Opened
from corpuscle.model.model import FittedModel, Model, Progress, silent
from corpuscle.study.spec import Study

MOST_SHARE, MOST_MS, MOST_GB, MOST_MB = 0.05, 50.0, 1.0, 20.0


@dataclass(frozen=True, eq=False)
class Trivial(Artifact):
    """Something that is made at once."""

    kind: ClassVar[str] = "trivial"

    def make(self, folder: Path, opened: Opened, progress: Progress) -> None:
        (folder / "note.txt").write_text(self.key)


class FittedMean(FittedModel):
    """Expects the corpus' mean of every cell."""

    def __init__(self, genes: tuple[str, ...], profile: Any) -> None:
        self.genes, self.profile = genes, profile
        self.history = pd.DataFrame({"step": [1], "epoch": [1.0], "quantity": ["elbo_train"], "value": [1.0]})

    def embed(self, cells: Corpus) -> Any:
        return np.zeros((len(cells), 1), np.float32)

    def expected_fractions(self, cells: Corpus, samples: Any = None) -> Iterator[Any]:
        for rows, counts in cells.blocks():
            yield rows, np.tile(self.profile, (counts.shape[0], 1)).astype(np.float32)

    def save(self, folder: Path) -> None:
        self.history.to_parquet(folder / "history.parquet")
        (folder / "profile.json").write_text(json.dumps([list(self.genes), self.profile.tolist()]))


@component
class Mean(Model):
    """A model that is fitted at once."""

    version: ClassVar[int] = 1

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> FittedMean:
        total = np.asarray(corpus.counts().sum(axis=0, dtype=np.float64)).ravel()
        return FittedMean(corpus.space.ids, total / total.sum())

    def load_fitted(self, folder: Path) -> FittedMean:
        genes, profile = json.loads((folder / "profile.json").read_text())
        return FittedMean(tuple(genes), np.array(profile))

    def n_steps(self, n_cells: int) -> int:
        return 1

    def seconds_per_step(self, n_genes: int) -> float:
        return 1e-3


class Clock:
    """Adds up what functions take; of one within another, once."""

    def __init__(self) -> None:
        self.seconds, self._depth = 0.0, 0

    @contextmanager
    def running(self) -> Iterator[None]:
        began, self._depth = time.perf_counter(), self._depth + 1
        try:
            yield
        finally:
            self._depth -= 1
            self.seconds += 0.0 if self._depth else time.perf_counter() - began

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            with self.running():
                found = function(*given, **named)
                # What a task answers is worked out as it is asked for.
                return [*found] if isinstance(found, Iterator) else found

        return call


def demo(seeds: int) -> None:
    """The demo in one process, and what of it is training, embedding and answers."""
    text = (files("corpuscle.study") / "demo.toml").read_text(encoding="utf-8")
    lines = [f"seeds = {seeds}" if line.startswith("seeds") else line for line in text.splitlines()]
    study, bare, whole = Study.parse("\n".join(lines)), Clock(), Clock()
    for cls in {type(model.model) for model in study.models}:
        cls.fit = bare.timed(cls.fit)  # type: ignore[method-assign]
    artifacts.answers = bare.timed(artifacts.answers)
    artifacts.umap_table = bare.timed(artifacts.umap_table)
    execute = engine.execute
    # Measuring goes through the engine, too, and is not what the demo is for.
    workflow.engine = type("Engine", (), {"execute": staticmethod(whole.timed(execute))})  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        workflow.run(study, Path(folder) / "out", workers=0)
    added = whole.seconds / bare.seconds - 1
    print(f"demo, seeds {seeds}: {whole.seconds:.1f} s, of which {bare.seconds:.1f} s are the work: {added:.1%} added")
    assert added <= MOST_SHARE, f"engine and store add {added:.1%}"


def trivial(n: int) -> None:
    """So many artifacts that take no time."""
    with tempfile.TemporaryDirectory() as folder:
        opened = Opened(Path(folder))
        wanted = [Trivial(f"{at:016x}", f"trivial {at}") for at in range(n)]
        # The workers' libraries are loaded once.
        engine.execute(wanted[:2], opened.corpora, 2, lambda _: None)
        began = time.perf_counter()
        failed = engine.execute(wanted, opened.corpora, 2, lambda _: None)
        each = 1000 * (time.perf_counter() - began) / n
    assert not failed
    print(f"{n:,} trivial artifacts, two workers: {each:.1f} ms each")
    assert each <= MOST_MS, f"an artifact takes {each:.0f} ms"


def many(n_runs: int) -> None:
    """So many runs of a model that is fitted at once: memory of this process, and the page."""
    n_corpora, measures = max(1, n_runs // 100), measuring.built_ins()
    measuring.built_ins = lambda: [one for one in measures if one.name == "depth"]
    corpora = "".join(
        f'[[corpora]]\nname = "C{at}"\nparts = [{{ source = "blood", n_cells = {100 + at} }}]\n'
        for at in range(n_corpora)
    )
    text = (
        f'name = "many"\nseeds = {n_runs // n_corpora}\n[quality]\nmin_genes = 1\n'
        '[sources]\nblood = { path = "PATH" }\n'
        f'[holdout]\nblood = {{ by = "cell", share = 0.2 }}\n{corpora}[[models]]\nname = "overhead:Mean"\n'
        '[[tasks]]\nname = "reconstruction"\non = ["blood"]\n'
    )
    with tempfile.TemporaryDirectory() as folder:
        counts = np.random.default_rng(0).poisson(np.linspace(0.5, 5, 100), (400, 100)).astype(np.int32)
        names = pd.DataFrame(index=[f"GENE{letter}{at}" for letter in "ABCD" for at in range(25)])
        cells = pd.DataFrame(index=[f"cell{at}" for at in range(400)])
        AnnData(counts, cells, names).write_h5ad(Path(folder) / "small.h5ad")
        text = text.replace("PATH", f"{folder}/small.h5ad")
        began = time.perf_counter()
        results = workflow.run(Study.parse(text), Path(folder) / "out", workers=2)
        seconds, page = time.perf_counter() - began, results.report.stat().st_size / 1e6
    assert not results.failures
    gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{n_runs:,} runs of {n_corpora} corpora: {seconds:.0f} s, parent {gb:.2f} GB, page {page:.1f} MB")
    assert gb <= MOST_GB, f"the parent took {gb:.2f} GB"
    assert page <= MOST_MB, f"the page is {page:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["demo", "trivial", "many"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3000)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    if options.what in (None, "trivial"):
        trivial(3000)
    if options.what in (None, "many"):
        many(options.runs)
    if options.what in (None, "demo"):
        demo(options.seeds)


if __name__ == "__main__":
    # By a name of its own, by which workers find what is defined here.
    import overhead

    overhead.main()
