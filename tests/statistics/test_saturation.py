"""Learning curves and saturation: known curves are found, verdicts are only what the data show, intervals cover."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import least_squares

from corpuscle.core.errors import InputError
from corpuscle.statistics.exchange import exchange_rates
from corpuscle.statistics.ladders import DONORS, learning_curves, saturation
from corpuscle.statistics.learning_curves import akaike_weights, fit_laws, fit_power_law
from corpuscle.statistics.mean_draws import Runs, deviations
from corpuscle.statistics.saturation import Ladder, Learned, Settings, learn, published_rule
from repository import ROOT

REFERENCE = ROOT.parent / "shared" / "reference" / "saturation_ssl_hematopoiesis.csv"
SIZES = np.array([100.0, 300, 1000, 3000, 10_000])
QUICK = Settings(n_draws=300)


def power(sizes: np.ndarray, exponent: float, top: float = 0.9, fall: float = 0.4) -> np.ndarray:
    return np.asarray(top - fall * (sizes / sizes[0]) ** -exponent)


def noisy(means: np.ndarray, sd: float, seed: int = 0, n: int = 5) -> np.ndarray:
    return np.asarray(means + sd * np.random.default_rng(seed).standard_normal((n, len(means))))


def judged(means: np.ndarray, sd: float, sizes: np.ndarray = SIZES, seed: int = 0, n: int = 5) -> Learned:
    ladder = Ladder(sizes, Runs(noisy(means, sd, seed, n), shared=False), ceiling=1.0)
    return learn(ladder, np.random.default_rng(0), QUICK)


def table(values_RS: np.ndarray, sizes: np.ndarray = SIZES, **columns: object) -> tuple[pd.DataFrame, np.ndarray]:
    n_seeds = len(values_RS)
    frame = pd.DataFrame({"seed": np.repeat(np.arange(n_seeds), len(sizes)), "value": values_RS.ravel()})
    return frame.assign(model="m", metric="f1", **columns), np.tile(sizes, n_seeds)


# The published rule.


def test_one_lucky_run_decides_the_published_rule_and_the_line_itself_does_not_count() -> None:
    sizes = [0, 1, 1, 10, 10, 100, 100]
    values = [2.0, 0.1, 0.95, 0.9, 0.951, 0.5, 1.0]
    assert published_rule(values, sizes) == 10
    assert published_rule(values, sizes, of_means=True) == 10
    assert published_rule([*values[:4], 0.94, *values[5:]], sizes) == 100
    assert np.isnan(published_rule([], []))
    assert np.isnan(published_rule([-1.0, -2.0], [1, 10]))


@pytest.mark.skipif(not REFERENCE.exists(), reason="the published runs are not here")
def test_the_published_rule_gives_the_published_points_of_the_published_runs() -> None:
    runs = pd.read_csv(REFERENCE)
    found = saturation(runs, runs["percentage"], by=["sampler"], settings=QUICK).set_index("sampler")
    order = ["celltype_reweighted", "geometric_sketching", "random"]
    assert found.loc[order, "published"].tolist() == [10, 25, 10]
    assert found.loc[order, "published_of_means"].tolist() == [50, 75, 25]
    assert not (found["status"] == "saturated").any()


# Fits.


def test_exact_curves_give_their_parameters_and_n95() -> None:
    for exponent in (0.1, 0.5, 1.5):
        fit = fit_power_law(power(SIZES, exponent), SIZES, np.ones(5))
        assert fit.converged.all()
        assert not fit.at_edge.any()
        np.testing.assert_allclose([fit.asymptote[0], fit.fall[0, 0], fit.exponent[0]], [0.9, 0.4, exponent], rtol=1e-4)
        np.testing.assert_allclose(fit.size_at(np.array([0.02])), 100 * 20 ** (1 / exponent), rtol=1e-3)


@pytest.mark.parametrize("ceiling", [np.inf, 0.9])
def test_fits_are_as_good_as_those_of_scipy_from_many_starts(ceiling: float) -> None:
    weights = np.array([5.0, 5, 4, 5, 3])
    drawn = noisy(power(SIZES, 0.4), 0.03, n=12)
    fit = fit_power_law(drawn, SIZES, weights, ceiling=ceiling)
    assert (fit.asymptote <= ceiling).all()

    def best(values: np.ndarray) -> float:
        def off(p: np.ndarray) -> np.ndarray:
            return np.asarray(np.sqrt(weights) * (values - p[0] + p[1] * (SIZES / 100) ** -p[2]))

        ends = ([-9, 0, 0.05], [min(ceiling, 99), 99, 2])
        return min(
            2 * least_squares(off, [0.85, 0.4, start], bounds=ends, xtol=1e-12, ftol=1e-12, gtol=1e-12).cost
            for start in (0.1, 0.5, 1.5)
        )

    np.testing.assert_allclose(fit.rss, [best(values) for values in drawn], rtol=1e-5, atol=1e-12)


def test_rough_fits_of_many_draws_differ_little_from_fine_ones() -> None:
    drawn = noisy(power(SIZES, 0.6), 0.02, n=150)
    rough, fine = fit_power_law(drawn, SIZES, np.ones(5)), fit_power_law(drawn[:50], SIZES, np.ones(5))
    np.testing.assert_allclose(rough.exponent[:50], fine.exponent, rtol=1e-3)


def test_a_curve_that_falls_is_a_constant() -> None:
    fit = fit_power_law([0.9, 0.8, 0.7, 0.6, 0.5], SIZES, np.ones(5))
    assert fit.fall.item() == 0
    assert fit.asymptote.item() == pytest.approx(0.7)


def test_depths_share_their_asymptote_and_have_slopes_of_their_own() -> None:
    sizes, groups = np.tile(SIZES, 2), np.repeat([0, 1], 5)
    fit = fit_power_law(0.9 - np.array([0.4, 0.6])[groups] * (sizes / 100) ** -0.5, sizes, np.ones(10), groups=groups)
    np.testing.assert_allclose(fit.fall[0], [0.4, 0.6], rtol=1e-4)


@pytest.mark.parametrize(
    ("law", "means"),
    [("power", power(SIZES, 1.0)), ("log", 0.2 + 0.1 * np.log10(SIZES)), ("constant", np.full(5, 0.5))],
)
def test_the_true_law_weighs_most(law: str, means: np.ndarray) -> None:
    runs = Runs(noisy(means, 0.004), shared=False)
    laws = fit_laws(runs.means, SIZES, np.full(5, 5.0))
    shares = akaike_weights({name: rss[0] + runs.within for name, rss in laws.rss.items()}, 25)
    assert max(shares, key=lambda name: shares[name]) == law
    assert sum(shares.values()) == pytest.approx(1)
    np.testing.assert_allclose(laws.at(SIZES, shares)[0], means, atol=0.01)


def test_two_runs_bear_a_mean_and_no_law() -> None:
    found = saturation(pd.DataFrame({"metric": "f1", "seed": [0, 1], "value": [0.2, 0.4]}), [10, 100]).iloc[0]
    assert (found["power"], found["log"], found["constant"]) == (0, 0, 1)
    assert found["status"] == "undetermined"
    assert "2 sizes" in found["reason"]


# Verdicts.


def test_a_curve_that_ends_within_the_data_is_saturated_where_it_is_shown() -> None:
    found = judged(power(SIZES, 1.2), 0.004)
    assert found.status == "saturated"
    assert found.equivalent_from == 3000
    assert found.n95.low < 100 * 20 ** (1 / 1.2) < found.n95.high < 10_000


def test_no_difference_found_is_not_saturation() -> None:
    found = judged(power(SIZES, 1.2), 0.05)
    values = found.ladder.runs.values
    assert abs(values[:, -1].mean() - values[:, -2].mean()) < 0.05
    assert found.status != "saturated"
    assert np.isnan(found.equivalent_from)


def test_a_curve_that_still_rises_is_not_saturated_and_one_that_may_is_censored() -> None:
    rising, maybe = judged(power(SIZES, 0.2), 0.004), judged(power(SIZES, 0.65), 0.01)
    assert rising.status == "not saturated"
    assert rising.n95.low > 10_000
    assert maybe.status == "censored"
    assert maybe.n95.low < 10_000 < maybe.n95.high


@pytest.mark.parametrize(
    ("means", "sizes", "n", "reason"),
    [
        (np.full(5, 0.5), SIZES, 5, "no gain is shown"),
        (power(SIZES, 0.7)[::-1], SIZES, 5, "gets worse"),
        (power(SIZES[:3], 0.7), SIZES[:3], 5, "3 sizes: .* needs 4"),
        (power(SIZES, 0.7), SIZES, 2, "2 seeds at 100 cells"),
        (np.array([0.2, 0.2, 0.2, 0.9, 0.9]), SIZES, 5, "too far from a power law"),
    ],
)
def test_what_cannot_be_said_is_undetermined_and_has_no_n95(
    means: np.ndarray, sizes: np.ndarray, n: int, reason: str
) -> None:
    found = judged(means, 0.01, sizes, n=n)
    assert found.status == "undetermined"
    assert pytest.approx(found.n95, nan_ok=True) == [np.nan] * 3
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.reason)


def test_the_same_result_at_all_seeds_has_no_interval() -> None:
    assert "one replicate" in judged(power(SIZES, 0.7), 0.0).reason


def test_a_share_ends_at_1_and_an_error_at_0() -> None:
    rising = noisy(0.7 + 0.05 * np.log10(SIZES / 100), 0.01)
    share, size = table(rising, better="higher", scale="share")
    error = share.assign(value=1 - share["value"], better="lower")
    free = share.assign(scale="real")
    top, bottom, unbounded = (saturation(one, size, settings=QUICK).iloc[0] for one in (share, error, free))
    assert unbounded["asymptote"] > 1
    assert top["asymptote"] == 1
    assert bottom["asymptote"] == pytest.approx(0, abs=1e-12)
    assert top["gain"] == pytest.approx(bottom["gain"])
    assert (top["n95"], top["status"]) == (bottom["n95"], bottom["status"])
    assert np.isnan(bottom["published"])


def test_gains_are_counted_from_untrained_models_in_the_table_or_of_a_name() -> None:
    trained, size = table(noisy(power(SIZES, 0.7), 0.01))
    untrained = pd.DataFrame({"seed": range(5), "value": 0.3 + 0.01 * np.arange(5), "model": "m", "metric": "f1"})
    both = pd.concat([trained, untrained], ignore_index=True)
    of_size_0 = saturation(both, np.append(size, np.zeros(5)), settings=QUICK).iloc[0]
    named = pd.concat([trained, *(untrained.assign(model="never", value=untrained["value"] + shift)
                                  for shift in (-0.1, 0.1))])  # fmt: skip
    sizes = np.concatenate([size, np.full(5, 100), np.full(5, 300)])
    of_model = saturation(named, sizes, starts={"m": "never"}, settings=QUICK).set_index("model").loc["m"]
    of_smallest = saturation(trained, size, settings=QUICK).iloc[0]
    assert (of_size_0["start"], of_model["start"], of_smallest["start"]) == ("untrained", "never", "100 cells")
    assert of_size_0["gain"] == pytest.approx(of_model["gain"])
    assert of_size_0["gain"] == pytest.approx(of_smallest["gain"] + trained["value"][size == 100].mean() - 0.32)
    # A larger gain leaves more room for what is still missing.
    assert of_size_0["n95"] < of_smallest["n95"]


# Draws.


def test_draws_scatter_as_student_says_and_seeds_that_are_shared_stay_together() -> None:
    common = np.random.default_rng(3).standard_normal((5, 1)) + np.zeros((5, 4))
    apart, paired = (
        deviations(Runs(common, shared), 0.9, 20_000, np.random.default_rng(0)) for shared in (False, True)
    )
    error = common[:, 0].std(ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(paired[:, 0].std(), error * stats.t.ppf(0.95, 4) / 1.645, rtol=0.03)
    np.testing.assert_allclose(apart[:, 0].std(), error * stats.t.ppf(0.95, 16 / 3) / 1.645, rtol=0.03)
    assert (paired[:, 0] == paired[:, 1]).all()
    assert abs(np.corrcoef(apart[:, :2].T)[0, 1]) < 0.05


def test_donors_widen_the_mean_over_donors_and_too_few_are_left_out() -> None:
    values = noisy(power(SIZES, 0.9), 0.01)
    frame, size = table(values, unit="all")
    rng = np.random.default_rng(5)
    donors = [
        frame.assign(unit=f"donor={at}", value=frame["value"] + 0.08 * rng.standard_normal(5)[np.tile(range(5), 5)])
        for at in range(6)
    ]
    whole = pd.concat([frame, *donors], ignore_index=True)
    found = saturation(whole, np.tile(size, 7), settings=QUICK).set_index("unit")
    width = found["gain_high"] - found["gain_low"]
    assert list(found.index) == ["all", DONORS]
    assert width[DONORS] > 2 * width["all"]
    few = whole[~whole["unit"].isin(["donor=0", "donor=1"])]
    assert saturation(few, np.tile(size, 5), settings=QUICK)["unit"].tolist() == ["all"]


def test_a_row_is_the_same_whatever_else_is_in_the_table() -> None:
    frame, size = table(noisy(power(SIZES, 0.7), 0.01))
    other = frame.assign(metric="r2", value=frame["value"] ** 2)
    together = saturation(pd.concat([other, frame]), np.tile(size, 2), settings=QUICK)
    alone = saturation(frame, size, settings=QUICK)
    pd.testing.assert_frame_equal(together[together["metric"] == "f1"].reset_index(drop=True), alone)


def test_a_table_that_cannot_be_read_is_bad_input() -> None:
    frame, size = table(noisy(power(SIZES, 0.7), 0.01))
    with pytest.raises(InputError, match="there is no seed"):
        saturation(frame.drop(columns="seed"), size)
    with pytest.raises(InputError, match="a number of cells, 0 or more, for each of the 25 rows"):
        saturation(frame, -size)
    with pytest.raises(InputError, match="one value per seed and size, got two"):
        saturation(pd.concat([frame, frame]), np.tile(size, 2))
    with pytest.raises(InputError, match="numbers in the column 'value'"):
        saturation(frame.assign(value="high"), size)
    with pytest.raises(InputError, match="one of higher, lower, zero, none"):
        saturation(frame.assign(better="Higher"), size)
    with pytest.raises(InputError, match="one way to be better for each curve"):
        saturation(frame.assign(better=["lower", *["higher"] * 24]), size)
    assert saturation(frame, np.full(25, np.nan)).empty
    assert learning_curves(frame.assign(better="none"), size) == []


@pytest.mark.parametrize("shared", [False, True])
def test_intervals_cover_what_is_true(shared: bool) -> None:
    """Nine of ten; with 80 ladders chance alone gives 84 to 96 %. `benchmarks/learning_curves.py` has it in full."""
    rng = np.random.default_rng(11)
    truth, hits = 100 * 20 ** (1 / 0.9), []
    for _ in range(80):
        common = np.sqrt(0.5) if shared else 0.0
        noise = np.sqrt(1 - common**2) * rng.standard_normal((5, 5)) + common * rng.standard_normal((5, 1))
        found = learn(Ladder(SIZES, Runs(power(SIZES, 0.9) + 0.02 * noise, shared)), rng, QUICK)
        hits.append(found.n95.low <= truth <= found.n95.high)
    assert 0.82 <= np.mean(hits) <= 0.97


# Cells against depth.


def depths(times: float, sd: float = 0.005, lower_end: float = 0.0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    full = noisy(power(SIZES, 0.5), sd)
    thin = noisy(0.9 - lower_end - 0.4 * (SIZES / times / 100) ** -0.5, sd, seed=1)
    frames = [table(values)[0] for values in (full, thin)]
    size = np.tile(SIZES, 10)
    return pd.concat(frames, ignore_index=True), size, np.repeat([1.0, 0.5], 25)


def test_the_exchange_rate_of_depth_is_found() -> None:
    found = exchange_rates(*depths(2.5), settings=QUICK).iloc[0]
    assert found["fewer_low"] < 2.5 < found["fewer_high"] < 3.5
    assert found["says"].startswith("Halving depth costs as much as 2.")


def test_what_depth_is_worth_is_not_said_where_it_is_not_known() -> None:
    assert "No cost of depth is shown" in exchange_rates(*depths(1.0), settings=QUICK)["says"].item()
    assert "one number does not describe" in exchange_rates(*depths(1.0, 0.002, 0.2), settings=QUICK)["says"].item()
    assert "no upper end within the ladder" in exchange_rates(*depths(300.0, 0.03), settings=QUICK)["says"].item()
    frame, size, depth = depths(2.0)
    flat = exchange_rates(frame.assign(value=0.5 + 0.01 * np.tile([1, -1], 25)), size, depth, settings=QUICK)
    assert "no gain with cells is shown" in flat["says"].item()
    few = frame["seed"] < 2
    assert "3 seeds of each are needed" in exchange_rates(frame[few], size[few], depth[few])["says"].item()
    with pytest.raises(InputError, match="a share above 0 and up to 1"):
        exchange_rates(frame, size, depth * 3)
