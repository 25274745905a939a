"""Advice from a table of means next to advice from cells, on parts of the packaged data: how near are they?

    OMP_NUM_THREADS=1 python benchmarks/advice_from_means.py FOLDER     # two minutes of a core

Seven sources are known; the candidate is half the cells of a donor of islets, given as cells, as means of its cell
types, and as one mean; targets are the other half, and half of pbmc3k. Prints Pearson's and Spearman's correlations of
features and predicted values over sources and targets, and what was predicted of the candidate.
"""

import argparse
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import stats
from scipy.sparse import csr_matrix, diags

import corpuscle

KNOWN = ("kang_control", "kang_stimulated", "lines", "human1", "human2", "human4", "pbmc_a")
TARGETS = ("pbmc_b", "human3_b")
STUDY = """
name = "Advice from means"
[labels]
cell_type = "packaged"
[mixture]
sources = {known}
n_cells = 600
most_repeats = 3
[[models]]
name = "pca"
n_genes = 500
[[tasks]]
name = "annotation"
split = "corpus"
max_cells = 300
on = {targets}
[sources]
"""


def parts() -> dict[str, ad.AnnData]:
    kang, pbmc, islets, lines = (
        ad.read_h5ad(corpuscle.dataset_path(name)) for name in ("kang2018", "pbmc3k", "baron2016", "chen2019")
    )
    rng, control = np.random.default_rng(0), kang.obs["condition"] == "control"
    third = islets[islets.obs["donor"] == "human3"]
    found = {f"human{at}": islets[islets.obs["donor"] == f"human{at}"] for at in (1, 2, 4)}
    found |= {"kang_control": kang[control], "kang_stimulated": kang[~control], "lines": lines}
    for name, whole in (("pbmc", pbmc), ("human3", third)):
        first = rng.permutation(whole.n_obs) % 2 == 0
        found |= {f"{name}_a": whole[first], f"{name}_b": whole[~first]}
    return found


def write_means(cells: ad.AnnData, path: Path, *, grouped: bool) -> None:
    counts = csr_matrix(cells.X).astype(float)
    scaled = csr_matrix(diags(1e4 / np.asarray(counts.sum(axis=1)).ravel()) @ counts)
    group = cells.obs["cell_type"].astype(str).to_numpy() if grouped else np.full(cells.n_obs, "all")
    here = {name: group == name for name in np.unique(group)}
    sizes = pd.DataFrame({name: [mask.sum()] for name, mask in here.items()}, ["n_cells"])
    means = {name: np.asarray(scaled[mask].mean(axis=0)).ravel() for name, mask in here.items()}
    pd.concat([sizes, pd.DataFrame(means, cells.var_names)]).to_csv(path)


def correlations(one: pd.Series, other: pd.Series) -> str:
    return f"Pearson {stats.pearsonr(one, other)[0]:.3f}, Spearman {stats.spearmanr(one, other)[0]:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    cells = parts()
    for name, part in cells.items():
        part.copy().write_h5ad(folder / f"{name}.h5ad")
    candidate = cells["human3_a"]
    ways = {"cells": folder / "human3_a.h5ad", "cell types": folder / "types.csv", "one mean": folder / "whole.csv"}
    write_means(candidate, ways["cell types"], grouped=True)
    write_means(candidate, ways["one mean"], grouped=False)
    sources = [f'{name} = {{ path = "{name}.h5ad" }}' for name in (*KNOWN, *TARGETS)]
    text = STUDY.format(known=list(KNOWN), targets=list(TARGETS)) + "\n".join(sources)
    (folder / "study.toml").write_text(text, encoding="utf-8")
    found, index = {}, ["source", "output"]
    for way, path in ways.items():
        started = time.process_time()
        found[way] = corpuscle.advise(folder / "study.toml", folder / "out", path, name="new", workers=0)
        print(f"{way}: {time.process_time() - started:.0f} s of processor time; {found[way].sentence()}", flush=True)
    plain = found["cells"].features.set_index(index)
    for way in ("cell types", "one mean"):
        other = found[way].features.set_index(index).loc[plain.index]
        for name in plain:
            print(f"{way}, {name}: {correlations(plain[name], other[name])}")
        known = [found[one].known.set_index(index)["predicted"] for one in ("cells", way)]
        print(f"{way}, predicted values of known sources: {correlations(known[0], known[1].loc[known[0].index])}")
    for way, one in found.items():
        print(f"{way}, the candidate:\n{one.values.round(3).to_string(index=False)}")


if __name__ == "__main__":
    main()
