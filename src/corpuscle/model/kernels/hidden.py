"""What lies between the large layers of a count model, compiled with numba: few numbers, but many small steps.

A hidden layer's normalisation, ReLU and dropout, and the draw from a posterior with its divergence: as separate
operations on tensors, forward and backward, they cost more in calls than in arithmetic. Axes in names: B cells, H
units, K latents.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SUMS = {"contract", "reassoc", "nsz"}
f = np.float32


@njit(forceinline=True)
def hashed(place: Any, seed: Any) -> Any:
    """Return 32 random bits of a place and a seed (Murmur3's finaliser, A. Appleby, public domain, used twice)."""
    # Two whole numbers of 32 bits make one of 64 in numba, unless they are held to it.
    bits = np.uint32(np.uint32(place * np.uint32(0x9E3779B1)) ^ seed)
    for _ in range(2):
        bits = np.uint32(np.uint32(bits ^ (bits >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        bits = np.uint32(np.uint32(bits ^ (bits >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(bits ^ (bits >> np.uint32(16)))


@njit(fastmath=SUMS, error_model="numpy", cache=True, nogil=True)
def normalise(
    x_BH: Floats,
    affine: tuple[Floats, Floats],
    running: tuple[Floats, Floats],
    settings: tuple[Any, Any, Any],
    seed: Any,
    found: tuple[Floats, Floats, Floats],
) -> None:
    """Normalise each unit over a batch, scale and shift it, and set to zero what is negative or dropped.

    Parameters
    ----------
    x_BH
        What the layer before gave.
    affine
        Scale and shift, (H,) each.
    running
        Running mean and variance, (H,) each; moved towards the batch's, the variance as of a sample.
    settings
        What is added to the variance, the running means' momentum, and the share that is dropped (double precision).
    seed
        What units are dropped by: a unit is where `hashed` of its place and the seed, as a share of 2^32, is below
        the share.
    found
        The batch's mean and 1 / standard deviation, (H,) each, and the layer's output (B, H); filled.
    """
    n_cells, n_units = x_BH.shape
    scale_H, shift_H = affine
    running_mean_H, running_variance_H = running
    eps, momentum, share = settings
    mean_H, over_sd_H, y_BH = found
    variance_H, factor_H, offset_H = np.zeros(n_units, f), np.empty(n_units, f), np.empty(n_units, f)
    mean_H[:] = f(0)
    for c in range(n_cells):
        for h in range(n_units):
            mean_H[h] += x_BH[c, h]
    for h in range(n_units):
        mean_H[h] /= f(n_cells)
    for c in range(n_cells):
        for h in range(n_units):
            away = x_BH[c, h] - mean_H[h]
            variance_H[h] += away * away
    for h in range(n_units):
        variance = variance_H[h] / f(n_cells)
        over_sd_H[h] = f(1) / np.sqrt(variance + eps)
        running_mean_H[h] += momentum * (mean_H[h] - running_mean_H[h])
        running_variance_H[h] += momentum * (variance_H[h] / f(n_cells - 1) - running_variance_H[h])
        factor_H[h] = scale_H[h] * over_sd_H[h]
        offset_H[h] = shift_H[h] - mean_H[h] * factor_H[h]
    if share == 0.0:
        for c in range(n_cells):
            for h in range(n_units):
                y_BH[c, h] = max(x_BH[c, h] * factor_H[h] + offset_H[h], f(0))
        return
    upscale, below = f(1) / (f(1) - f(share)), np.uint32(share * 4294967296.0)
    for c in range(n_cells):
        first = np.uint32(c * n_units)
        for h in range(n_units):
            y = max(x_BH[c, h] * factor_H[h] + offset_H[h], f(0)) * upscale
            y_BH[c, h] = y if hashed(np.uint32(first + np.uint32(h)), seed) >= below else f(0)


@njit(fastmath=SUMS, error_model="numpy", cache=True, nogil=True)
def normalise_back(
    x_BH: Floats,
    y_BH: Floats,
    batch: tuple[Floats, Floats],
    scale_H: Floats,
    upscale: Any,
    slope_BH: Floats,
    slopes: tuple[Floats, Floats, Floats],
) -> None:
    """Take slopes back through `normalise`.

    Parameters
    ----------
    x_BH, y_BH
        What it was given, and what it gave: positive where slopes pass.
    batch
        The batch's mean and 1 / standard deviation, (H,) each.
    scale_H
        The scale.
    upscale
        What dropout multiplied by.
    slope_BH
        The loss' slopes in `y_BH`.
    slopes
        Its slopes in `x_BH` (B, H), in the scale and in the shift (H,); filled.
    """
    n_cells, n_units = x_BH.shape
    mean_H, over_sd_H = batch
    x_slope_BH, scale_slope_H, shift_slope_H = slopes
    scale_slope_H[:], shift_slope_H[:] = f(0), f(0)
    for c in range(n_cells):
        for h in range(n_units):
            slope = slope_BH[c, h] * upscale if y_BH[c, h] > f(0) else f(0)
            x_slope_BH[c, h] = slope
            shift_slope_H[h] += slope
            scale_slope_H[h] += slope * (x_BH[c, h] - mean_H[h]) * over_sd_H[h]
    factor_H, level_H, tilt_H = np.empty(n_units, f), np.empty(n_units, f), np.empty(n_units, f)
    for h in range(n_units):
        factor_H[h] = scale_H[h] * over_sd_H[h]
        level_H[h] = shift_slope_H[h] / f(n_cells)
        tilt_H[h] = over_sd_H[h] * scale_slope_H[h] / f(n_cells)
    for c in range(n_cells):
        for h in range(n_units):
            away = (x_BH[c, h] - mean_H[h]) * tilt_H[h]
            x_slope_BH[c, h] = factor_H[h] * (x_slope_BH[c, h] - level_H[h] - away)


@njit(error_model="numpy", cache=True, nogil=True)
def draw_and_diverge(
    head_B2K: Floats, noise_BK: Floats, settings: tuple[Any, Any, Any, Any], drawn_BK: Floats, kl_B: Floats
) -> None:
    """Draw from normal distributions given by mean and log variance, and say how far they are from a prior.

    Parameters
    ----------
    head_B2K
        The means, then the logarithms of the variances.
    noise_BK
        Standard normal numbers.
    settings
        The ceiling of log variances, the floor of variances, and the prior's mean and variance.
    drawn_BK
        The draw; filled.
    kl_B
        KL(N || prior) in nats, summed over the latents; filled.
    """
    ceiling, floor, prior_mean, prior_variance = settings
    n_latent = noise_BK.shape[1]
    for c in range(len(noise_BK)):
        total = f(0)
        for k in range(n_latent):
            mean = head_B2K[c, k]
            variance = np.exp(min(head_B2K[c, n_latent + k], ceiling)) + floor
            drawn_BK[c, k] = mean + np.sqrt(variance) * noise_BK[c, k]
            ratio, away = variance / prior_variance, mean - prior_mean
            total += ratio - f(1) - f(math.log(ratio)) + away * away / prior_variance
        kl_B[c] = f(0.5) * total


@njit(error_model="numpy", cache=True, nogil=True)
def draw_back(
    head_B2K: Floats,
    noise_BK: Floats,
    settings: tuple[Any, Any, Any, Any],
    slopes: tuple[Floats, Floats],
    head_slope_B2K: Floats,
) -> None:
    """Take slopes in the draw (B, K) and divergence (B,) back through `draw_and_diverge`; fills `head_slope_B2K`."""
    ceiling, floor, prior_mean, prior_variance = settings
    drawn_slope_BK, kl_slope_B = slopes
    n_latent = noise_BK.shape[1]
    for c in range(len(noise_BK)):
        for k in range(n_latent):
            log_variance = head_B2K[c, n_latent + k]
            grown = np.exp(min(log_variance, ceiling))
            variance = grown + floor
            of_draw, of_kl = drawn_slope_BK[c, k], kl_slope_B[c]
            head_slope_B2K[c, k] = of_draw + of_kl * (head_B2K[c, k] - prior_mean) / prior_variance
            slope = of_draw * noise_BK[c, k] / (f(2) * np.sqrt(variance))
            slope += of_kl * f(0.5) * (f(1) / prior_variance - f(1) / variance)
            head_slope_B2K[c, n_latent + k] = slope * grown if log_variance <= ceiling else f(0)
