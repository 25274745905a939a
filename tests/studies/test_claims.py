"""Published claims: estimates over replicates, the tables that are made of them, and what each study should have."""

import importlib
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from published import STUDIES, summarise
from repository import ROOT

claim = sys.modules["claim"]
corpus_pairs: Any = importlib.import_module("corpus_pairs")


def scores(**columns):
    table = {"corpus": "A", "model": "m", "task": "t", "target": "x", "metric": "f1", "way": "", "unit": "all"}
    n = max(len(values) for values in columns.values())
    return pd.DataFrame({**{name: [value] * n for name, value in table.items()}, **columns})


def test_an_estimate_is_students_interval_of_known_replicates():
    found = claim.Estimate.of(np.array([1.0, 2.0, 3.0, np.nan]))
    # t with two degrees of freedom has 4.303 at 97.5 %.
    assert (found.mean, found.n) == (2.0, 3)
    assert found.low == pytest.approx(2 - 4.3027 / np.sqrt(3), abs=1e-4)
    assert found.high == pytest.approx(2 + 4.3027 / np.sqrt(3), abs=1e-4)
    assert not found.above_zero
    assert claim.Estimate.of(np.array([-1.0, -1.1, -0.9])).below_zero


def test_one_replicate_has_no_interval_and_shows_nothing():
    found = claim.Estimate.of(np.array([5.0]))
    assert (found.mean, found.n) == (5.0, 1)
    assert not found.above_zero
    assert not found.below_zero
    assert str(found) == "5.000 no interval, n = 1"
    assert np.isnan(claim.Estimate.of(np.array([])).mean)


def estimate(mean, half):
    return claim.Estimate(mean, mean - half, mean + half, 5)


@pytest.mark.parametrize("at", [0.0, 0.85])
def test_a_pattern_is_seen_ruled_out_or_neither(at):
    for mean, half, verdict in (
        (0.1, 0.05, "pattern seen"),
        (-0.1, 0.05, "not seen"),
        (0.0, 0.01, "not seen"),
        (0.0, 0.1, "undecided"),
        (0.1, 0.2, "undecided"),
    ):
        assert claim.above(estimate(at + mean, half), at) == verdict
        assert claim.below(estimate(at - mean, half), at) == verdict
    assert claim.above(claim.Estimate.of(np.array([5.0])), at) == "undecided"


def test_an_absence_is_seen_only_where_a_gain_is_ruled_out():
    for mean, half, verdict in (
        (0.0, 0.01, "pattern seen"),
        (-0.5, 0.1, "pattern seen"),
        (0.0, 0.1, "undecided"),
        (0.1, 0.05, "not seen"),
        (0.012, 0.01, "not seen"),
    ):
        found = estimate(mean, half)
        assert claim.no_gain(found) == verdict
        assert claim.no_loss(estimate(-mean, half)) == claim.no_gain(found)
    assert claim.no_gain(claim.Estimate.of(np.array([-5.0]))) == "undecided"


def test_an_artefact_needs_a_difference_that_is_shown():
    verdicts = {
        ("pattern seen", True, True): "pattern seen",
        ("pattern seen", False, True): "artefact",
        ("pattern seen", False, False): "undecided",
        ("not seen", False, True): "not seen",
        ("undecided", False, True): "undecided",
    }
    for (published, still, removed), verdict in verdicts.items():
        assert claim.unless_confounded(published, still=still, removed=removed) == verdict


def test_corpora_are_compared_over_replicates_next_to_cells():
    rng, rows = np.random.default_rng(0), []
    for corpus, level in (("A", 0.0), ("B", 0.0), ("C", 1.0)):
        for seed in range(4):
            # All cells of a training are off by the same.
            cells = level + rng.normal(scale=0.1) + rng.normal(scale=0.001, size=50)
            rows += [(corpus, seed, f"cell={at}", value) for at, value in enumerate(cells)]
            rows.append((corpus, seed, "all", cells.mean()))
    corpus, seed, unit, value = zip(*rows, strict=True)
    table = scores(corpus=list(corpus), seed=list(seed), unit=list(unit), value=list(value))
    pairs = corpus_pairs.compared(table, task="t", metric="f1", way="").set_index(["corpus", "other"])
    assert pairs.loc[("A", "B"), "significant_over_cells"] == 1
    assert pairs.loc[("A", "B"), "p_holm"] > 0.05 > pairs.loc[("A", "C"), "p_holm"]
    assert pairs.loc[("A", "C"), "low"] < pairs.loc[("A", "C"), "difference"] < -0.5
    counts = corpus_pairs.of_targets(pairs.reset_index()).iloc[0]
    assert list(counts[1:]) == [3, 3, 2]


def test_differences_are_paired_by_seed():
    table = scores(corpus=["A", "A", "B", "B"], seed=[0, 1, 1, 0], value=[1.0, 2.0, 1.5, 0.25])
    found = claim.difference(table, {"corpus": "A"}, {"corpus": "B"}, metric="f1")
    assert found.mean == pytest.approx(np.mean([0.75, 0.5]))


def test_scores_that_are_not_there_or_not_told_apart_are_refused():
    table = scores(corpus=["A", "B"], seed=[0, 0], value=[1.0, 2.0])
    with pytest.raises(ValueError, match="no score has"):
        claim.values(table, corpus="C")
    with pytest.raises(ValueError, match="differ in corpus"):
        claim.values(table, metric="f1")


def test_a_table_has_a_row_for_each_claim_whatever_its_texts():
    estimate = claim.Estimate.of(np.array([1.0, 1.1, 0.9]))
    odd = claim.Claim(
        "A | B", "Of <b>p</b> & *q* in [x](y.md)", "`c`_d_\nnext", estimate, "not seen", "Back\\slash | end."
    )
    *lines, _, foot = summarise.table(summarise.Said([odd, odd], {}, (1.0, 1.26))).splitlines()
    assert foot.endswith("by 1.0 to 1.3 times.")
    assert len(lines) == 4
    for line in lines:
        assert len(re.findall(r"(?<!\\)\|", line)) == 5
    rendered = pytest.importorskip("markdown_it").MarkdownIt().enable("table").render("\n".join(lines))
    assert rendered.count("<td>") == 8
    for shown in ("A | B", "&lt;b&gt;p&lt;/b&gt; &amp; *q* in [x](y.md)", "`c`_d_ next", "Back\\slash | end."):
        assert shown in rendered
    assert (
        re.findall(r"<(\w+)", rendered.partition("<tbody>")[2])
        == ["tr", *["td", "strong", "td", "td", "strong", "td"]] * 2
    )


def test_what_a_verdict_stands_to_is_how_much_wider_intervals_may_be(tmp_path):
    pd.DataFrame({"corpus": ["A", "A", "B"], "overlap": [0.1, 0.5, np.nan]}).to_parquet(tmp_path / "draws.parquet")
    run = SimpleNamespace(folder=tmp_path, scores=pd.DataFrame({"seed": [0, 1, 2]}))

    def asked():
        # Student's interval of three: half of it is 0.248.
        of = {name: claim.Estimate.of(np.array([0.9, 1.0, 1.1]) - less) for name, less in (("far", 0.0), ("near", 0.5))}
        of["none"] = claim.Estimate.of(np.array([-1.0, 1.0]))
        return [claim.Claim(name, "p", "m", one, claim.above(one), "b") for name, one in of.items()]

    found = summarise.said(asked, [run])
    assert found.stands_to == {"far": 4.0, "near": 2.0}
    assert found.reports == pytest.approx((1.0, 2.0))
    assert "| × 2 |" in summarise.table(found)
    assert "| × 4 or more |" in summarise.table(found)
    # Nothing is left wider than it was.
    assert found.claims[0].estimate == claim.Estimate.of(np.array([0.9, 1.0, 1.1]))


def test_each_published_study_has_its_files_page_and_table():
    studies = summarise.published_studies()
    assert studies
    for study in studies:
        assert summarise.small_files(study)
        assert [*(STUDIES / study).glob("full*.toml")]
        page = (ROOT / "docs" / "published" / f"{study}.md").read_text(encoding="utf-8")
        assert f"claims/{study}.md" in page
        written = (ROOT / "docs" / "published" / "claims" / f"{study}.md").read_text(encoding="utf-8")
        assert re.match(r"\| published \| measured here \| .*\|\n\|---\|---\|---\|---\|\n\| \*\*", written)
        assert written in (ROOT / "docs" / "published" / "claims" / "all.md").read_text(encoding="utf-8")


def test_the_glance_counts_each_claim_once():
    tables = ROOT / "docs" / "published" / "claims"
    written = (tables / "glance.md").read_text(encoding="utf-8")
    assert written == summarise.glance(summarise.published_studies())
    counted = [int(number) for number in re.findall(r"\| (\d+) (?=\|)", written)]
    assert sum(counted) == (tables / "all.md").read_text(encoding="utf-8").count("\n| **")


def test_ruff_looks_at_studies():
    command = [sys.executable, "-m", "ruff", "check", "--show-files", str(ROOT)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for path in STUDIES.rglob("*.py"):
        assert str(path) in shown
