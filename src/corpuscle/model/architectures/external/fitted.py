"""A fitted external model: the folder that its program left, and how it is asked for an embedding.

Axes in names: N cells, K dimensions.
"""

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from corpuscle.core import scratch
from corpuscle.core.errors import ModelError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.architectures.external.arguments import SEED, placeholders
from corpuscle.model.architectures.external.running import working_folder
from corpuscle.model.checkpoint import Saved, save
from corpuscle.model.families.log_expression import check_genes
from corpuscle.model.model import FittedModel, no_history

if TYPE_CHECKING:
    from corpuscle.model.architectures.external import External

# The folder, in that of a saved model, that its `fit_command` left.
LEFT = "model"
# Of the training corpus, how many cells are embedded when a model is fitted: a command that fails does so then.
TRIED = 16
# How many dimensions those commands give that know no corpus and no seed, by what they depend on.
_tried: dict[str, int] = {}


@dataclass
class Learned:
    """The folder that a `fit_command` fills: a temporary one, or that of a saved model."""

    folder: Path
    is_temporary: bool = False

    @classmethod
    def new(cls) -> Self:
        """Make a temporary one, in a folder of its own that is gone when this object is."""
        root = Path(tempfile.mkdtemp(prefix=scratch.PREFIX, suffix=scratch.suffix()))
        learned = cls(root / LEFT, is_temporary=True)
        weakref.finalize(learned, shutil.rmtree, root, ignore_errors=True)
        learned.folder.mkdir()
        return learned

    def move(self, folder: Path) -> None:
        """Copy it to where it is kept, and let go of a temporary one.

        Raises
        ------
        ModelError
            When there is something in it that is no file.
        """
        try:
            # The contents alone: files that a container wrote may belong to another user.
            shutil.copytree(self.folder, folder, copy_function=shutil.copyfile)
        except shutil.Error as error:
            raise ModelError(f"what fit_command left cannot be kept: {error}") from error
        if self.is_temporary:
            shutil.rmtree(self.folder.parent, ignore_errors=True)
        self.folder, self.is_temporary = folder, False


class FittedExternal(FittedModel):
    """A model of others, and what it learned from a corpus.

    Attributes
    ----------
    settings
        The model.
    seed
        The seed of the fit.
    files
        Hashes of the model's files when it was fitted.
    n_latent
        How many dimensions it embeds in.
    """

    def __init__(
        self,
        settings: "External",
        genes: tuple[str, ...],
        learned: Learned | None,
        *,
        seed: int,
        files: Mapping[str, str],
        n_latent: int | None = None,
    ) -> None:
        self.settings, self.genes, self.history, self._learned = settings, genes, no_history(), learned
        self.seed, self.files, self.n_latent = seed, files, n_latent
        if learned is None:
            used = seed if SEED in placeholders(settings.command) else None
            self.embeds_as = fingerprint("external", settings.identity(), used)

    def try_out(self, corpus: Corpus) -> None:
        """Embed a few cells, to see that the command works and how many dimensions it gives.

        What does not depend on the corpus is tried once by a process.
        """
        key = fingerprint(self.embeds_as, self.genes) if self.embeds_as else ""
        self.n_latent = _tried.get(key)
        if self.n_latent is None:
            self.n_latent = self.embed(corpus.take(np.arange(min(TRIED, len(corpus))))).shape[1]
            if key:
                _tried[key] = self.n_latent

    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Run the command on the cells, and return their embedding, shape (N, K).

        Raises
        ------
        ModelError
            When the command fails or does not do what it should, or its files changed after the model was fitted.
        """
        check_genes(cells, self.genes)
        if not len(cells):
            return np.empty((0, self.n_latent or 0), np.float32)
        if self.settings.contents() != self.files:
            raise ModelError("files: they changed after the model was fitted; run the same command again")
        # What was learned and is not kept yet goes, too, where this process is killed.
        unkept = self._learned.folder.parent if self._learned is not None and self._learned.is_temporary else None
        with working_folder(unkept) as work:
            return self.settings.embedded(cells, work, self.seed, self._kept, self.n_latent)

    @property
    def _kept(self) -> Path | None:
        """Where what was learned is: in the store, once it is there."""
        if self._learned is None:
            return None
        if self.stored is None:
            return self._learned.folder
        return self.stored.store.folder("models", self.stored.key) / LEFT

    def save(self, folder: Path) -> None:
        """Write the settings and what was learned into an existing folder."""
        settings = {key: value for key, value in self.settings.spec().items() if key != "name"}
        facts = {"seed": self.seed, "files": dict(self.files), "n_latent": self.n_latent}
        save(folder, Saved(settings, self.genes, {}, self.history, facts))
        if self._learned is not None:
            self._learned.move(folder / LEFT)
