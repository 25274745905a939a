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

# A loop is compiled twice, for several numbers at once and for one at a time. The second runs where what is written
# begins less than a few vectors (at most 512 bytes) behind what is read, and adds up in another order. Arrays of few
# genes lie that near or not as memory happens to be free; with room for so many numbers in each, none does.
ROOM = 256

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
    for g in range(len(exp_G)):
        exp_G[g] = _exp(logit_G[g] - top)
        total += exp_G[g]
    return total


@njit(fastmath=SUMS, error_model="numpy", forceinline=True)
def _scored(
    cell: tuple[Any, Any], genes: tuple[Floats, Floats, Floats], given: Any, slope_G: Floats, sum_G: Floats
) -> Any:
    """Score some genes of a cell, gamma terms aside; return their log-likelihood and the sum of its slopes in log μ.

    With μ = ``exp · scale``, l = ln(1 + μ/θ) and s = μ/(θ + μ), a count x adds -θ l + x (ln μ - ln θ - l); its slope in
    log μ is x (1 - s) - θ s, and in log θ it is θ (s - l) - x (1 - s). Fills the slopes in log μ; adds those in log θ,
    over θ, to `sum_G`.
    """
    scale, log_scale = cell
    log_theta_G, theta_G, over_theta_G = genes
    logit_G, exp_G, count_G = given
    value, slope = ZERO, ZERO
    for g in range(len(exp_G)):
        x = count_G[g]
        ratio = exp_G[g] * scale * over_theta_G[g]
        above = ONE + ratio
        inverse = ONE / above
        log1p, share = _log1p(ratio, above, inverse), ratio * inverse
        rest = x * inverse
        slope_G[g] = rest - theta_G[g] * share
        slope += rest - theta_G[g] * share
        sum_G[g] += share - log1p - rest * over_theta_G[g]
        # A logit may be infinite where the count is zero.
        value += (x * (logit_G[g] + log_scale - log_theta_G[g] - log1p) if x > ZERO else ZERO) - theta_G[g] * log1p
    return value, slope


@njit(fastmath=SUMS, error_model="numpy", forceinline=True)
def _scored_inflated(
    cell: tuple[Any, Any],
    genes: tuple[Floats, Floats, Floats],
    given: Any,
    of_lost: tuple[Floats, Floats],
    slope_G: Floats,
    sum_G: Floats,
    ratio_G: Floats,
) -> Any:
    """Score some genes of a cell as `_scored` does, where a count is also lost with log odds `lost_G`.

    With those odds π a zero adds softplus(-π - θ l) - softplus(-π), and another count -π - softplus(-π) to what it adds
    otherwise. Overwrites the odds with the slopes in them, and adds those to the shifts'. The softplus' logarithms are
    left to the caller: their sum is that of the logarithms of `ratio_G`, which lie between -ln 2 and ln 2.
    """
    scale, log_scale = cell
    log_theta_G, theta_G, over_theta_G = genes
    logit_G, exp_G, count_G = given
    lost_G, bias_slope_G = of_lost
    value, slope = ZERO, ZERO
    for g in range(len(exp_G)):
        x, odds = count_G[g], lost_G[g]
        ratio = exp_G[g] * scale * over_theta_G[g]
        above = ONE + ratio
        inverse = ONE / above
        log1p, share = _log1p(ratio, above, inverse), ratio * inverse
        either = -odds - theta_G[g] * log1p
        # softplus(y) is max(y, 0) + ln(1 + e^-|y|); its slope is the logistic function.
        kept_tail, either_tail = _exp(-abs(odds)), _exp(-abs(either))
        both = ONE / ((ONE + kept_tail) * (ONE + either_tail))
        over_kept, over_either = both * (ONE + either_tail), both * (ONE + kept_tail)
        keeps = over_kept if odds < ZERO else kept_tail * over_kept
        counted = over_either if either > ZERO else either_tail * over_either
        seen = x > ZERO
        counted = ONE if seen else counted
        ratio_G[g] = over_kept if seen else (ONE + either_tail) * over_kept
        rest = x * inverse
        slope_G[g] = rest - counted * theta_G[g] * share
        slope += rest - counted * theta_G[g] * share
        sum_G[g] += counted * (share - log1p) - rest * over_theta_G[g]
        lost_G[g] = keeps - counted
        bias_slope_G[g] += keeps - counted
        value += (either if seen else max(either, ZERO)) - max(-odds, ZERO)
        value += x * (logit_G[g] + log_scale - log_theta_G[g] - log1p) if seen else ZERO
    return value, slope


@njit(fastmath=SUMS, error_model="numpy", forceinline=True)
def _sum_of_logarithms(ratio_G: Floats, product_G: Floats) -> Any:
    """Return the sum of the logarithms of numbers between ½ and 2: of products of 32, which are far from overflow."""
    width = len(ratio_G) // 32
    product_J = product_G[:width]
    product_J[:] = ONE
    for k in range(32):
        factor_J = ratio_G[k * width : (k + 1) * width]
        for j in range(len(product_J)):
            product_J[j] *= factor_J[j]
    total = ZERO
    for j in range(len(product_J)):
        total += _log(product_J[j])
    for g in range(32 * width, len(ratio_G)):
        total += _log(ratio_G[g])
    return total


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

    Each array of genes needs memory for at least `ROOM` numbers, also where there are fewer genes.

    Parameters
    ----------
    logits
        Logits, -inf where a gene was not measured, in blocks of W genes: (G / W rounded up, C, W); the last block may
        have genes too many. For zero inflation a second array, with the log odds that a count is lost. Overwritten
        with the likelihood's slopes in them. A block's numbers of a cell fit the first-level cache, and 32-bit sums
        over them are short.
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
    library_slope_C, theta_slope_G, bias_slope_G = slopes[0], slopes[1], slopes[2]
    n_blocks, n_cells, width = logits[0].shape
    n_genes = len(theta_G)
    of_genes, of_block = np.zeros((4, max(n_genes, ROOM)), f), np.empty((2, max(width, ROOM)), f)
    exp_G, slope_G = of_genes[0, :n_genes], of_genes[1, :n_genes]
    count_G, sum_G = of_genes[2, :n_genes], of_genes[3, :n_genes]
    ratio_W, product_W = of_block[0, :width], of_block[1, :width]
    for c in range(n_cells):
        total = ZERO
        for k in range(n_blocks):
            exp_W = exp_G[k * width : (k + 1) * width]
            total += _exponentials(logits[0][k, c], top_C[c], exp_W)
        # log μ comes from the logits, not from μ, so that it is exact however small μ is.
        cell = f(math.exp(library_C[c])) / total, library_C[c] - top_C[c] - f(math.log(total))
        value, slope = 0.0, 0.0
        for i in range(starts[c], starts[c + 1]):
            # As an unsigned number: of a signed one, each use would be checked for counting from the end.
            g, x = np.uintp(gene_nz[i]), count_nz[i]
            gamma_value, gamma_slope = _gamma_terms(x, g, theta_G[g], tables)
            value += gamma_value
            theta_slope_G[g] += gamma_slope
            count_G[g] = x
        for k in range(n_blocks):
            here = slice(k * width, (k + 1) * width)
            parameters = log_theta_G[here], theta_G[here], over_theta_G[here]
            given = logits[0][k, c], exp_G[here], count_G[here]
            if len(logits) > 1:
                ratio = ratio_W[: len(given[1])]
                of_lost = logits[1][k, c], slopes[-1][here]
                row = _scored_inflated(cell, parameters, given, of_lost, slope_G[here], sum_G[here], ratio)
                value += float(_sum_of_logarithms(ratio, product_W))
            else:
                row = _scored(cell, parameters, given, slope_G[here], sum_G[here])
            value += float(row[0])
            slope += float(row[1])
        for i in range(starts[c], starts[c + 1]):
            count_G[np.uintp(gene_nz[i])] = ZERO
        likelihood_C[c], library_slope_C[c] = value, slope
        for k in range(n_blocks):
            here = slice(k * width, (k + 1) * width)
            _through_softmax(slope_G[here], exp_G[here], -f(slope) / total, bias_slope_G[here], logits[0][k, c])
    for gene in range(n_genes):
        theta_slope_G[gene] += theta_G[gene] * sum_G[gene]
