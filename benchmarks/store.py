"""What the store adds: to one small result, to a large one when it is opened, and to a study of 60 artifacts.

::

    OMP_NUM_THREADS=1 python benchmarks/store.py
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

import corpuscle
from corpuscle.store import Store

STUDY = """
name = "store"
seeds = 5
sources.blood = {{ path = "{path}" }}
holdout.blood = {{ by = "cell", share = 0.2 }}
quality = {{ min_counts = 1, min_genes = 1 }}
corpora = [
  {{ name = "A", parts = [{{ source = "blood", n_cells = 60 }}] }},
  {{ name = "B", parts = [{{ source = "blood", n_cells = 40 }}] }},
]
models = [{{ name = "pca" }}, {{ name = "pca", label = "pca4", n_components = 4 }}]
tasks = [{{ name = "reconstruction", on = ["blood"] }}, {{ name = "latents", on = ["blood"] }}]
"""


def small(root: Path, n: int) -> tuple[float, float]:
    """Milliseconds to keep a small result, and to find it again, each."""
    store, begun = Store(root), time.perf_counter()
    for at in range(n):
        store.kept("scores", f"{at:016x}", lambda folder: folder.joinpath("scores.txt").write_text("1 2 3"))
    kept, begun = time.perf_counter() - begun, time.perf_counter()
    for at in range(n):
        store.find("scores", f"{at:016x}")
    return 1000 * kept / n, 1000 * (time.perf_counter() - begun) / n


def large(root: Path, megabytes: int) -> float:
    """Seconds to compare a large result with its checksums when a process opens it first."""
    store, noise = Store(root), np.random.default_rng(0).bytes(megabytes * 1_000_000)
    with store.create("models", "large") as folder:
        (folder / "weights").write_bytes(noise)
    begun = time.perf_counter()
    assert store.has("models", "large")
    return time.perf_counter() - begun


def study(folder: Path) -> tuple[float, float]:
    """Seconds of a study of 60 artifacts (20 models, 40 tables of scores) in this process; and when all is there."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(1.0, 2.0, 60), (300, 60)).astype(np.float32)
    counts[:, 0] += 1 + np.arange(300)
    obs = pd.DataFrame({"cell_type": ["B", "T"] * 150}, index=[f"cell{at}" for at in range(300)])
    path = folder / "blood.h5ad"
    anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"G{at}" for at in range(60)])).write_h5ad(path)
    seconds = []
    for _ in range(2):
        begun = time.perf_counter()
        corpuscle.run(corpuscle.Study.parse(STUDY.format(path=path)), folder / "out", workers=0)
        seconds.append(time.perf_counter() - begun)
    return seconds[0], seconds[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where; the kind of disk matters")
    given = parser.parse_args()
    found = []
    for _ in range(given.repeats):
        with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
            place = Path(scratch)
            found.append((*small(place / "small", 500), large(place / "large", 200), *study(place)))
    names = ("ms to keep a small result", "ms to find it", "s to open 200 MB", "s for 60 artifacts", "s when all there")
    for name, values in zip(names, zip(*found, strict=True), strict=True):
        print(f"{name:28} median {statistics.median(values):8.3f}   ({', '.join(f'{one:.3f}' for one in values)})")
