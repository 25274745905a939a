"""What the small runs say of Nadig et al. 2025; docs/published/composition_blood.md states the rules."""

import itertools
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd
from claim import Claim, Estimate, above, below, difference, unless_confounded, values
from corpus_pairs import ALPHA, by_cell, compared, of_targets, significant

from corpuscle import Results

# Each corpus that is added, and the target that is of its kind.
ADDED = {"PBMC": "pbmc", "Stimulated": "stimulated", "Pancreas": "pancreas", "Lines": "lines"}
R2 = {"metric": "r2_log"}
RICHER = ("PBMC", "Leukaemia", "Lung cancer", "Pancreas")
MEAN = {**R2, "task": "reconstruction"}
SAMPLE = {**R2, "task": "reconstruction, as published", "way": "one sample"}
# Of 225 comparisons, 224 were published.
NEARLY_ALL = 0.9


def claims(runs: dict[str, Results]) -> list[Claim]:
    """Return the claims, from the runs of the small files by their names."""
    steps, epochs, atlas = (runs[name].scores for name in ("small", "small_as_published", "small_atlas"))
    return [
        _doubling(epochs, steps),
        _own_kind(steps),
        _on_blood(epochs, steps),
        _far(steps),
        _left_out_study(atlas),
        _atlas_agrees(atlas, steps),
        _left_out_types(steps),
        _cell_tests(epochs),
        _samples(epochs),
        _latents(steps),
        _loadings(steps),
        _gene_sets(runs["small_gene_sets"].scores),
        _geneformer(runs["small_geneformer"].scores),
    ]


def tables(runs: dict[str, Results]) -> dict[str, pd.DataFrame]:
    """Return every two corpora on every target, by replicates next to the published test over cells; and counts."""
    pairs = compared(runs["small_as_published"].scores, **SAMPLE)
    return {"pairs": pairs, "pairs_by_target": of_targets(pairs)}


def richer(run: Results) -> list[Claim]:
    """Return the claims that ``richer.toml`` has real malignant cells for."""
    scores = run.scores
    own, other, unseen = (
        difference(scores, {"corpus": corpus}, {"corpus": "Blood+Blood"}, **MEAN, target=target)
        for corpus, target in (
            ("Blood+Leukaemia", "leukaemia"), ("Blood+Lung cancer", "leukaemia"), ("Blood+Lung cancer", "breast"),
        )
    )  # fmt: skip
    far, beyond = (
        difference(scores, {"corpus": corpus}, {"corpus": than}, **MEAN, target="breast")
        for corpus, than in (("Blood+Pancreas", "Blood+Blood"), ("Blood+Lung cancer", "Blood+Pancreas"))
    )
    on_blood = Estimate.of(
        _mean(values(scores, **MEAN, corpus=f"Blood+{added}", target="blood") for added in RICHER)
        - values(scores, **MEAN, corpus="Blood+Blood", target="blood")
    )
    return [
        Claim(
            "Malignant cells help on a leukaemia",
            "R² on leukaemia is .33 with Blood+Blood and .39 with Blood+Cancer.",
            "Blood+Lung cancer minus Blood+Blood on marrow of a patient with leukaemia, R² (log), equal steps",
            other,
            above(other),
            "The published malignant cells were of blood cancers, these are lines of lung cancer. With other cells of "
            f"that marrow in their place it is {own}.",
        ),
        Claim(
            "Malignant cells help on a carcinoma of another study",
            "Malignant cells of other studies raise R² on malignant cells that were left out (a myeloma, by 17 %).",
            "Blood+Lung cancer minus Blood+Blood on a carcinoma of the breast, which no corpus has, R² (log)",
            unseen,
            unless_confounded(above(unseen), still=beyond.above_zero, removed=far.above_zero),
            f"Healthy pancreas in place of lung cancer: {far}, from which lung cancer differs by {beyond}.",
        ),
        Claim(
            "Foreign cells serve blood better than more blood",
            "R² on blood is .61 with Blood+Blood, and .69 with cancer, .63 with marrow.",
            "Blood+X minus Blood+Blood on held-out blood, R² (log), mean over four X, equal steps",
            on_blood,
            above(on_blood),
            "X is blood of another donor, a leukaemia, lung cancer or pancreas.",
        ),
    ]


def _doubling(epochs: pd.DataFrame, steps: pd.DataFrame) -> Claim:
    at_epochs, at_steps = (
        values(scores, **which, corpus="Blood+Blood", target="blood")
        - values(scores, **which, corpus="Blood", target="blood")
        for scores, which in ((epochs, SAMPLE), (steps, MEAN))
    )
    published, equal, removed = (Estimate.of(one) for one in (at_epochs, at_steps, at_epochs - at_steps))
    return Claim(
        "Doubling blood makes it worse on blood",
        "R² on blood falls from .69 to .61 when 101,879 more cells of blood are added, at equal epochs.",
        "Blood+Blood minus Blood, R² (log) on held-out blood, at equal epochs",
        published,
        unless_confounded(below(published), still=equal.below_zero, removed=removed.below_zero),
        f"At equal steps the difference is {equal}; 400 and 800 cells of one study, in place of 101,879 and 203,758.",
    )


def _own_kind(steps: pd.DataFrame) -> Claim:
    gains = _mean(
        values(steps, **MEAN, corpus=f"Blood+{added}", target=target)
        - values(steps, **MEAN, corpus="Blood+Blood", target=target)
        for added, target in ADDED.items()
    )
    found = Estimate.of(gains)
    return Claim(
        "What is added helps on its own kind, and not by size",
        "R² on leukaemia is .33 with Blood+Blood and .39 with Blood+Cancer; on neurons .01, and .12 with Blood+TF "
        "Atlas.",
        "Blood+X minus Blood+Blood on held-out cells of X, R² (log), mean over four X, equal steps",
        found,
        above(found),
        "The control has as many cells and takes as many steps; X is another blood study, stimulated blood, "
        "pancreas or cell lines.",
    )


def _on_blood(epochs: pd.DataFrame, steps: pd.DataFrame) -> Claim:
    def gain(scores: pd.DataFrame, than: str, which: Mapping[str, str]) -> Estimate:
        base = values(scores, **which, corpus=than, target="blood")
        return Estimate.of(
            _mean(values(scores, **which, corpus=f"Blood+{one}", target="blood") - base for one in ADDED)
        )

    found = gain(steps, "Blood+Blood", MEAN)
    at_epochs, at_steps = gain(epochs, "Blood", SAMPLE), gain(steps, "Blood", MEAN)
    return Claim(
        "Foreign cells serve blood better than more blood",
        "R² on blood is .61 with Blood+Blood, and .69, .70, .63 and .54 with cancer, TF Atlas, marrow and Perturb-seq.",
        "Blood+X minus Blood+Blood on held-out blood, R² (log), mean over four X, equal steps",
        found,
        above(found),
        f"Next to Blood alone, Blood+X differs by {at_epochs} at equal epochs, where it takes twice the steps, and "
        f"by {at_steps} at equal steps.",
    )


def _far(steps: pd.DataFrame) -> Claim:
    found = Estimate.of(
        values(steps, **MEAN, corpus="Blood", target="blood")
        - _mean(values(steps, **MEAN, corpus="Blood", target=target) for target in ("pancreas", "lines"))
    )
    return Claim(
        "A model of blood does not carry over to far tissues",
        "R² of Blood is .69 on blood, and 0 on neurons.",
        "R² (log) of Blood on held-out blood minus that on pancreas and cell lines, equal steps",
        found,
        above(found),
        "Squared correlations over a target's own variable genes also depend on how deep its cells are.",
    )


def _left_out_study(atlas: pd.DataFrame) -> Claim:
    left_out = {name: ADDED[name] for name in ("PBMC", "Pancreas", "Lines")}
    gains = {
        name: values(atlas, **MEAN, corpus=f"Atlas without {name}", target=target)
        - values(atlas, **MEAN, corpus="Blood", target=target)
        for name, target in left_out.items()
    }
    relative = {
        name: gain / values(atlas, **MEAN, corpus="Blood", target=left_out[name]) for name, gain in gains.items()
    }
    found = Estimate.of(_mean(relative.values()))
    each = ", ".join(f"{name} {Estimate.of(one)}" for name, one in relative.items())
    return Claim(
        "Other studies help on one that was left out",
        "Malignant cells of other studies raise R² on a multiple myeloma that was left out by 17 %.",
        "Share by which R² (log) on held-out cells of X is higher after an atlas without X than after Blood, mean over "
        "three X, equal size and steps",
        found,
        above(found),
        f"By study: {each}. Studies of healthy tissue and of cell lines stand for cancers.",
    )


def _atlas_agrees(atlas: pd.DataFrame, steps: pd.DataFrame) -> Claim:
    def effects(scores: pd.DataFrame, base: str) -> pd.DataFrame:
        cells = itertools.product(("PBMC", "Pancreas", "Lines"), ("blood", *ADDED.values()))
        return pd.DataFrame({
            (added, target): values(scores, **MEAN, corpus=f"{base}+{added}", target=target)
            - values(scores, **MEAN, corpus=base, target=target)
            for added, target in cells
        })  # fmt: skip

    on_atlas = effects(atlas, "Atlas")
    on_blood = effects(steps, "Blood").loc[on_atlas.index]
    found = Estimate.of(on_blood.corrwith(on_atlas, axis="columns"))
    slope = Estimate.of(
        pd.Series({seed: np.polyfit(on_blood.loc[seed], on_atlas.loc[seed], 1)[0] for seed in on_blood.index})
    )
    return Claim(
        "Additions to an atlas do what they do to blood",
        "Log2 fold changes of R² by addition agree between the two baselines: r = .97, slope .89 on leukaemia (P = "
        ".2), r = .80 and slope 1.18 on carcinoma.",
        "Slope, over three additions × five targets, of changes of R² from Atlas on those from Blood",
        slope,
        "no verdict",
        f"The correlation is {found}. A fifth of this small atlas is of each kind that is added, so that less is new "
        "to it by construction; the published one had none of what was added.",
    )


def _left_out_types(steps: pd.DataFrame) -> Claim:
    losses = {
        target: values(steps, **MEAN, corpus=f"No-{name}", target=target)
        - values(steps, **MEAN, corpus="Blood", target=target)
        for name, target in (("Monocyte", "monocytes"), ("B", "B cells"))
    }
    found = Estimate.of(_mean(losses.values()))
    each = ", ".join(f"{name} {Estimate.of(one)}" for name, one in losses.items())
    return Claim(
        "A type that was left out is reconstructed worse",
        "Without monocytes (16,096 cells), or B cells (9,723), in training, genes of these types are expected too "
        "little of.",
        "No-X minus Blood on X, R² (log), mean of monocytes and B cells, equal cells and steps",
        found,
        below(found),
        f"By type: {each}. Published were residuals of genes, which the report has, too.",
    )


def _cell_tests(epochs: pd.DataFrame) -> Claim:
    cells = by_cell(epochs, SAMPLE["task"])
    same = [_share_significant(cells, one, other) for one, other in _pairs_of_seeds(cells)]
    found = Estimate.of(np.array(same))
    pairs = compared(epochs, **SAMPLE)
    n_pairs, by_cells = len(pairs), pairs["significant_over_cells"].sum()
    by_runs, apart = int((pairs["p_holm"] < ALPHA).sum()), int((pairs["low"].gt(0) | pairs["high"].lt(0)).sum())
    return Claim(
        "Nearly all corpora differ by a t test over cells",
        "224 of 225 comparisons of corpora on targets are significant, paired over cells.",
        "Share of t tests over cells that call two trainings of one corpus different (P < .05, ten corpora × five "
        "targets)",
        found,
        unless_confounded(
            "pattern seen" if by_cells > NEARLY_ALL * n_pairs else "not seen",
            still=by_runs > NEARLY_ALL * n_pairs,
            removed=found.low > ALPHA,
        ),
        f"Of {n_pairs} pairs, {by_cells:.0f} are significant over cells (mean over seeds), {apart} over replicates, "
        f"and {by_runs} after Holm's correction: most differ, but the count over cells does not show it, as the same "
        "test calls that share of trainings of one corpus different. Pairs of seeds share seeds, so that the interval "
        "is a little short.",
    )


def _samples(epochs: pd.DataFrame) -> Claim:
    rows = epochs[(epochs["target"] == "blood") & (epochs["metric"] == "r2_log") & (epochs["unit"] == "all")]
    table = rows.pivot_table(index=["corpus", "seed"], columns="task", values="value")
    within = table.std(axis="columns", ddof=1).groupby("corpus").mean()
    first = table[SAMPLE["task"]]
    between = first.groupby("corpus").std(ddof=1)
    found = Estimate.of(np.log10(between / within))
    alike = (first.round(2).groupby("corpus").nunique() == 1).sum()
    return Claim(
        "Five seeds agree to two decimals",
        "All 50 means of R² are equal to two decimals between seeds; the code loads one trained model for all of them.",
        "log10 of the standard deviation between trainings over that between five posterior samples of one model, "
        "R² (log) on blood, over ten corpora",
        found,
        "artefact" if found.above_zero else above(found),
        f"One model's samples scatter by {within.mean():.4f}, trainings by {between.mean():.4f}; the means of all "
        f"trainings agree to two decimals in {alike} of {len(between)} corpora. With one model, five seeds agree "
        "whatever trainings would do. The interval is over corpora.",
    )


def _latents(steps: pd.DataFrame) -> Claim:
    which = {"task": "latents", "metric": "latent_r2", "target": "blood"}
    found = Estimate.of(_mean(values(steps, **which, corpus=f"Blood+{added}") for added in ADDED))
    again = Estimate.of(values(steps, **which, corpus="Blood+Blood"))
    return Claim(
        "Latents after an addition are those of blood",
        "Latents of Blood+X are reconstructed from Blood's with a mean R² above .85.",
        "Mean R² of Blood+X's latents on Blood's, on held-out blood, over four X",
        found,
        above(found, 0.85),
        f"Of Blood+Blood's latents, to which nothing new was added, Blood's explain {again}: the rest is that a "
        "training is another training.",
    )


def _loadings(steps: pd.DataFrame) -> Claim:
    which = {"task": "latents", "metric": "loading_correlation", "target": "pancreas"}
    found = difference(steps, {"corpus": "Blood+Lines"}, {"corpus": "Blood+Blood"}, **which)
    there = Estimate.of(values(steps, **which, corpus="Blood+Lines"))
    return Claim(
        "Foreign cells tie a latent to a tissue never seen",
        "Loadings of one latent correlate with expression in neurons, which no corpus has: r = .24, P = 1e-99.",
        "Largest correlation of a latent's loadings with expression in pancreas, Blood+Lines minus Blood+Blood",
        found,
        above(found),
        f"It is {there} with Blood+Lines: the largest of ten absolute correlations is never 0, and its P counts genes.",
    )


def _gene_sets(scores: pd.DataFrame) -> Claim:
    which = {"task": "gene_sets", "metric": "tied_latents", "target": "lines"}
    found = difference(scores, {"corpus": "Blood+Lines"}, {"corpus": "Blood+Blood"}, **which)
    return Claim(
        "Cells that divide bring a latent for the cell cycle",
        "One latent stands for mitosis: NES 2.09, P = 8e-16, 118 of 124 genes of KEGG's set.",
        "Share of latents tied to S or G2/M phase, Blood+Lines minus Blood+Blood, on held-out cell lines",
        found,
        above(found),
        "These files have 14 of the 97 genes of the two sets, which is little to see a set by.",
    )


def _geneformer(scores: pd.DataFrame) -> Claim:
    which = {"model": "geneformer", "metric": "rank_correlation"}
    found = difference(scores, {"corpus": "Blood+Lines"}, {"corpus": "Blood+Blood"}, **which, target="lines")
    levels = [Estimate.of(values(scores, **which, corpus="Blood", target=target)) for target in ("blood", "lines")]
    base = Estimate.of(
        values(scores, model="geneformer", metric="rank_correlation_baseline", corpus="Blood", target="blood")
    )
    return Claim(
        "Geneformer gains on what is added, too",
        "Rank correlation is .62 on blood and .06 on neurons after blood; on leukaemia .87 with Blood+Blood and .91 "
        "with Blood+Cancer.",
        "Rank correlation on cell lines shown whole, Blood+Lines minus Blood+Blood, equal steps",
        found,
        above(found),
        f"After Blood: {levels[0]} on blood, {levels[1]} on lines; a guess by mean ranks, which looks at no cell, "
        f"has {base.mean:.3f} on blood. A network of two layers after 80 steps.",
    )


def _mean(one_for_each: "Iterable[pd.Series[float]]") -> "pd.Series[float]":
    """Return the mean, seed by seed."""
    mean: pd.Series[float] = pd.concat(list(one_for_each), axis="columns").mean(axis="columns", skipna=False)
    return mean


def _pairs_of_seeds(cells: pd.DataFrame) -> Iterator[tuple[int, int]]:
    """Return neighbouring seeds, the last with the first: as many pairs as there are seeds; of two seeds, one."""
    seeds = sorted(cells.columns.get_level_values("seed").unique())
    pairs = {tuple(sorted((one, seeds[(at + 1) % len(seeds)]))) for at, one in enumerate(seeds)}
    return ((one, other) for one, other in sorted(pairs) if one != other)


def _share_significant(cells: pd.DataFrame, one: int, other: int) -> float:
    """Return in how many corpora × targets the published test calls two trainings different."""
    corpora = cells.columns.get_level_values("corpus").unique()
    return float(
        np.mean(
            [
                significant(here, (corpus, one), (corpus, other))
                for (_, here), corpus in itertools.product(cells.groupby("target"), corpora)
            ]
        )
    )
