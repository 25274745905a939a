"""Rows of weights and scores are paired by what names them, or refused; what is no argument is refused in words."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from corpuscle.cli import app
from corpuscle.core.errors import InputError
from corpuscle.mixture import Utility, assess, caps_of, fit
from corpuscle.mixture.matching import matched
from corpuscle.mixture.simplex import checked_caps

QUICK = ("linear",)
ROWS = np.random.default_rng(0).dirichlet(np.ones(3), 6)
WEIGHTS = pd.DataFrame(ROWS, [f"r{at}" for at in range(6)], ["blood", "lung", "skin"])
SCORES = pd.DataFrame({"loss": np.arange(6.0)}, WEIGHTS.index)


def test_names_of_rows_pair_them_and_numbers_that_nobody_gave_do_not() -> None:
    shuffled = SCORES.iloc[::-1]
    assert matched(WEIGHTS, shuffled)[0].index.tolist() == shuffled.index.tolist()
    assert matched(WEIGHTS, shuffled["loss"])[0].index.tolist() == shuffled.index.tolist()
    # Two seeds of one mixture, and a mixture without a score.
    twice = SCORES.iloc[[1, 1, 2]]
    assert matched(WEIGHTS, twice)[0].index.tolist() == ["r1", "r1", "r2"]
    for one, other in (
        (WEIGHTS, SCORES.reset_index(drop=True)),
        (WEIGHTS.reset_index(drop=True), SCORES),
        (WEIGHTS.reset_index(drop=True).iloc[1:], SCORES.reset_index(drop=True).iloc[:5]),
        (WEIGHTS, SCORES.to_numpy()),
    ):
        taken, scores = matched(one, other)
        assert (taken.index == one.index).all()
        assert scores["loss" if isinstance(other, pd.DataFrame) else "output 1"].tolist() == list(range(len(other)))


@pytest.mark.parametrize(
    "index", [["r1", "r2", "r3", "r4", "r5", "r6"], list("abcdef"), ["r0", "r0", "r1", "r2", "r3", "x"]]
)
def test_names_of_rows_that_differ_are_refused(index: list[str]) -> None:
    with pytest.raises(InputError, match=r"have names .* which differ"):
        fit(WEIGHTS, SCORES.set_axis(index), surrogates=QUICK)
    with pytest.raises(InputError, match="have names"):
        fit(WEIGHTS, SCORES["loss"].set_axis(index), surrogates=QUICK)


def test_a_source_and_an_output_may_have_one_name() -> None:
    ids = [f"r{at}" for at in range(6)]
    weights = WEIGHTS.reset_index(drop=True).assign(run=ids, index=range(6))
    scores = pd.DataFrame({"blood": [1.5, 2, 3, 4, 5, 6], "run": ids, "index": range(6), "note": list("abcdef")})
    for key in (["run"], ["index"], ["run", "index"]):
        drop = [name for name in ("run", "index") if name not in key]
        taken, left = matched(weights.drop(columns=drop), scores.drop(columns=[*drop, "note"]).iloc[::-1])
        assert list(taken) == ["blood", "lung", "skin"]
        assert list(left) == ["blood"]
        assert taken["blood"].tolist() == ROWS[::-1, 0].tolist()
    # Without a name of the runs, by order.
    taken, left = matched(weights[["blood", "lung", "skin"]], scores[["blood"]])
    assert (list(taken), list(left)) == (["blood", "lung", "skin"], ["blood"])
    # Numbers of cells, whole ones, and a score of whole numbers.
    amounts = (1000 * weights[["blood", "lung", "skin"]]).round().assign(run=ids)
    taken, left = matched(amounts, pd.DataFrame({"run": ids, "blood": range(6)}))
    assert (list(taken), list(left)) == (["blood", "lung", "skin"], ["blood"])
    with pytest.raises(InputError, match="rename one"):
        matched(amounts.drop(columns="run"), pd.DataFrame({"blood": range(6)}))
    # Other columns that name runs are neither.
    taken, left = matched(amounts.assign(note=list("fedcba")), scores.drop(columns="index"))
    assert (list(taken), list(left)) == (["blood", "lung", "skin"], ["blood"])


def test_one_mixture_is_predicted_by_names() -> None:
    fitted = fit(WEIGHTS, SCORES, surrogates=QUICK)
    expected = np.asarray(fitted.predict([[0.5, 0.2, 0.3]]).mean)
    assert np.allclose(fitted.predict(pd.Series({"skin": 0.3, "blood": 0.5, "lung": 0.2})).mean, expected)
    assert np.allclose(fitted.predict(pd.Series([0.5, 0.2, 0.3])).mean, expected)
    for wrong in (
        pd.Series({"heart": 0.5, "blood": 0.5}),
        pd.Series({"blood": 0.5, "lung": 0.2}),
        pd.Series([0.5, 0.5], ["blood", "blood"]),
        pd.DataFrame([[0.5, 0.5]], columns=["blood", "blood"]),
        [[0.5, 0.5], [1.0]],
    ):
        with pytest.raises(InputError):
            fitted.predict(wrong)


@pytest.mark.parametrize("level", ["a", None, True, float("nan"), 1, 0, [0.9]])
def test_what_is_no_level_is_refused(level: object) -> None:
    with pytest.raises(InputError, match="level: expected a share"):
        fit(WEIGHTS, SCORES, surrogates=QUICK).predict(ROWS, level)  # type: ignore[arg-type]


@pytest.mark.parametrize("better", [None, 3, ["lower"], {"loss": None}])
def test_what_is_no_direction_is_refused(better: object) -> None:
    with pytest.raises(InputError, match="better: expected lower or higher"):
        fit(WEIGHTS, SCORES, better=better, surrogates=QUICK)  # type: ignore[arg-type]


@pytest.mark.parametrize("surrogates", [("linear", "linear"), "linear", (), (3,), None, 5])
def test_what_is_no_list_of_surrogates_is_refused(surrogates: object) -> None:
    with pytest.raises(InputError, match="surrogates: expected a list of names"):
        fit(WEIGHTS, SCORES, surrogates=surrogates)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("caps", "said"),
    [
        ({"blood": 2}, "for blood; got 2"),
        ([0.5, 1, 20], "for skin; got 20"),
        ({"blood": -1}, "for blood"),
        ({"blood": float("nan")}, "for blood"),
        ({"blood": "much"}, "expected shares"),
        ([0.5], "one for each of 3"),
        ({"heart": 1}, "no source 'heart'"),
    ],
)
def test_caps_that_are_no_shares_are_refused(caps: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        checked_caps(caps, ("blood", "lung", "skin"))  # type: ignore[arg-type]


def test_caps_that_are_too_small_say_what_can_be_done() -> None:
    with pytest.raises(InputError, match=r"raise some of them$"):
        assess(fit(WEIGHTS, SCORES, surrogates=QUICK), Utility(), caps=[0.2, 0.2, 0.2])
    with pytest.raises(InputError, match="allow more repeats, or make the corpus smaller"):
        caps_of({"blood": 10, "lung": 10}, n_cells=1000)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cells=blood=10"], "nothing is said of lung, skin"),
        (["--cells=heart=10"], "no source 'heart'"),
        (["--cap=blood=2"], "expected a share from 0 to 1"),
        (["--of=loss=0"], "no output has a weight above 0"),
    ],
)
def test_options_of_the_command_are_checked(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "weights.csv", tmp_path / "scores.csv"
    WEIGHTS.to_csv(one, index=False)
    SCORES.to_csv(other, index=False)
    monkeypatch.setattr(
        "corpuscle.mixture.fitting.fit.__kwdefaults__", {**(fit.__kwdefaults__ or {}), "surrogates": QUICK}
    )
    done = CliRunner().invoke(app, ["mixture", str(one), str(other), *options])
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)
