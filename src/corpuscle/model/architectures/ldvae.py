"""LDVAE, the linearly decoded variational autoencoder: a deep encoder, and a decoder whose weights can be read.

Svensson et al. 2020, doi 10.1093/bioinformatics/btaa169, as scvi-tools' ``LinearSCVI`` defines it; scVI is Lopez et
al. 2018, doi 10.1038/s41592-018-0229-2. Axes in names: N cells, B cells of a block, G genes, K latents.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_matrix, random_array

from corpuscle.core.components import component
from corpuscle.core.errors import ModelError
from corpuscle.core.fingerprint import hash_file
from corpuscle.corpus.corpus import BLOCK_CELLS, Corpus
from corpuscle.model.batches import CountTable, TrainingCounts, stream
from corpuscle.model.disk import training_counts
from corpuscle.model.model import FittedModel, Model, Progress, silent
from corpuscle.model.modules import LdvaeNetwork
from corpuscle.model.schedule import Budget, Schedule, TrainingBudget, ValidationShare
from corpuscle.model.training import Optimiser, named_noise, train

FORMAT = 1
# Dense blocks (cells × genes) that leave the model have at most this many numbers: 64 MB.
DENSE_NUMBERS = 1 << 24


@component
class LDVAE(Model):
    """Settings of an LDVAE; the defaults are the published study's.

    Parameters
    ----------
    n_latent
        Dimensions of the latent space.
    n_layers, n_hidden
        Hidden layers of the latent encoder and their width; the library size's encoder always has one.
    dropout
        Share of hidden units dropped in training.
    learning_rate, weight_decay, adam_eps
        Adam's settings.
    batch_size
        Cells per step. A last batch of one or two cells is left out.
    budget
        ``{ epochs = 250 }``, which ``"published"`` stands for, or ``{ steps = 20000 }``; with ``patience``, at most
        that many. See `Budget`.
    validation_share
        Share of the cells that is held out to follow the training; they are never trained on. Patience needs some.
    kl_warmup_epochs
        The weight of z's divergence grows from 0 to 1 over this many epochs; see `Schedule.kl_weight` for what an
        epoch is under a budget in steps.

    Examples
    --------
    >>> LDVAE(budget={"steps": 20_000}).n_steps(n_cells=3000)
    20000
    >>> LDVAE().n_steps(n_cells=1500)           # 250 epochs of 1350 cells, 128 at a time
    2750
    """

    n_latent: Annotated[int, Field(gt=0)] = 10
    n_layers: Annotated[int, Field(gt=0)] = 2
    n_hidden: Annotated[int, Field(gt=0)] = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    learning_rate: Annotated[float, Field(gt=0)] = 5e-3
    batch_size: Annotated[int, Field(gt=1)] = 128
    budget: TrainingBudget = Budget(epochs=250)
    validation_share: ValidationShare = 0.1
    kl_warmup_epochs: Annotated[int, Field(ge=0)] = 400
    weight_decay: Annotated[float, Field(ge=0)] = 1e-6
    adam_eps: Annotated[float, Field(gt=0)] = 0.01

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> "FittedLDVAE":
        """Fit on a corpus, on the CPU; bit for bit the same for the same corpus and seed on one thread.

        The library size's prior is taken from all cells of the corpus, as scvi-tools does. A corpus that is larger
        than `memory_limit` is trained on from disk, which gives the same weights.
        """
        with training_counts(corpus) as table:
            if not table.largest:
                raise ModelError(f"corpus {corpus.name!r} has no counts: {len(corpus)} cells, {corpus.n_genes} genes")
            network = self._network(corpus.n_genes, named_noise(seed, "init"))
            network.set_library_prior(*library_prior(table))
            schedule = self._schedule(corpus.n_cells)
            history = train(network, table, schedule, self._optimiser(), seed=seed, progress=progress)
        return FittedLDVAE(self, corpus.space.ids, network, history)

    def load_fitted(self, folder: Path) -> "FittedLDVAE":
        """Load what `FittedLDVAE.save` wrote; the settings are the folder's.

        Raises
        ------
        ModelError
            When a file is missing, damaged or not what it should be.
        """
        try:
            saved = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            if saved["format"] != FORMAT or saved["weights"] != hash_file(folder / "weights.safetensors"):
                raise ModelError(f"{folder}: the weights are not those that model.json was written with")
            settings, genes = LDVAE(**saved["settings"]), tuple(saved["genes"])
            network = settings._network(len(genes), torch.Generator())
            network.load_state_dict(load_file(folder / "weights.safetensors"))
            history = pd.read_parquet(folder / "history.parquet")
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"{folder}: no fitted LDVAE can be read here; fit it again ({error})") from error
        return FittedLDVAE(settings, genes, network.eval(), history)

    def n_steps(self, n_cells: int) -> int:
        """How many optimisation steps a corpus of this many cells gets; 0 where they are too few to train on."""
        return self._schedule(n_cells).n_steps

    def seconds_per_step(self, n_genes: int) -> float:
        """Measure the processor seconds of a step with 10 % of the counts nonzero: the median of five."""
        rng = np.random.default_rng(0)
        counts_NG = csr_matrix(random_array((self.batch_size, n_genes), density=0.1, rng=rng, dtype=np.float32))
        counts_NG.data = np.ceil(4 * counts_NG.data**2)
        told: list[float] = []
        schedule = Schedule(self.batch_size, Budget(steps=6), self.batch_size, 0.0, 0)
        network = self._network(n_genes, named_noise(0, "init"))

        def hook(*_: Any) -> None:
            told.append(time.process_time())

        network.encoders.register_forward_pre_hook(hook)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            train(network, CountTable(counts_NG), schedule, self._optimiser(), seed=0, progress=silent)
        finally:
            torch.set_num_threads(threads)
        return float(np.median(np.diff(told)))

    def _network(self, n_genes: int, init: torch.Generator) -> LdvaeNetwork:
        return LdvaeNetwork(
            n_genes, self.n_hidden, self.n_layers, self.n_latent, dropout=float(self.dropout), init=init
        )

    def _schedule(self, n_cells: int) -> Schedule:
        return Schedule(n_cells, self.budget, self.batch_size, self.validation_share, self.kl_warmup_epochs)

    def _optimiser(self) -> Optimiser:
        return Optimiser(self.learning_rate, self.weight_decay, self.adam_eps)


def library_prior(table: TrainingCounts) -> tuple[float, float]:
    """Return mean and variance of the log total counts over all uses of cells; an empty cell counts as one count.

    Examples
    --------
    >>> library_prior(CountTable(csr_matrix(np.array([[1, 0], [3, 4]], np.float32))))
    (0.972..., 0.946...)
    """
    log_N = np.log(np.where(table.total_N > 0, table.total_N, 1))
    mean = float(np.average(log_N, weights=table.times_N))
    return mean, float(np.average((log_N - mean) ** 2, weights=table.times_N))


class FittedLDVAE(FittedModel):
    """An LDVAE with weights.

    Attributes
    ----------
    settings
        What it was fitted with.
    genes
        Ids of its genes, length G.
    history
        The training curve: ``elbo_train``, ``elbo_validation`` (negative ELBO per cell in nats, lower is better) and
        their parts, ``reconstruction_…`` and ``kl_…``.
    """

    def __init__(self, settings: LDVAE, genes: tuple[str, ...], network: LdvaeNetwork, history: pd.DataFrame) -> None:
        self.settings, self.genes, self.network, self.history = settings, genes, network, history

    @torch.no_grad()
    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Return the mean of each cell's posterior, shape (N, K)."""
        self._check(cells)
        embedded_NK = np.empty((len(cells), self.settings.n_latent), np.float32)
        for rows, batch in stream(cells, BLOCK_CELLS):
            embedded_NK[rows] = self.network.encoders(batch).z_mean.numpy()
        return embedded_NK

    @torch.no_grad()
    def expected_fractions(
        self, cells: Corpus, samples: np.random.Generator | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield the expected share of each gene, block by block; see `Reconstructs.expected_fractions`."""
        self._check(cells)
        for rows, batch in stream(cells, self._dense_cells()):
            posterior = self.network.encoders(batch)
            z_BK = posterior.z_mean
            if samples is not None:
                noise_BK = torch.from_numpy(samples.standard_normal(z_BK.shape, np.float32))
                z_BK = z_BK + posterior.z_variance.sqrt() * noise_BK
            yield rows, self.network.fractions(z_BK, batch.unmeasured).numpy()

    def elbo(self, cells: Corpus, seed: int = 0) -> pd.DataFrame:
        """Return each cell's negative ELBO and its parts in nats (lower is better), from one posterior sample.

        Parameters
        ----------
        cells
            The cells, N of them.
        seed
            Names the sample; the same seed gives the same numbers.

        Returns
        -------
        One row per cell; columns ``elbo``, ``reconstruction``, ``kl`` and its parts ``kl_z`` and ``kl_library``.
        """
        self._check(cells)
        noise = named_noise(seed, "elbo")
        scores = [self.network.score(batch, noise) for _, batch in stream(cells, BLOCK_CELLS)]
        blocks = [pd.DataFrame({name: term.numpy() for name, term in score.items()}) for score in scores]
        return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame({"elbo": []})

    @torch.no_grad()
    def loadings(self) -> pd.DataFrame:
        """Return the decoder's weights, batch-norm folded in: genes × latents, in log expected share per unit of z."""
        weight_GK, _ = self.network.decoder.folded()
        columns = [f"Z_{latent}" for latent in range(self.settings.n_latent)]
        return pd.DataFrame(weight_GK.numpy(), index=pd.Index(self.genes, name="gene"), columns=columns)

    def save(self, folder: Path) -> None:
        """Write ``weights.safetensors``, ``model.json`` (settings, genes) and ``history.parquet``."""
        save_file(self.network.state_dict(), folder / "weights.safetensors")
        settings = self.settings.spec()
        del settings["name"]
        saved = {
            "format": FORMAT,
            "weights": hash_file(folder / "weights.safetensors"),
            "settings": settings,
            "genes": list(self.genes),
        }
        self.history.to_parquet(folder / "history.parquet")
        (folder / "model.json").write_text(json.dumps(saved, allow_nan=False), encoding="utf-8")

    def _dense_cells(self) -> int:
        return max(1, min(BLOCK_CELLS, DENSE_NUMBERS // len(self.genes)))

    def _check(self, cells: Corpus) -> None:
        if cells.space.ids != self.genes:
            raise ModelError(
                f"corpus {cells.name!r} has other genes ({cells.n_genes}) than this model was fitted on "
                f"({len(self.genes)}); make it in the same gene space"
            )
