"""A small study that is done in several places, and what its runs must have in common."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from corpuscle.store import CLAIM, PARTIAL
from repository import environment

STUDY = """
name = "shared"
seeds = {seeds}
sources.blood = {{ path = "{path}" }}
holdout.blood = {{ by = "cell", share = 0.2 }}
quality = {{ min_counts = 1, min_genes = 1 }}
corpora = [
  {{ name = "A", parts = [{{ source = "blood", n_cells = 60 }}] }},
  {{ name = "B", parts = [{{ source = "blood", n_cells = 40 }}] }},
]
models = [{models}]
tasks = [{{ name = "reconstruction", on = ["blood"] }}]
"""
TOY = '{ name = "toy:MeanProfile" }'
TRAINED = '{ name = "scvi", n_hidden = 8, n_latent = 2, budget = { steps = 20 } }'
# Long enough to be killed on the way, with a checkpoint every moment; it takes at least so many seconds.
LONG = (
    '{{ name = "frequent:Frequent", n_hidden = 8, n_latent = 2, budget = {{ steps = 2500 }}, marks = "marks", '
    "seconds = {0:.1f} }}"
)
TABLES = ("scores", "measures", "fits", "maps", "curves")
# What a table says of how it was made, and not of what.
OF_MAKING = ["seconds", "cpu_seconds", "peak_gb", "fit_seconds"]


def write_cells(path: Path) -> Path:
    """Write 150 cells of 30 genes, no two alike."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(1.0, 2.0, 30), (150, 30)).astype(np.float32)
    counts[:, 0] += 1 + np.arange(150)
    obs = pd.DataFrame({"cell_type": ["B", "T"] * 75}, index=[f"cell{at}" for at in range(150)])
    anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"G{at}" for at in range(30)])).write_h5ad(path)
    return path


def study(cells: Path, *models: str, seeds: int = 1) -> str:
    """The text of the study."""
    return STUDY.format(path=cells, models=", ".join(models), seeds=seeds)


def command(cells: Path, folder: Path, *models: str, seeds: int = 1) -> list[str]:
    """The command that does it in a folder."""
    (folder / "study.toml").write_text(study(cells, *models, seeds=seeds))
    return [sys.executable, "-m", "corpuscle.cli", "run", "study.toml", "-o", "out"]


def started(words: list[str], folder: Path) -> "subprocess.Popen[str]":
    """Start a command in a folder."""
    return subprocess.Popen(words, env=environment(), cwd=folder, stderr=subprocess.PIPE, text=True)


def done_alone(cells: Path, folder: Path, *models: str) -> Path:
    """Do the study by one process of this machine; return where its tables are."""
    words = [*command(cells, folder, *models), "--workers", "1"]
    subprocess.run(words, env=environment(), cwd=folder, check=True, capture_output=True)
    return folder / "out"


def assert_same(one: Path, other: Path) -> None:
    """Compare two runs bit for bit."""
    for name in TABLES:
        found = (pd.read_parquet(folder / f"{name}.parquet") for folder in (one, other))
        first, second = (table.drop(columns=OF_MAKING, errors="ignore") for table in found)
        pd.testing.assert_frame_equal(first, second, check_exact=True, obj=name)


def failures_of(folder: Path) -> dict[str, str]:
    """What went wrong, by corpus."""
    listed = json.loads((folder / "provenance.json").read_text())["failures"]
    return {one["corpus"]: one["message"] for one in listed}


def left(root: Path) -> list[Path]:
    """What should be gone when nobody is at work."""
    return [path for path in root.rglob(".*") if path.name.startswith((CLAIM, PARTIAL))]


def first_shares(folder: Path) -> dict[int, list[float]]:
    """The first shares that each process reported of each training that it began or went on with, by process."""
    found: dict[int, list[float]] = {}
    marks = folder / "marks"
    for line in marks.read_text().splitlines() if marks.exists() else []:
        _, pid, share = line.split()
        found.setdefault(int(pid), []).append(float(share))
    return found


def has_checkpoint(folder: Path) -> Callable[[], bool]:
    """Whether a training came so far that there is a checkpoint of it."""

    def came_far() -> bool:
        begun = any(share > 0 for shares in first_shares(folder).values() for share in shares)
        return begun and any((folder / "out" / "store" / "unfinished").glob("*/*"))

    return came_far


def was_taken_up(folder: Path) -> bool:
    """Whether a training began where another had come to: the first share of its process is not 0."""
    return max(shares[0] for shares in first_shares(folder).values()) > 0


def is_running(pid: int) -> bool:
    """Whether a process is there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
