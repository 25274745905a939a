"""A made-up run folder, as the engine leaves it, in any size and with any names."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.scores import Score, score_table, with_headline
from corpuscle.evaluation.tasks.reconstruction import R2_LINEAR, R2_LOG
from corpuscle.evaluation.tasks.residuals import OBSERVED, PREDICTED, RELATIVE
from corpuscle.report.page.render import render

MARKERS = ["LYZ", "S100A9", "S100A8", "CD14", "FCN1", "CST3", "TYROBP", "VCAN", "FTL", "CTSS"]
TYPES = [
    "CD4 T", "CD14 Mono", "CD8 T", "B", "NK", "CD16 Mono", "DC", "alpha", "beta", "ductal", "acinar", "delta",
    "fibroblast", "radial glia", "excitatory neuron", "intermediate progenitor", "inhibitory neuron",
    "endothelial", "pDC", "megakaryocyte", "plasma cell", "mast", "Schwann", "epsilon", "gamma", "macrophage",
    "astrocyte", "microglia", "oligodendrocyte", "erythroid progenitor",
]  # fmt: skip
R2 = {"blood": 0.55, "pancreas": 0.47, "cortex": 0.42, "monocytes": 0.53}


@dataclass(frozen=True)
class Fake:
    """What to make up; the defaults are a study of 6 corpora, 3 seeds and 4 targets."""

    name: str = "Does adding other tissues help a blood model?"
    corpora: tuple[str, ...] = ("Blood", "Blood+Pancreas", "Blood+Cortex", "All", "No-Monocyte", "Pancreas")
    seeds: int = 3
    n_types: int = 14
    n_genes: int = 60
    targets: tuple[str, ...] = ("blood", "pancreas", "cortex", "monocytes")
    sources: tuple[str, ...] = ("kang2018", "baron2016", "camp2015")
    model: str = "ldvae"
    failures: tuple[dict[str, Any], ...] = ()
    question: str = ""
    units: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "blood": ("donor=patient 101", "donor=patient 1015"),
            "pancreas": ("donor=human4",),
        }
    )

    @property
    def baseline(self) -> str:
        return self.corpora[0]


def write_run(folder: Path, fake: Fake) -> Path:
    """Write every file of the contract between the engine and the report."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    (folder / "study.toml").write_text(study_toml(fake), encoding="utf-8")
    scores(fake, rng).to_parquet(folder / "scores.parquet")
    curves(fake, rng).to_parquet(folder / "curves.parquet")
    fits(fake).to_parquet(folder / "fits.parquet")
    composition(fake, rng).to_parquet(folder / "composition.parquet")
    sources(fake).to_parquet(folder / "sources.parquet")
    genes(fake).to_parquet(folder / "genes.parquet")
    made_up = measures(fake, rng)
    made_up.to_parquet(folder / "measures.parquet")
    made_up.to_csv(folder / "measures.csv", index=False)
    profiles(fake).to_parquet(folder / "profiles.parquet")
    cell_types().to_parquet(folder / "cell_types.parquet")
    draws(fake).to_parquet(folder / "draws.parquet")
    labels(fake).to_parquet(folder / "labels.parquet")
    (folder / "provenance.json").write_text(json.dumps(provenance(fake)), encoding="utf-8")
    return folder


def draws(fake: Fake) -> pd.DataFrame:
    """Draws that share no cell, so that no interval is widened."""
    rows = [(corpus, "blood", 100, 100_000, 0.001, 0.0) for corpus in fake.corpora]
    return pd.DataFrame(rows, columns=["corpus", "source", "n_cells", "pool", "share", "overlap"])


def labels(fake: Fake) -> pd.DataFrame:
    """Name one type alike in all sources."""
    rows = [
        ("cell_type", source, f"<Mono {i}>", "monocyte & kin", "given", 90 + i) for i, source in enumerate(fake.sources)
    ]
    return pd.DataFrame(rows, columns=["label", "source", "from", "to", "how", "n_cells"])


def study_toml(fake: Fake) -> str:
    quote = json.dumps  # a JSON string is a TOML basic string
    on = ", ".join(quote(target) for target in fake.targets)
    lines = [
        f"name = {quote(fake.name)}", f"seeds = {fake.seeds}", f"baseline = {quote(fake.baseline)}",
        f"question = {quote(fake.question)}" if fake.question else "",
        "[quality]", "min_counts = 500", "max_mito_fraction = 0.2",
        "[holdout]", 'blood = { by = "donor", share = 0.25 }',
        *(f"[[corpora]]\nname = {quote(corpus)}\nparts = []" for corpus in fake.corpora),
        f"[[models]]\nname = {quote(fake.model)}\nn_latent = 10\nbudget = {{ steps = 4000 }}",
        f'[[tasks]]\nname = "reconstruction"\non = [{on}]',
        '[[tasks]]\nname = "residuals"\non = ["monocytes"]',
    ]  # fmt: skip
    return "\n".join(lines)


def effect(corpus: str, target: str, i: int) -> float:
    """How far a corpus moves R² on a target, as a factor."""
    if i == 0:
        return 1.0
    if target == "monocytes" and "No-Mono" in corpus:
        return 0.65
    if "Pancreas" in corpus or corpus == "All":
        gain = {"pancreas": 1.4, "blood": 0.985, "monocytes": 0.99, "cortex": 1.06}
        return gain.get(target, 1.0) * (0.55 if corpus == "Pancreas" and target != "pancreas" else 1.0)
    return 1.25 if "Cortex" in corpus and target == "cortex" else 1.0 + 0.004 * (i % 3 - 1)


def scores(fake: Fake, rng: np.random.Generator) -> pd.DataFrame:
    tables = []
    for i, corpus in enumerate(fake.corpora):
        for seed in range(fake.seeds):
            context = {"corpus": corpus, "model": fake.model, "seed": seed}
            for target in fake.targets:
                base = R2.get(target, 0.45) * (0.6 if target in ("pancreas", "cortex") else 1.0)
                value = base * effect(corpus, target, i) + rng.normal(0, 0.006)
                rows = []
                for unit in ("all", *fake.units.get(target, ())):
                    r2 = value + (rng.normal(0, 0.02) if unit != "all" else 0)
                    rows.append(R2_LOG.score(unit, r2, 640))
                    missing = target == "cortex" and unit == "all"
                    linear = np.nan if missing else r2 * 1.3
                    why = "no cell with two expressed genes" if missing else ""
                    rows.append(R2_LINEAR.score(unit, linear, 640, why))
                rows = with_headline(rows, "r2_log")
                tables.append(score_table(rows, **context, task="reconstruction", target=target))
            rows = residuals(fake, "No-Mono" in corpus, corpus == "Pancreas", rng)
            tables.append(score_table(rows, **context, task="residuals", target="monocytes"))
    return pd.concat(tables, ignore_index=True)


def residuals(fake: Fake, blind: bool, foreign: bool, rng: np.random.Generator) -> list[Score]:
    """Rows of one run of the residuals task; a model that never saw the target misses its markers."""
    names = [*MARKERS, *(f"GENE{i}" for i in range(fake.n_genes - len(MARKERS)))]
    means = np.random.default_rng(3)
    observed = np.exp(means.normal(-0.5, 1.8, fake.n_genes))
    observed[: len(MARKERS)] = [95, 60, 42, 6, 12, 48, 30, 4, 160, 14]
    observed[-1] = 0.0
    miss = np.ones(fake.n_genes)
    if blind or foreign:
        miss[: len(MARKERS)] = [0.04, 0.03, 0.03, 0.08, 0.08, 0.2, 0.25, 0.1, 0.5, 0.3]
    spread = 0.7 if foreign else 0.12
    predicted = observed * miss * np.exp(np.random.default_rng(11).normal(0, spread, fake.n_genes))
    predicted = (predicted + 0.01) * np.exp(rng.normal(0, 0.05, fake.n_genes))
    rows = []
    for name, seen, made in zip(names, observed, predicted, strict=True):
        residual = (seen - made) / seen if seen > 0 else np.nan
        why = "" if seen > 0 else "gene not observed in the target"
        rows += [
            OBSERVED.score(f"gene={name}", seen, 640),
            PREDICTED.score(f"gene={name}", made, 640),
            RELATIVE.score(f"gene={name}", residual, 640, why),
        ]
    return rows


def curves(fake: Fake, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for i, corpus in enumerate(fake.corpora):
        for seed in range(fake.seeds):
            for step in range(0, 4001, 100):
                level = 820 + 20 * (i % 4) + 900 * np.exp(-step / 300) + 60 * np.exp(-step / 1500)
                level += rng.normal(0, 2)
                common = (corpus, fake.model, seed, step, step / 40)
                rows.append((*common, "elbo_train", level))
                rows.append((*common, "elbo_validation", level + 22 + 0.002 * step))
    table = pd.DataFrame(rows, columns=["corpus", "model", "seed", "step", "epoch", "quantity", "value"])
    return table.assign(title="Negative ELBO", meaning="Negative ELBO per cell, nats; lower is better.")


def fits(fake: Fake) -> pd.DataFrame:
    rows = [(corpus, fake.model, seed, 0.5, 0.1) for corpus in fake.corpora for seed in range(fake.seeds)]
    return pd.DataFrame(rows, columns=["corpus", "model", "seed", "r2_log", "share_error"])


def composition(fake: Fake, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    types = [TYPES[i % len(TYPES)] + ("" if i < len(TYPES) else f" {i}") for i in range(fake.n_types)]
    for i, corpus in enumerate(fake.corpora):
        n_cells = 1600 + 400 * (i % 3)
        weights = np.random.default_rng(i).dirichlet(np.linspace(3, 0.3, fake.n_types))
        if "No-Mono" in corpus:
            weights = np.array([0 if "Mono" in kind else w for kind, w in zip(types, weights, strict=True)])
            weights /= weights.sum()
        share = np.random.default_rng(i).dirichlet(np.ones(len(fake.sources)))
        for seed in range(fake.seeds):
            drawn = {"cell_type": (types, weights), "source": (fake.sources, share)}
            drawn["tissue"] = (("blood", "pancreas", "cerebral cortex"), np.array([0.6, 0.3, 0.1]))
            drawn["disease"] = (("normal",), np.array([1.0]))
            for column, (values, p) in drawn.items():
                counts = rng.multinomial(n_cells, p)
                rows += [(corpus, seed, column, v, n) for v, n in zip(values, counts, strict=True) if n]
    return pd.DataFrame(rows, columns=["corpus", "seed", "column", "value", "n_cells"])


def sources(fake: Fake) -> pd.DataFrame:
    rows = []
    for i, source in enumerate(fake.sources):
        rows += [(source, "kept", 8000 - 900 * i), (source, "below min_counts", 412 + 30 * i)]
        rows += [(source, "above max_mito_fraction", 57)] if i % 2 == 0 else []
    return pd.DataFrame(rows, columns=["source", "reason", "n_cells"])


def genes(fake: Fake) -> pd.DataFrame:
    rows = [(s, 15706 + 900 * i, 3 * i, 12, 2987, 12719 + 900 * i, 0.93 - 0.04 * i) for i, s in enumerate(fake.sources)]
    return pd.DataFrame(rows, columns=["source", "n_genes", "no_id", "merged", "kept", "lost", "counts_kept"])


def measures(fake: Fake, rng: np.random.Generator) -> pd.DataFrame:
    """Make up measures, one that is not defined for the first corpus, and one that is left to the tables."""
    titles = {
        "richness": "Number of cell types",
        "shannon_bits": "Shannon entropy, bits",
        "classifier_auc": "Classifier's AUC",
    }
    rows = []
    for i, corpus in enumerate(fake.corpora):
        of_corpus = {
            ("richness", "cell_type", "own"): 14.0,
            ("shannon_bits", "cell_type", "own"): 3 + 0.1 * i,
            ("vendi", "components", "equal"): 20.0 + i,
            ("expressed_genes", "genes", "own"): 1500.0 + 10 * i,
            ("chao1", "cell_type", "own"): 15.0,
        }
        for seed in range(fake.seeds):
            start = (corpus, seed)
            for (measure, of, size), value in of_corpus.items():
                found = value + (rng.normal(0, 0.1) if measure == "vendi" else 0)
                rows.append((*start, measure, of, "", size, found, found - 1, found + 1, 1600, "none", ""))
            for target in fake.targets:
                rest = ("components", target, "equal")
                auc, why = (0.7, "") if i else (np.nan, "there are <too> few cells")
                rows.append((*start, "coverage", *rest, min(1.0, 0.2 + 0.1 * i), np.nan, np.nan, 1600, "higher", ""))
                rows.append((*start, "classifier_auc", *rest, auc, np.nan, np.nan, 1600, "lower", why))
    columns = [
        "corpus",
        "seed",
        "measure",
        "of",
        "target",
        "size",
        "value",
        "low",
        "high",
        "n_cells",
        "better",
        "reason",
    ]
    found = pd.DataFrame(rows, columns=columns)
    named = found["measure"].map(lambda name: titles.get(name, name.capitalize()))
    return found.assign(title=named, meaning="What <it> says.", headline=found["measure"] != "chao1").assign(
        figure=np.where(found["measure"] == "coverage", "reach", "")
    )


def profiles(fake: Fake) -> pd.DataFrame:
    rows = [
        (corpus, seed, "hill", "cell_type", order, 14 / (1 + order + 0.1 * i))
        for i, corpus in enumerate(fake.corpora)
        for seed in range(fake.seeds)
        for order in (0.0, 0.5, 1.0, 2.0, 4.0, np.inf)
    ]
    found = pd.DataFrame(rows, columns=["corpus", "seed", "profile", "of", "x", "value"])
    return found.assign(title="Hill profile of cell types", meaning="What <it> says.", across="order")


def cell_types() -> pd.DataFrame:
    rows = [("B", 300, "CL:0000236", "B cell", "name"), ("<odd> Mono", 200, "", "", "")]
    return pd.DataFrame(rows, columns=["label", "n_cells", "term", "name", "by"])


def provenance(fake: Fake) -> dict[str, Any]:
    return {
        "study": fake.name, "corpuscle": "0.1.0", "created": "2026-11-21T09:40:00+00:00",
        "python": "3.11.2", "platform": "Linux-6.1-x86_64",
        "packages": {"numpy": "2.4.6", "pandas": "2.3.3", "torch": "2.4.0", "anndata": "0.11.0"},
        "gene_space": {"kind": "intersection", "by": "symbol", "n_genes": 2987},
        "inputs": [
            {
                "source": source, "dataset": source, "sha256": f"{i:x}" * 64, "n_cells": 9000, "n_genes": 15706,
                "citation": "Kang et al. 2018, Nat Biotechnol 36:89. https://doi.org/10.1038/nbt.4042",
                "licence": "CC BY 4.0",
            }
            for i, source in enumerate(fake.sources)
        ],
        "targets": [
            {"name": t, "source": fake.sources[0], "n_cells": 640, "description": f"held-out cells of {t}"}
            for t in fake.targets
        ],
        "corpora": [
            {"name": c, "n_cells": 1600 + 400 * (i % 3), "recipe": "blood 800 (uniform) + pancreas 800 (uniform)"}
            for i, c in enumerate(fake.corpora)
        ],
        "failures": list(fake.failures), "seconds": {"total": 754.2},
    }  # fmt: skip


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Fake], Path]:
    """Give the folder of a made-up run, which is written once; it is not to be written to."""
    folders: dict[str, Path] = {}

    def of(fake: Fake) -> Path:
        if repr(fake) not in folders:
            folders[repr(fake)] = write_run(tmp_path_factory.mktemp("made-up"), fake)
        return folders[repr(fake)]

    return of


@pytest.fixture
def make_run(tmp_path: Path, made_up: Callable[[Fake], Path]) -> Callable[..., Path]:
    """Make a run folder; keyword arguments are the fields of `Fake`."""
    return lambda **fields: shutil.copytree(made_up(Fake(**fields)), tmp_path / "run", dirs_exist_ok=True)


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory, made_up: Callable[[Fake], Path]) -> Callable[[Fake], Path]:
    """Give the folder of a made-up run with its report, which is rendered once; it is not to be written to."""
    folders: dict[str, Path] = {}

    def of(fake: Fake) -> Path:
        if repr(fake) not in folders:
            folder = tmp_path_factory.mktemp("reported") / "run"
            folders[repr(fake)] = render(shutil.copytree(made_up(fake), folder)).parent
        return folders[repr(fake)]

    return of


@pytest.fixture
def rendered(tmp_path: Path, reported: Callable[[Fake], Path]) -> Callable[..., Path]:
    """Give the page of a run folder that is as `make_run` makes it, and one's own."""
    return lambda **fields: shutil.copytree(reported(Fake(**fields)), tmp_path / "run") / "report.html"
