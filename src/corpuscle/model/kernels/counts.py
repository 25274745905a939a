"""One sweep over decoded cells: the likelihood of their counts and its slopes in every logit, compiled with numba.

A cell's row of genes is read and written while it lies in the processor's cache, with one exp and one log per entry;
whatever needs a gamma function is done at the nonzero counts only, and from tables where they are small whole numbers.
The loops over genes are written so that the compiler makes vector code of them: `_exp` and `_log` are polynomials
(Cephes' coefficients, S. L. Moshier; relative error about 1e-7), as the C library's functions cannot be vectorised.

Axes in names: C cells, G genes, X small counts; "nz" runs over nonzeros.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Gamma terms of counts below this are tabulated: of nearly all in a single-cell matrix.
TABULATED = 16

# Sums may be reordered, or they could not be vectorised; exp and log live from the order of their roundings.
SUMS, EXACT = {"contract", "reassoc", "nsz"}, {"contract"}
WORD, SINGLE = ir.IntType(32), ir.FloatType()

f = np.float32
ZERO, HALF, ONE = f(0), f(0.5), f(1)
LOG2_E, LN2_HIGH, LN2_LOW = f(1.44269504), f(0.693359375), f(-2.12194440e-4)
# Adding 1.5 · 2^23 and taking it away rounds to a whole number.
ROUND = f(12582912)
# Beyond these, e^x is no normal 32-bit number.
LOWEST, HIGHEST = f(-87.3), f(88.7)
E0, E1, E2 = f(1.9875691500e-4), f(1.3981999507e-3), f(8.3334519073e-3)
E3, E4, E5 = f(4.1665795894e-2), f(1.6666665459e-1), f(5.0000001201e-1)
L0, L1, L2 = f(7.0376836292e-2), f(-1.1514610310e-1), f(1.1676998740e-1)
L3, L4, L5 = f(-1.2420140846e-1), f(1.4249322787e-1), f(-1.6668057665e-1)
L6, L7, L8 = f(2.0000714765e-1), f(-2.4999993993e-1), f(3.3333331174e-1)


@intrinsic
def _power_of_two(_: Any, whole: Any) -> Any:
    """Return 2^n of a whole number that is held as a float, n in -126 … 127: its bits are the exponent's."""

    def codegen(_: Any, builder: Any, __: Any, args: Any) -> Any:
        biased = builder.add(builder.fptosi(args[0], WORD), ir.Constant(WORD, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(WORD, 23)), SINGLE)

    return types.float32(whole), codegen


def _from_root_half(builder: Any, number: Any) -> Any:
    """Return a float's bits counted from those of √½, so that mantissas run over [√½, √2)."""
    return builder.sub(builder.bitcast(number, WORD), ir.Constant(WORD, 0x3F3504F3))


@intrinsic
def _exponent(_: Any, number: Any) -> Any:
    """Return e of number = m · 2^e, m in [√½, √2), as a float."""

    def codegen(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.sitofp(builder.ashr(_from_root_half(builder, args[0]), ir.Constant(WORD, 23)), SINGLE)

    return types.float32(number), codegen


@intrinsic
def _mantissa(_: Any, number: Any) -> Any:
    """Return m of number = m · 2^e, m in [√½, √2)."""

    def codegen(_: Any, builder: Any, __: Any, args: Any) -> Any:
        kept = builder.and_(_from_root_half(builder, args[0]), ir.Constant(WORD, 0x007FFFFF))
        return builder.bitcast(builder.add(kept, ir.Constant(WORD, 0x3F3504F3)), SINGLE)

    return types.float32(number), codegen


@njit(fastmath=EXACT, forceinline=True)
def _exp(x: Any) -> Any:
    """Return e^x; 0 (nearly: 1e-38) far below, never infinite."""
    x = min(max(x, LOWEST), HIGHEST)
    whole = (x * LOG2_E + ROUND) - ROUND
    r = (x - whole * LN2_HIGH) - whole * LN2_LOW
    p = ((((E0 * r + E1) * r + E2) * r + E3) * r + E4) * r + E5
    return (p * (r * r) + r + ONE) * _power_of_two(whole)


@njit(fastmath=EXACT, forceinline=True)
def _log(x: Any) -> Any:
    """Return ln x of a positive normal number."""
    e, r = _exponent(x), _mantissa(x) - ONE
    square = r * r
    p = (((((((L0 * r + L1) * r + L2) * r + L3) * r + L4) * r + L5) * r + L6) * r + L7) * r + L8
    return r + (p * r * square + e * LN2_LOW - HALF * square) + e * LN2_HIGH


@njit(fastmath=EXACT, forceinline=True)
def _log1p(x: Any, above: Any, inverse: Any) -> Any:
    """Return ln(1 + x), given 1 + x as it rounds and its inverse: what the rounding lost is put back."""
    return _log(above) + (x - (above - ONE)) * inverse


@njit(forceinline=True)
def _digamma(x: Any) -> Any:
    """Return the logarithmic derivative of Γ at x > 0: recurrence to 6, then the asymptotic series (DLMF 5.11.2)."""
    shifted = 0.0
    while x < 6.0:
        shifted -= 1.0 / x
        x += 1.0
    y = 1.0 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y / 132))))
    return shifted + math.log(x) - 0.5 / x - series


@njit(fastmath=SUMS, error_model="numpy", forceinline=True)
def _one_count_more(before: Any, log_x: Any, theta_G: Floats, last: Any, value_G: Floats, slope_G: Floats) -> None:
    """Fill a row of the tables from the one before: Γ(x+θ) is (x - 1 + θ) Γ(x - 1 + θ)."""
    last_value_G, last_slope_G = last
    for g in range(len(theta_G)):
        above = theta_G[g] + before
        value_G[g] = last_value_G[g] + (_log(above) - log_x)
        slope_G[g] = last_slope_G[g] + theta_G[g] / above


@njit(cache=True)
def tabulate_gamma(theta_G: Floats, value_XG: Floats, slope_XG: Floats) -> None:
    """Fill tables of lnΓ(x+θ) - lnΓ(θ) - lnΓ(x+1) and of its slope in log θ, for counts x = 0 … X - 1.

    For whole x the difference of gammas is a sum of x logarithms, which nothing cancels in.
    """
    value_XG[0], slope_XG[0] = ZERO, ZERO
    for x in range(1, len(value_XG)):
        last = value_XG[x - 1], slope_XG[x - 1]
        _one_count_more(f(x - 1), f(math.log(x)), theta_G, last, value_XG[x], slope_XG[x])


@njit(fastmath=SUMS, error_model="numpy", forceinline=True)
def _exponentials(logit_G: Floats, top: Any, exp_G: Floats) -> Any:
    """Fill `exp_G` with exp(logit - top); return their sum."""
    total = ZERO
    for g in range(len(logit_G)):
        exp_G[g] = _exp(logit_G[g] - top)
        total += exp_G[g]
    return total


@njit(fastmath=SUMS, error_model="numpy", forceinline=True)
def _zeros(
    exp_G: Floats, scale: Any, genes: tuple[Floats, Floats], log1p_G: Floats, slope_G: Floats, sum_G: Floats
) -> Any:
    """Take each count of a cell for zero; return its log-likelihood and the sum of its slopes.

    With μ = ``exp · scale`` the likelihood of a zero is -θ l, l = ln(1 + μ/θ); its slope in log μ is -θ s with
    s = μ/(θ + μ), and in log θ it is θ (s - l). Fills l and the slopes in log μ; adds s - l to `sum_G`.
    """
    theta_G, over_theta_G = genes
    value, slope = ZERO, ZERO
    for g in range(len(exp_G)):
        ratio = exp_G[g] * scale * over_theta_G[g]
        above = ONE + ratio
        inverse = ONE / above
        log1p, share = _log1p(ratio, above, inverse), ratio * inverse
        log1p_G[g] = log1p
        slope_G[g] = -theta_G[g] * share
        sum_G[g] += share - log1p
        value -= theta_G[g] * log1p
        slope -= theta_G[g] * share
    return value, slope


@njit(fastmath=EXACT, forceinline=True)
def _softplus(x: Any) -> Any:
    """Return ln(1 + e^x) and its slope, the logistic function."""
    tail = _exp(-abs(x))
    above = ONE + tail
    inverse = ONE / above
    return max(x, ZERO) + _log1p(tail, above, inverse), inverse if x > ZERO else tail * inverse


@njit(fastmath=SUMS, error_model="numpy", forceinline=True)
def _inflated_zeros(
    exp_G: Floats,
    scale: Any,
    genes: tuple[Floats, Floats],
    lost_G: Floats,
    log1p_G: Floats,
    slope_G: Floats,
    sum_G: Floats,
    lost_slope_G: Floats,
    zero: tuple[Floats, Floats],
) -> Any:
    """Take each count of a cell for zero, as `_zeros` does, where a count is also lost with log odds `lost_G`.

    With those odds π the likelihood of a zero is softplus(-π - θ l) - softplus(-π). Fills the slopes in π as well; and
    `zero`, for counts that turn out to be none: softplus(-π - θ l) and its slope, the share of zeros that are counted.
    """
    either_G, counted_G = zero
    theta_G, over_theta_G = genes
    value, slope = ZERO, ZERO
    for g in range(len(exp_G)):
        ratio = exp_G[g] * scale * over_theta_G[g]
        above = ONE + ratio
        inverse = ONE / above
        log1p, share = _log1p(ratio, above, inverse), ratio * inverse
        kept, keeps = _softplus(-lost_G[g])
        either, counted = _softplus(-lost_G[g] - theta_G[g] * log1p)
        either_G[g], counted_G[g] = either, counted
        log1p_G[g] = log1p
        slope_G[g] = -counted * theta_G[g] * share
        sum_G[g] += counted * (share - log1p)
        lost_slope_G[g] = keeps - counted
        value += either - kept
        slope -= counted * theta_G[g] * share
    return value, slope


@njit(fastmath=SUMS, error_model="numpy", forceinline=True)
def _through_softmax(slope_G: Floats, exp_G: Floats, factor: Any, bias_slope_G: Floats, out_G: Floats) -> None:
    """Turn slopes in log μ into slopes in the logits (less each gene's part in their sum); add to the shifts'."""
    for g in range(len(slope_G)):
        slope = slope_G[g] + factor * exp_G[g]
        out_G[g] = slope
        bias_slope_G[g] += slope


@njit(forceinline=True)
def _gamma_terms(x: Any, g: Any, theta: Any, tables: tuple[Floats, Floats]) -> Any:
    """Return lnΓ(x+θ) - lnΓ(θ) - lnΓ(x+1) and its slope in log θ."""
    value_XG, slope_XG = tables
    whole = np.uintp(x)
    if x < f(len(value_XG)) and f(whole) == x:
        return value_XG[whole, g], slope_XG[whole, g]
    many, few = float(x), float(theta)
    value = math.lgamma(many + few) - math.lgamma(few) - math.lgamma(many + 1.0)
    return f(value), f(few * (_digamma(many + few) - _digamma(few)))


@njit(fastmath=SUMS, error_model="numpy", forceinline=True)
def _settle(slope_G: Floats, bias_slope_G: Floats, out_G: Floats) -> None:
    """Hand a row of slopes on, and add it to the shifts'."""
    for g in range(len(slope_G)):
        out_G[g] = slope_G[g]
        bias_slope_G[g] += slope_G[g]


@njit(fastmath=SUMS, error_model="numpy", cache=True, nogil=True)
def sweep_counts(
    logits: tuple[Floats, ...],
    cells: tuple[Floats, Floats],
    nonzeros: tuple[Any, Any, Floats],
    genes: tuple[Floats, Floats, Floats],
    tables: tuple[Floats, Floats],
    slopes: tuple[Floats, ...],
    likelihood_C: Floats,
) -> None:
    """Score a few cells' counts under (zero-inflated) negative binomials with mean ``exp(library) · softmax(logit)``.

    Parameters
    ----------
    logits
        Logits (C, G), -inf where a gene was not measured; for zero inflation a second array, with the log odds that
        a count is lost. Overwritten with the likelihood's slopes in them.
    cells
        Each cell's largest logit, and the log of its expected total; (C,) each.
    nonzeros
        Where each cell's nonzeros start and end (C + 1,), their genes and their counts.
    genes
        log θ, θ and 1/θ; (G,) each.
    tables
        What `tabulate_gamma` filled.
    slopes
        The likelihood's slopes in the log totals (C,), filled; those in log θ, in the shifts of the logits and in the
        shifts of the second logits, (G,) each, added to.
    likelihood_C
        Each cell's log-likelihood in nats, filled.
    """
    top_C, library_C = cells
    starts, gene_nz, count_nz = nonzeros
    log_theta_G, theta_G, over_theta_G = genes
    library_slope_C, theta_slope_G = slopes[0], slopes[1]
    n_cells, n_genes = logits[0].shape
    exp_G, log1p_G, slope_G = np.empty(n_genes, f), np.empty(n_genes, f), np.empty(n_genes, f)
    sum_G, lost_slope_G = np.zeros(n_genes, f), np.empty(n_genes, f)
    either_G, counted_G = np.empty(n_genes, f), np.empty(n_genes, f)
    inflated = len(logits) > 1
    for c in range(n_cells):
        logit_G, lost_G = logits[0][c], logits[-1][c]
        total = _exponentials(logit_G, top_C[c], exp_G)
        # log μ comes from the logits, not from μ, so that it is exact however small μ is.
        log_scale = library_C[c] - top_C[c] - f(math.log(total))
        scale = f(math.exp(library_C[c])) / total
        per_gene = theta_G, over_theta_G
        if inflated:
            zero = either_G, counted_G
            row = _inflated_zeros(exp_G, scale, per_gene, lost_G, log1p_G, slope_G, sum_G, lost_slope_G, zero)
        else:
            row = _zeros(exp_G, scale, per_gene, log1p_G, slope_G, sum_G)
        value, slope = float(row[0]), float(row[1])
        for i in range(starts[c], starts[c + 1]):
            # As an unsigned number: of a signed one, each use would be checked for counting from the end.
            g, x = np.uintp(gene_nz[i]), count_nz[i]
            if inflated:
                ratio = exp_G[g] * scale * over_theta_G[g]
                share = ratio / (ONE + ratio)
                # It was taken for a zero, lost or counted; it is one that was counted.
                counted = counted_G[g]
                value -= either_G[g] + lost_G[g] + theta_G[g] * log1p_G[g]
                rest = (counted - ONE) * theta_G[g] * share
                slope += rest
                slope_G[g] += rest
                sum_G[g] += (ONE - counted) * (share - log1p_G[g])
                lost_slope_G[g] += counted - ONE
            else:
                share = -slope_G[g] * over_theta_G[g]
            gamma_value, gamma_slope = _gamma_terms(x, g, theta_G[g], tables)
            value += gamma_value + x * (logit_G[g] + log_scale - log_theta_G[g] - log1p_G[g])
            rest = x * (ONE - share)
            slope += rest
            slope_G[g] += rest
            theta_slope_G[g] += gamma_slope - rest
        likelihood_C[c], library_slope_C[c] = value, slope
        _through_softmax(slope_G, exp_G, -f(slope) / total, slopes[2], logit_G)
        if inflated:
            _settle(lost_slope_G, slopes[-1], lost_G)
    for gene in range(n_genes):
        theta_slope_G[gene] += theta_G[gene] * sum_G[gene]
