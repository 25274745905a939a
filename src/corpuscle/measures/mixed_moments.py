"""Mixed moments: the moment proxy of any mixture of sources, from moments that are found once; no cell is read again.

The moments of a mixture are the weighted means of its sources' moments, so each mixture costs a weighted sum of
matrices, their ten main directions, and a product of these with the target's cells. Axes in names: S sources, H
variable genes, T cells of a target, K latents.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import ssymv
from scipy.sparse.linalg import LinearOperator, eigsh

from corpuscle.core.errors import MeasureError
from corpuscle.measures.built_ins.moment_proxy import N_LATENT, Basis, basis
from corpuscle.measures.summary import Moments


class MixedMoments:
    """What the moment proxy of any mixture depends on.

    Parameters
    ----------
    moments
        Of each source's log expression in the same variable genes. Second moments are held in float32: a forecast
        differs by some 1e-6 for it, and takes a quarter of the time.
    targets
        By name, the log expression of cells to reconstruct, shape (T, H).
    n_latent
        How many directions a model of the mixture would know.

    Raises
    ------
    MeasureError
        When there are no more genes than latents, a source's moments are no numbers or do not vary, or no cell of a
        target varies.

    Examples
    --------
    >>> log_NH = np.random.default_rng(0).gamma(1.0, size=(50, 12))
    >>> known = Moments(log_NH.mean(axis=0), log_NH.T @ log_NH / 50)
    >>> found = MixedMoments({"a": known, "b": known}, {"new": log_NH}, n_latent=3)
    >>> np.allclose(found.forecast(np.array([0.5, 0.5])), found.forecast(np.array([1.0, 0.0])))
    True
    """

    def __init__(
        self, moments: Mapping[str, Moments], targets: Mapping[str, NDArray[np.floating]], n_latent: int = N_LATENT
    ) -> None:
        self.sources, self.targets, self.n_latent = tuple(moments), tuple(targets), n_latent
        for name, one in moments.items():
            try:
                basis(one, n_latent)
            except MeasureError as error:
                raise MeasureError(f"source {name!r}: {error}") from error
        self._mean_SH = np.stack([one.mean_H for one in moments.values()])
        self._second_SHH = np.stack([one.second_HH.astype(np.float32) for one in moments.values()])
        self._cells = [_Cells.of(name, log_TH) for name, log_TH in targets.items()]

    def forecast(self, weights_S: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the mean R² of each target's cells, in the order of `targets`; 0 to 1, higher is better.

        Parameters
        ----------
        weights_S
            Shares of the sources in the mixture, which sum to 1.
        """
        known = self._basis(weights_S)
        return np.array([one.r2(known) for one in self._cells])

    def _basis(self, weights_S: NDArray[np.floating]) -> Basis:
        """Find a mixture's mean and main directions, as `basis` does, in float32."""
        mean_H = weights_S @ self._mean_SH
        second_HH = np.tensordot(weights_S.astype(np.float32), self._second_SHH, axes=1)
        short_H, n_genes = mean_H.astype(np.float32), len(mean_H)

        def covariance(v_H: NDArray[np.float32]) -> NDArray[np.float32]:
            # A symmetric matrix is read by half; transposed, as BLAS has columns first and would copy.
            return np.asarray(ssymv(1.0, second_HH.T, v_H) - short_H * (short_H @ v_H))

        operator = LinearOperator((n_genes, n_genes), covariance, dtype=np.float32)
        _, axes_HK = eigsh(operator, k=self.n_latent, which="LA", v0=np.ones(n_genes, np.float32))
        return Basis(mean_H, axes_HK.astype(np.float64))


class _Cells(NamedTuple):
    """A target's cells without those that do not vary: centred over genes (T, H), their means and sums of squares."""

    centred_TH: NDArray[np.float32]
    mean_T: NDArray[np.float64]
    square_T: NDArray[np.float64]

    @classmethod
    def of(cls, name: str, log_TH: NDArray[np.floating]) -> "_Cells":
        mean_T = log_TH.mean(axis=1, dtype=np.float64)
        centred_TH = (log_TH - mean_T[:, None]).astype(np.float32)
        square_T = np.einsum("th,th->t", centred_TH, centred_TH, dtype=np.float64)
        varies_T = square_T > 0
        if not varies_T.any():
            raise MeasureError(f"no cell of the target {name!r} varies in the variable genes")
        return cls(centred_TH[varies_T], mean_T[varies_T], square_T[varies_T])

    def r2(self, known: Basis) -> float:
        """Return the mean of what `corpuscle.measures.built_ins.moment_proxy.forecast` returns, in fewer steps.

        Correlations need inner products of a cell with the mean and the axes alone: a reconstruction is never made.
        """
        mean_H, axes_HK = known
        found = self.centred_TH @ np.column_stack([axes_HK, mean_H]).astype(np.float32)
        along_TK, with_mean_T = found[:, :-1].astype(np.float64), found[:, -1].astype(np.float64)
        z_TK = along_TK + np.outer(self.mean_T, axes_HK.sum(axis=0)) - mean_H @ axes_HK
        shared_T = with_mean_T + np.einsum("tk,tk->t", along_TK, z_TK)
        sum_T = mean_H.sum() + z_TK @ axes_HK.sum(axis=0)
        made_T = mean_H @ mean_H + z_TK @ (2 * (mean_H @ axes_HK)) + np.einsum("tk,tk->t", z_TK, z_TK)
        made_T -= sum_T**2 / len(mean_H)
        return float(np.mean(shared_T**2 / (self.square_T * made_T)))
