"""The answer in words is never false of the numbers it stands for, and says what intervals are about."""

import re

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.scores import COLUMNS, Score, score_table
from corpuscle.report.page.render import render
from corpuscle.report.sections.findings import answer, scope
from corpuscle.statistics.comparisons import RATIO, scale_of, summarise

CHANGE = r"(?:[+−]?[\d,.]+(?:e[−+]?\d+)?(?:\N{NO-BREAK SPACE}%)?)"
SENTENCE = re.compile(
    rf"Largest (gain|loss|rise|fall): (\w+), ({CHANGE}) against ({CHANGE}), ({CHANGE}) "
    rf"\(95\N{{NO-BREAK SPACE}}% interval ({CHANGE}) to ({CHANGE})\)(.*)\."
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
    table = summarise(scores_of(values, **settings), "A")
    return table, answer(table, table, "Title", "A", ["blood"])


def read(text):
    """Return the number that a reader reads."""
    return float(text.replace("−", "-").replace(",", "").replace("\N{NO-BREAK SPACE}%", ""))


def test_a_corpus_that_scores_zero_is_the_largest_loss():
    values = {"A": [0.640, 0.641, 0.639], "B": [0.0, 0.0, 0.0], "C": [0.60, 0.61, 0.59]}
    _, found = answered(values)
    (finding,) = found.findings
    assert finding.resolved
    assert finding.sentences == [
        "Largest loss: B, 0 against 0.640, −0.640 (95\N{NO-BREAK SPACE}% interval −0.642 to −0.638); also C −0.040."
    ]
    assert found.lead.startswith(
        "2 of 2 comparisons with A differ by more than the scatter of seeds explains: 0 better"
    )


def test_seeds_that_are_one_replicate_are_no_evidence():
    _, found = answered({"A": [0.50] * 3, "B": [0.52] * 3})
    assert "None of the 1 comparison with A has an interval (the same result at 3 seeds: one replicate)" in found.lead
    (finding,) = found.findings
    assert not finding.resolved
    assert finding.sentences == [
        "No interval, so nothing can be resolved (A: 0.500).",
        "Without an interval: B +4.0\N{NO-BREAK SPACE}% (the same result at 3 seeds: one replicate).",
    ]


def test_of_what_has_no_interval_the_largest_changes_are_named():
    _, found = answered({"A": [0.5], "B": [0.51], "C": [0.52], "D": [0.53], "E": [0.9]})
    (finding,) = found.findings
    assert "Without an interval: E +80" in finding.sentences[1]


def test_what_has_no_interval_is_named_beside_what_has_one():
    _, found = answered({"A": [0.5, 0.51, 0.52], "B": [0.7, 0.71, 0.73], "C": [0.9, np.nan, np.nan]})
    (finding,) = found.findings
    assert finding.sentences[0].startswith("Largest gain: B")
    assert finding.sentences[1].startswith("Without an interval: C +80")
    assert "1 more has no interval (interval not estimable from one seed)" in found.lead


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


@pytest.mark.parametrize("better", ["higher", "lower", "none"])
def test_no_verdict_is_false_of_its_own_numbers(better):
    seen = 0
    made_up = {f"task {at}": random_values(np.random.default_rng([at, len(better)])) for at in range(100)}
    summary = summarise(
        pd.DataFrame(
            [
                (corpus, "m", seed, task, "blood", "macro_f1", "all", value, 10, better, 1, "")
                for task, values in made_up.items()
                for corpus, row in values.items()
                for seed, value in enumerate(row)
            ],
            columns=list(COLUMNS[:12]),
        ),
        "A",
    )
    for task, table in summary.groupby("task", sort=False):
        values, found = made_up[task], answer(table, table, "Title", "A", ["blood"])
        scale, rows = scale_of(table), table.set_index("corpus")
        assert not (scale == RATIO and any(value <= 0 for row in values.values() for value in row))
        resolved = {name for name in "BC" if rows.loc[name, scale.low] > 0 or rows.loc[name, scale.high] < 0}
        (finding,) = found.findings
        assert finding.resolved == bool(resolved)
        said = set()
        for sentence in finding.sentences:
            if not (match := SENTENCE.fullmatch(sentence)):
                assert not sentence.startswith("Largest"), sentence
                continue
            seen += 1
            word, corpus, *shown, also = match.groups()
            mean, base, change, low, high = map(read, shown)
            up = (word in ("gain", "rise")) == (better != "lower")
            assert (mean > base) == (change > 0) == (low > 0) == (high > 0) == up, (sentence, values)
            assert low <= change <= high
            named = {corpus, *re.findall(rf"\b([BC]) {CHANGE}", also)}
            largest = max(named, key=lambda name: abs(rows.loc[name, scale.value]))
            assert abs(rows.loc[corpus, scale.value]) == abs(rows.loc[largest, scale.value])
            said |= named
        assert said == resolved
        if found.lead.startswith("No difference"):
            assert not resolved
    assert seen > 25


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
    answer_part = page[page.index('class="findings') : page.index('id="corpora"')]
    assert "Largest loss: Pancreas, 0 against 0.5" in answer_part
    assert not re.search(r"[+−][\d.]+\N{NO-BREAK SPACE}%", answer_part.split("</dl>")[0])
    assert "colour: difference, full from there on" in page
