"""What the page says of trainings: which had not converged, which diverged, and that an answer rests on them."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from corpuscle.report.page.render import render
from corpuscle.report.page.run_folder import OPTIONAL
from corpuscle.report.sections.fits import Fits

CORPORA = ("Blood", "Blood+Pancreas", "Pancreas")


def test_a_page_without_flagged_runs_says_so(make_run: Callable[..., Path]) -> None:
    page = render(make_run(corpora=CORPORA, seeds=2)).read_text(encoding="utf-8")
    assert "Of 6 trainings, none is known to have ended too early" in page
    assert "had not converged" not in page
    assert "diverged" not in page


def test_flagged_runs_are_shown_and_the_answer_says_that_it_rests_on_them(make_run: Callable[..., Path]) -> None:
    folder = make_run(corpora=CORPORA, seeds=2)
    curves = pd.read_parquet(folder / "curves.parquet")
    late = (curves["corpus"] == "Pancreas") & (curves["seed"] == 1)
    curves.loc[late, "value"] += 4000 - curves.loc[late, "step"]
    curves.to_parquet(folder / "curves.parquet")
    fits = pd.read_parquet(folder / "fits.parquet")
    fits.loc[(fits["corpus"] == "Blood+Pancreas") & (fits["seed"] == 0), "r2_log"] = 0.1
    fits.to_parquet(folder / "fits.parquet")
    page = render(folder).read_text(encoding="utf-8")
    answer, training = page[: page.index('id="scores"')], page[page.index('id="training"') :]
    assert "1 of 6 trainings had not converged: more steps may change the answer" in answer
    assert "1 of 6 fits diverged and are left out" in answer
    assert "1 of 6 trainings had not converged: over the last fifth" in training
    assert re.search("not converged: Negative ELBO fell by (79|80)[0-9] over the last fifth", training)
    assert "1 of 6 fits diverged: their scores are left out of all means" in training
    assert "R² (log) is 0.100 (0.500)" in training


def test_an_answer_is_told_of_its_own_models_only() -> None:
    steps = np.arange(10, 510, 10)
    curve = {"corpus": "A", "seed": 0, "step": steps, "epoch": 0.0, "quantity": "elbo_validation", "title": ""}
    curves = pd.concat(
        [
            pd.DataFrame({**curve, "model": "short", "value": 1000.0 - steps}),
            pd.DataFrame({**curve, "model": "long", "value": 1000.0}),
        ]
    )
    fits = Fits.of(curves, pd.DataFrame(columns=list(OPTIONAL["fits"])))
    assert fits.remarks(["long"]) == []
    assert fits.remarks(["short", "long"]) == [
        "1 of 2 trainings had not converged: more steps may change the answer (see Training)."
    ]
    assert Fits.of(curves.iloc[:0], fits.checks).sentences == []
