"""The report of a large study: how long it takes, how large it is, and how much of a screen and of paper it fills.

    python benchmarks/report.py                  # 5,000 score rows; then 12 corpora × 5 models × 3 tasks × 3 targets
    python benchmarks/report.py --keep out       # leaves the run's folders with their pages in `out`

Scores are made up: 3 seeds × 6 donors, corpora that differ, and one task that compares genes. The page of 5,000 rows
must take at most 15 s of processor time, and that of the large study fill at most 20 MB, 3 screens of 1280 × 800 as it
opens, and 12 printed pages, which is asserted; the last two only where there is a browser.
"""

import argparse
import json
import re
import subprocess
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from corpuscle.core.scores import Metric, score_table, with_headline
from corpuscle.report.page.pdf import browsers, print_page
from corpuscle.report.page.render import render

MOST_SECONDS, MOST_MB, MOST_SCREENS, MOST_PAGES = 15.0, 20.0, 3.0, 12
SCREEN = 800
METRICS = {
    "reconstruction": (
        Metric("r2", "R²", "Squared correlation of observed and reconstructed expression.", "higher", "share"),
        Metric("elbo", "ELBO", "Evidence lower bound, nats per cell.", "higher", "real"),
    ),
    "annotation": (
        Metric("f1", "Macro-F1", "Mean F1 over cell types.", "higher", "share"),
        Metric("accuracy", "Accuracy", "Share of cells that are given their type.", "higher", "share"),
    ),
    "clustering": (
        Metric("ari", "ARI", "Adjusted Rand index of clusters and types.", "higher", "correlation"),
        Metric("nmi", "NMI", "Normalised mutual information.", "higher", "share"),
    ),
}
TYPES = [f"type {at}" for at in range(24)]
GENES = (
    Metric("seen", "Observed", "", "none", "positive", figure="observed"),
    Metric("made", "Predicted", "", "none", "positive", figure="expected"),
    Metric("off", "Relative residual", "", "zero", "real", figure="residual"),
)


def names(kind: str, count: int) -> list[str]:
    """Return names as long as people give."""
    words = ["Blood", "Lung", "Pancreas", "Cortex", "Gut", "Kidney", "Liver", "Skin", "Heart", "Bone", "Eye", "Spleen"]
    if kind == "corpus":
        return ["Blood", *(f"Blood+{words[at % 12]}{'' if at < 12 else at}" for at in range(1, count))]
    return [f"{kind} {words[at % 12].lower()}" for at in range(count)]


def scores(corpora: list[str], models: list[str], targets: list[str], n_seeds: int, n_genes: int) -> pd.DataFrame:
    """Make scores up: a level per target and model, an effect per corpus, and the scatter of seeds and donors."""
    rng = np.random.default_rng(0)
    donors = [f"donor=D{at}" for at in range(6)]
    effect = {(c, t): rng.normal(0, 0.03) * (c != corpora[0]) for c, t in product(corpora, targets)}
    level = {(m, t): rng.uniform(0.3, 0.8) for m, t in product(models, targets)}
    tables = []
    for corpus, model, seed, (task, metrics), target in product(
        corpora, models, range(n_seeds), METRICS.items(), targets
    ):
        at = level[model, target] + effect[corpus, target] + rng.normal(0, 0.01)
        rows = [
            metric.score(unit, 1000 * (at - 1.5) if metric.scale == "real" else at + rng.normal(0, 0.02), 400)
            for metric in metrics
            for unit in ("all", *donors)
        ]
        place = {"corpus": corpus, "model": model, "seed": seed, "target": target}
        tables.append(score_table(with_headline(rows), **place, task=task))
        if n_genes and task == "reconstruction" and target == targets[0]:
            seen = np.exp(np.random.default_rng(1).normal(-0.5, 1.8, n_genes))
            made = seen * np.exp(rng.normal(0, 0.3, n_genes))
            rows = [
                metric.score(f"gene=G{gene}", value, 400)
                for gene in range(n_genes)
                for metric, value in zip(GENES, (seen[gene], made[gene], 1 - made[gene] / seen[gene]), strict=True)
            ]
            tables.append(score_table(rows, **place, task="residuals"))
    return pd.concat(tables, ignore_index=True)


def write_run(folder: Path, *, n_corpora: int, n_models: int, n_targets: int, n_genes: int, n_seeds: int = 3) -> int:
    """Write a run's folder; return how many rows of scores it has."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    corpora, models, targets = names("corpus", n_corpora), names("model", n_models), names("target", n_targets)
    table = scores(corpora, models, targets, n_seeds, n_genes)
    table.to_parquet(folder / "scores.parquet")
    runs = pd.DataFrame(list(product(corpora, models, range(n_seeds))), columns=["corpus", "model", "seed"])
    fits = runs.assign(r2_log=0.5, share_error=0.1, seconds=10 * (1 + runs["model"].map(models.index)) + rng.random())
    fits.to_parquet(folder / "fits.parquet")
    steps = runs.merge(pd.DataFrame({"step": np.arange(0, 2001, 50)}), how="cross")
    curve = 800 + 900 * np.exp(-steps["step"] / 300) + rng.normal(0, 2, len(steps))
    about = {"epoch": steps["step"] / 40, "title": "Negative ELBO", "meaning": "Nats per cell; lower is better."}
    pd.concat(
        [steps.assign(quantity=f"elbo_{part}", value=curve, **about) for part in ("train", "validation")]
    ).to_parquet(folder / "curves.parquet")
    composition = [
        (corpus, seed, column, value, int(n))
        for corpus, seed, (column, values) in product(
            corpora, range(n_seeds), {"cell_type": TYPES, "tissue": ["a", "b"], "donor": list("abcdef")}.items()
        )
        for value, n in zip(values, rng.multinomial(5000, rng.dirichlet(np.ones(len(values)))), strict=True)
    ]
    columns = ["corpus", "seed", "column", "value", "n_cells"]
    pd.DataFrame(composition, columns=columns).to_parquet(folder / "composition.parquet")
    measures(corpora, targets, n_seeds).to_parquet(folder / "measures.parquet")
    study = [
        'name = "What should a model of blood be trained on?"',
        'question = "Which tissue helps which model, and is it only the size?"',
        f"seeds = {n_seeds}",
        f"baseline = {json.dumps(corpora[0])}",
    ]
    (folder / "study.toml").write_text("\n".join(study), encoding="utf-8")
    listed = [{"name": corpus, "n_cells": 5000, "recipe": f"2,500 of blood + 2,500 of {corpus}"} for corpus in corpora]
    (folder / "provenance.json").write_text(json.dumps({"corpora": listed, "corpuscle": "0.1.0"}), encoding="utf-8")
    return len(table)


def measures(corpora: list[str], targets: list[str], n_seeds: int) -> pd.DataFrame:
    """Make measures up."""
    rng = np.random.default_rng(5)
    rows = []
    for corpus, seed in product(corpora, range(n_seeds)):
        for name, of, title in (("richness", "cell_type", "Cell types"), ("vendi", "components", "Vendi score")):
            rows.append((corpus, seed, name, of, "", rng.uniform(10, 24), "none", title, ""))
        rows += [
            (corpus, seed, "coverage", "components", t, rng.random(), "higher", "Coverage", "reach") for t in targets
        ]
    columns = ["corpus", "seed", "measure", "of", "target", "value", "better", "title", "figure"]
    rest = {"size": "equal", "low": np.nan, "high": np.nan, "n_cells": 5000, "reason": "", "meaning": "What it says."}
    return pd.DataFrame(rows, columns=columns).assign(**rest, headline=True)


def screens(page: Path, browser: str) -> float:
    """Return how many screens high a page is as it opens, 1280 pixels wide."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        copy = Path(scratch) / "page.html"
        ask = "<script>document.title = 'high=' + document.documentElement.scrollHeight;</script></body>"
        copy.write_text(page.read_text(encoding="utf-8").replace("</body>", ask), encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={scratch}/profile",
                   f"--window-size=1280,{SCREEN}", "--dump-dom", copy.as_uri()]  # fmt: skip
        dom = subprocess.run(command, capture_output=True, check=True, timeout=300).stdout.decode()
    return int(re.search(r"high=(\d+)", dom)[1]) / SCREEN  # type: ignore[index]


def pages(page: Path) -> int:
    """Return on how many pages it is printed."""
    pdf = print_page(page, page.with_suffix(".pdf"))
    return len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))


def measured(folder: Path, **sizes: int) -> dict[str, float]:
    """Make a run up, write its report, and measure it."""
    rows = write_run(folder, **sizes)
    started = time.process_time()
    page = render(folder)
    found = {
        "rows": rows,
        "seconds": round(time.process_time() - started, 1),
        "MB": round(page.stat().st_size / 1e6, 2),
    }
    if browser := next(browsers(), None):
        found |= {"screens": round(screens(page, browser), 2), "pages": pages(page)}
    print(f"{sizes}: {found}", flush=True)
    return found


def main() -> None:
    """Measure the report of 5,000 rows, and that of a large study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="a new folder to leave the runs in")
    kept = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as scratch:
        place = kept or Path(scratch)
        small = measured(place / "rows", n_corpora=10, n_models=2, n_targets=2, n_genes=0)
        large = measured(place / "large", n_corpora=12, n_models=5, n_targets=3, n_genes=200)
    assert small["rows"] >= 5000, small
    assert small["seconds"] <= MOST_SECONDS, small
    assert large["MB"] <= MOST_MB, large
    assert large.get("screens", 0) <= MOST_SCREENS, large
    assert large.get("pages", 0) <= MOST_PAGES, large


if __name__ == "__main__":
    main()
