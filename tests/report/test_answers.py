"""The answer in words is never false of the numbers it stands for, and says what intervals are about."""

import re

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.scores import COLUMNS, Score, completed, score_table
from corpuscle.report.page.render import render
from corpuscle.report.sections.findings import answer, scope
from corpuscle.report.sections.overview import sentences
from corpuscle.statistics.comparisons import RATIO, scale_of, summarise
from corpuscle.statistics.pairs import all_pairs, ties_with_best

CHANGE = r"(?:[+−]?[\d,.]+(?:e[−+]?\d+)?(?:\N{NO-BREAK SPACE}%)?)"
SENTENCE = re.compile(
    rf"(\w+) is (better|worse|higher|lower) than A: it (raises|lowers) macro f1 by ({CHANGE}), "
    rf"from ({CHANGE}) to ({CHANGE})(?: \(geometric means\))? "
    rf"\(95\N{{NO-BREAK SPACE}}% interval ({CHANGE}) to ({CHANGE}); (\d+) seeds?\)(.*)\."
)


def scores_of(values, metric="macro_f1", better="higher", target="blood"):
    rows = [
        score_table(
            [Score(metric, "all", value, 10, better)], corpus=corpus, seed=seed, model="m", task="t", target=target
        )
        for corpus, row in values.items()
        for seed, value in enumerate(row)
    ]
    return pd.concat(rows, ignore_index=True)


def answered(values, **settings):
    scores = scores_of(values, **settings).assign(headline=True)
    table = summarise(scores, "A", margins={"macro_f1": 0.02})
    table["ties_best"] = ties_with_best(table, all_pairs(scores, list(values)))
    return table, answer(table, table, "Title", "A", ["blood"])


def sentences_of(values, **settings):
    """Return what is said of the comparisons, without the best mean."""
    _, found = answered(values, **settings)
    return found.findings[-1].sentences


def read(text):
    """Return the number that a reader reads."""
    return float(text.replace("−", "-").replace(",", "").replace("\N{NO-BREAK SPACE}%", ""))


def test_a_corpus_that_scores_zero_is_the_largest_loss():
    values = {"A": [0.640, 0.641, 0.639], "B": [0.0, 0.0, 0.0], "C": [0.60, 0.61, 0.59]}
    _, found = answered(values)
    best, finding = found.findings
    assert best.sentences == ["Best mean: A, 0.640."]
    assert finding.resolved
    assert finding.sentences == [
        "B is worse than A: it lowers macro f1 by 0.640, from 0.640 to 0 "
        "(95\N{NO-BREAK SPACE}% interval −0.642 to −0.638; 3 seeds)"
        "; also worse: C −0.040 (−0.062 to −0.018)."
    ]
    assert found.lead == "Of 2 comparisons with A: 2 worse."


def test_what_does_not_survive_correction_is_said_to_be_so():
    values = {"A": [0.50, 0.51, 0.49], "B": [0.53, 0.55, 0.51], "C": [0.4, 0.6, 0.5], "D": [0.7, 0.4, 0.5]}
    _, found = answered(values)
    best, finding = found.findings
    assert best.sentences == ["Best mean: D, 0.533, tied with B, A, C."]
    assert finding.sentences[0].startswith("Perhaps, but not after correction for all comparisons: B +0.030 (+0.")
    assert found.lead == "Of 3 comparisons with A: 2 not resolved, 1 perhaps, but not after correction for 3."


def test_seeds_that_are_one_replicate_are_no_evidence():
    _, found = answered({"A": [0.50] * 3, "B": [0.52] * 3})
    assert found.lead.endswith("nothing can be concluded: the same result at 3 seeds: one replicate.")
    (finding,) = found.findings
    assert not finding.resolved
    assert finding.sentences == [
        "A: 0.500.",
        "Without an interval: B +0.020 (the same result at 3 seeds: one replicate).",
    ]


def test_of_what_has_no_interval_the_largest_changes_are_named():
    found = sentences_of({"A": [0.5], "B": [0.51], "C": [0.52], "D": [0.53], "E": [0.9]})
    assert "Without an interval: E +0.400, D +0.030, C +0.020 and 1 more" in found[1]


def test_what_has_no_interval_is_named_next_to_what_has_one():
    values = {"A": [0.5, 0.51, 0.52], "B": [0.7, 0.71, 0.73], "C": [0.9, np.nan, np.nan]}
    _, found = answered(values)
    assert found.findings[-1].sentences[0].startswith("B is better than A: it raises macro f1 by 0.203")
    assert found.findings[-1].sentences[1].startswith("Without an interval: C +0.400")
    assert "interval not estimable from one seed" in found.lead


def test_that_nothing_was_found_is_not_said_to_be_no_difference():
    noisy = sentences_of({"A": [0.50, 0.52], "B": [0.242, 0.387]})
    assert noisy[0].startswith("Not resolved at 2 seeds: B −0.196 (−")
    alike = sentences_of({"A": [0.5, 0.5, 0.5, 0.5], "B": [0.501, 0.499, 0.5005, 0.502]})
    assert alike[0] == "No difference shown, and none larger than ±0.02 (equivalence): B."


def test_the_page_begins_with_five_sentences_the_surest_differences_among_them():
    rng = np.random.default_rng(0)
    answers = []
    for metric in ("f1", "ari"):
        found = {f"target {at}": {"A": 0.5, "B": 0.5 + 0.05 * at} for at in range(4)}
        scores = pd.concat([
            scores_of({c: list(mean + 0.003 * rng.normal(size=4)) for c, mean in of.items()}, metric, target=target)
            for target, of in found.items()
        ]).assign(headline=True)  # fmt: skip
        table = summarise(scores, "A").assign(ties_best=False)
        answers.append(answer(table, table, metric.upper(), "A", list(found)))
    said = sentences(answers)
    assert [of for of, _ in said] == ["F1", "ARI", *sorted((of for of, _ in said[2:]), reverse=True)]
    assert len(said) == 5
    assert said[0][1].startswith("Of 4 comparisons with A: ")
    assert all(
        re.match(r"On target [123], B is better than A: it raises (f1|ari) by 0\.", text) for _, text in said[2:]
    )
    assert len(sentences(answers[:1])) == 1 + len(answers[0].shown) <= 5


def test_a_gain_is_stated_beyond_the_size_control():
    values = {"A": [0.50, 0.52, 0.51], "A+A": [0.52, 0.53, 0.53], "B": [0.61, 0.625, 0.625]}
    table = summarise(scores_of(values).assign(headline=True), "A", control="A+A").assign(ties_best=False)
    found = answer(table, table, "Title", "A", ["blood"], control="A+A").findings[-1].sentences
    assert "; beyond the size control A+A: +0.093 (+0.086 to +0.101)" in found[0]


def random_values(rng):
    """Make up scores of three corpora: of any size and scatter, with zeros, negative and missing values."""
    level, n_seeds = 10.0 ** rng.uniform(-5, 3), int(rng.integers(1, 6))
    scatter = level * 10.0 ** rng.uniform(-6, 0.3)
    shift = rng.choice([0, scatter, 3 * scatter, level], 3) * rng.choice([-1, 1], 3)
    shared = rng.normal(0, scatter, n_seeds) * rng.choice([0, 1])
    found = level + shift[:, None] + shared + rng.normal(0, scatter, (3, n_seeds)) * rng.choice([0, 0.1, 1])
    if rng.random() < 0.7:
        found = np.abs(found)
    found[rng.random(found.shape) < 0.1 * rng.choice([0, 1])] = rng.choice([np.nan, 0.0])
    return dict(zip("ABC", found.tolist(), strict=True))


def held_by(match, rows, scale):
    """Hold a sentence that a difference was shown to its own numbers, and to the table's; return whose it is."""
    corpus, word, verb, *shown, n_seeds, also = match.groups()
    size, base, mean, low, high = map(read, shown)
    up, better = verb == "raises", rows["better"].iloc[0]
    assert (mean > base) == (low > 0) == (high > 0) == up, match[0]
    assert min(abs(low), abs(high)) <= size <= max(abs(low), abs(high))
    words = {"higher": ("better", "worse"), "lower": ("worse", "better"), "none": ("higher", "lower")}
    assert word == words[better][0 if up else 1]
    assert int(n_seeds) == rows.loc[corpus, "n_pairs"]
    named = {corpus, *re.findall(rf"\b([BC]) {CHANGE}", also)}
    assert abs(rows.loc[corpus, scale.value]) == max(abs(rows.loc[name, scale.value]) for name in named)
    return dict.fromkeys(named, word)


def claims_of(sentence, rows, scale):
    """Return what a sentence says of which corpora, after holding it to the table's numbers."""
    if match := SENTENCE.fullmatch(sentence):
        return held_by(match, rows, scale)
    named = re.findall(rf"\b([BC]) {CHANGE}", sentence)
    if sentence.startswith("Perhaps"):
        assert all(rows.loc[name, "p"] <= 0.05 < rows.loc[name, "p_holm"] for name in named)
        return dict.fromkeys(named, "perhaps")
    if sentence.startswith("No difference shown"):
        alike = rows.loc[re.findall(r"\b([BC])\b", sentence), ["equivalent_low", "equivalent_high"]]
        assert alike.abs().to_numpy().max() < (np.log2(1.5) if scale == RATIO else 0.5)
        return dict.fromkeys(alike.index, "equivalent")
    if sentence.startswith("Not resolved"):
        assert all(rows.loc[name, scale.low] < 0 < rows.loc[name, scale.high] for name in named)
        return dict.fromkeys(named, "unresolved")
    return dict.fromkeys(named, "no interval") if sentence.startswith("Without an interval") else {}


@pytest.mark.parametrize("better", ["higher", "lower", "none"])
def test_no_verdict_is_false_of_its_own_numbers(better):
    seen, kinds = 0, set()
    made_up = {f"task {at}": random_values(np.random.default_rng([at, len(better)])) for at in range(100)}
    scores = pd.DataFrame(
        [
            (corpus, "m", seed, task, "blood", "macro_f1", "all", value, 10, better, 1, "")
            for task, values in made_up.items()
            for corpus, row in values.items()
            for seed, value in enumerate(row)
        ],
        columns=list(COLUMNS[:12]),
    ).assign(headline=True)
    scores["scale"] = np.where(scores["task"].str.endswith(("1", "2", "3")), "positive", "real")
    scores.loc[scores.groupby("task")["value"].transform("min") < 0, "scale"] = "real"
    summary = summarise(scores, "A", margins={"macro_f1": 0.5})
    summary["ties_best"] = ties_with_best(summary, all_pairs(scores, list("ABC")))
    for task, table in summary.groupby("task", sort=False):
        found = answer(table, table, "Title", "A", ["blood"])
        scale, rows = scale_of(table), table.set_index("corpus")
        assert not (scale == RATIO and any(value <= 0 for row in made_up[task].values() for value in row))
        said = {}
        for sentence in found.findings[-1].sentences:
            claimed = claims_of(sentence, rows, scale)
            assert all(rows.loc[name, "verdict"].startswith(verdict) for name, verdict in claimed.items()), sentence
            said |= claimed
        seen += sum(verdict in ("better", "worse", "higher", "lower") for verdict in said.values())
        kinds |= set(said.values())
        assert all(name in said or not np.isfinite(rows.loc[name, scale.value]) for name in "BC")
    assert seen > 20
    assert {"unresolved", "no interval", "equivalent", "perhaps"} <= kinds


def draws_of(**overlaps):
    rows = [(corpus, "blood", overlap) for corpus, overlap in overlaps.items()]
    return pd.DataFrame(rows, columns=["corpus", "source", "overlap"])


def test_it_says_what_intervals_are_about():
    assert scope(draws_of(A=0.01, B=np.nan), ["A", "B"], 3) == []
    same, compared = scope(draws_of(A=1.0, B=0.01), ["A", "B"], 3)
    assert same.startswith("Of A (blood), intervals are about these cells only")
    assert compared == "A comparison goes by the corpus whose draws share more."
    wide, _ = scope(draws_of(A=0.5, B=0.2), ["A", "B"], 3)
    assert "about the sources" in wide
    assert "A ×2.0 (50% of blood), B ×1.3 (20% of blood)" in wide


def test_the_report_widens_by_the_draws_and_says_so(make_run):
    folder = make_run()
    render(folder)
    before = pd.read_csv(folder / "scores_summary.csv")
    draws = [("Blood", "kang2018", 50, 100, 0.5, 0.5), ("Blood", "baron2016", 1, 100, 0.01, 0.02)]
    columns = ["corpus", "source", "n_cells", "pool", "share", "overlap"]
    pd.DataFrame(draws, columns=columns).to_parquet(folder / "draws.parquet")
    page = render(folder).read_text()
    after = pd.read_csv(folder / "scores_summary.csv")
    np.testing.assert_allclose(after["fc_high"] - after["fc_low"], 2 * (before["fc_high"] - before["fc_low"]))
    assert page.count("Blood ×2.0 (50% of kang2018)") == 1


def test_a_table_has_one_unit(make_run):
    folder = make_run(targets=("blood", "pancreas"))
    scores = pd.read_parquet(folder / "scores.parquet")
    zero = (scores["corpus"] == "Pancreas") & (scores["target"] == "blood") & (scores["metric"] == "r2_log")
    scores.loc[zero, "value"] = 0.0
    scores.to_parquet(folder / "scores.parquet")
    page = render(folder).read_text()
    answer_part = page[page.index('class="findings') : page.index("</dl>")]
    assert "Pancreas is worse than Blood: it lowers R² (log) by 0.5" in answer_part
    assert not re.search(r"[+−][\d.]+\N{NO-BREAK SPACE}%", answer_part)
    assert "colour: difference, full from there on" in page


def donors_table(effects, lacking=(), seeds=5, hard=0.0):
    """Scores of corpora A, B and C: B differs from A by an effect of each donor; what is lacking is left out."""
    rng = np.random.default_rng(2)
    rows = [
        (corpus, "m", seed, "t", "blood", "f1", f"donor=d{at}", 0.8 - hard * at + (effect if corpus == "B" else 0)
         + 0.005 * rng.normal(), 10, "higher")
        for corpus in "ABC" for seed in range(seeds) for at, effect in enumerate(effects)
        if (corpus, seed, at) not in lacking and (corpus, at) not in lacking
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=list(COLUMNS[:10])).assign(version=1, reason="", headline=True, scale="share")
    means = table.groupby(["corpus", "model", "seed", "task", "target", "metric", "better"], as_index=False)[
        "value"
    ].mean()
    return pd.concat([table, means.assign(unit="all", n_cells=50, version=1, reason="", headline=True, scale="share")])


def test_what_one_corpus_lacks_makes_no_other_comparison_surer():
    effects = [0.12, -0.02, 0.08, -0.03, 0.10]
    whole, part = (
        summarise(completed(donors_table(effects, lacking)), "A").query("unit == 'all'").set_index("corpus")
        for lacking in ((), {("C", 3, 1)})
    )
    columns = ["difference", "difference_low", "difference_high", "p", "pair_donors", "verdict"]
    assert whole.loc["B", columns].tolist() == part.loc["B", columns].tolist()
    assert whole.loc["B", "verdict"] == "unresolved"
    # One lost value of B itself costs a run, not the donors.
    lost = summarise(completed(donors_table(effects, {("B", 3, 1)})), "A").query("unit == 'all'").set_index("corpus")
    assert lost.loc["B", ["n_pairs", "pair_donors", "verdict"]].tolist() == [4, 5, "unresolved"]


def test_a_corpus_that_lacks_the_hard_donors_is_compared_on_those_that_both_have():
    scores = completed(donors_table([0.0] * 6, {("C", 4), ("C", 5)}, hard=0.1))
    table = summarise(scores, "A")
    table["ties_best"] = ties_with_best(table, all_pairs(scores, list("ABC")))
    row = table.query("unit == 'all'").set_index("corpus").loc["C"]
    assert abs(row["difference"]) < 0.01
    assert row["pair_donors"] == 4
    assert row["pair_mean"] - row["pair_base"] == pytest.approx(row["difference"])
    means = table.query("unit == 'all'")["mean"]
    assert means.max() - means.min() < 0.01, "means next to each other are over the same donors"
    assert table.query("unit == 'all'")["ties_best"].sum() >= 2
    none = completed(donors_table([0.0] * 4, {("C", 0), ("C", 1), ("B", 2), ("B", 3)}))
    apart = summarise(none, "B").query("unit == 'all'").set_index("corpus").loc["C"]
    assert apart["verdict"] == "no interval"
    assert np.isnan(apart["difference"])


def test_fewer_than_five_donors_are_named_next_to_the_verdict():
    table = summarise(completed(donors_table([0.1] * 4)), "A").query("unit == 'all'")
    table["ties_best"] = True
    (sentence,) = [held.sentence for held in answer(table, table, "F1", "A", ["blood"]).shown]
    assert "5 seeds, of these 4 donors alone)" in sentence
    assert np.isfinite(table["p"]).sum() == 2


def test_corpora_of_one_run_are_neither_best_nor_tied_and_no_worse_one_is():
    found = answered_table({"A": [0.60, 0.61, 0.59], "B": [0.700, 0.711, 0.689], "C": [0.9]})
    assert found.to_dict() == {"A": False, "B": True, "C": False}
    # Of other seeds, the worse one may have the higher mean.
    uneven = {"A": [0.30, 0.31, 0.29, 0.80, 0.81, 0.79], "B": [0.35, 0.361, 0.341]}
    assert answered_table(uneven).to_dict() == {"A": False, "B": True}
    assert answered_table({"A": [0.5], "B": [0.6]}).to_dict() == {"A": True, "B": True}


def answered_table(values):
    scores = scores_of(values).assign(headline=True)
    table = summarise(scores, "A")
    return pd.Series(ties_with_best(table, all_pairs(scores, list(values))).to_numpy(), index=table["corpus"])


def test_a_ratio_is_that_of_the_means_that_are_named():
    scores = scores_of({"A": [1.0] * 9 + [50.0], "B": [0.9] * 4 + [0.91] * 5 + [51.0]}, metric="rmse", better="lower")
    table = summarise(scores.assign(scale="positive", headline=True), "A")
    row = table.set_index("corpus").loc["B"]
    assert row["compared_by"] == "ratio"
    assert np.log2(row["pair_mean"] / row["pair_base"]) == pytest.approx(row["log2_fold_change"])


def test_perhaps_names_as_many_comparisons_as_were_corrected_for():
    values = {"A": [0.50] * 4, "B": [0.51, 0.52, 0.53, 0.54], "C": [0.54, 0.53, 0.51, 0.52], "D": [0.9]}
    table = summarise(scores_of(values).assign(headline=True), "A")
    table["ties_best"] = True
    assert table.set_index("corpus")["verdict"].loc[["B", "C", "D"]].tolist() == [
        "perhaps better", "perhaps better", "no interval",
    ]  # fmt: skip
    assert "2 perhaps, but not after correction for 2." in answer(table, table, "F1", "A", ["blood"]).lead
