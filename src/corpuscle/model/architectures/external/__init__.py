"""External: a model that lives in an environment of its own, and is run there as a command.

Axes in names: N cells, K dimensions.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from corpuscle.core.components import component
from corpuscle.core.errors import ModelError
from corpuscle.core.version import __version__
from corpuscle.corpus.corpus import KEYS, Corpus
from corpuscle.corpus.export import write_corpus
from corpuscle.model.architectures.external.arguments import (
    CELLS,
    EMBEDDING,
    GIVEN,
    MODEL,
    SEED,
    WORK,
    arguments,
    filled,
    placeholders,
    refuse_missing_program,
    refuse_placeholders,
    shown,
)
from corpuscle.model.architectures.external.fitted import LEFT, FittedExternal, Learned
from corpuscle.model.architectures.external.results import read_embedding
from corpuscle.model.architectures.external.running import Place, run, variables, working_folder
from corpuscle.model.checkpoint import reading_checkpoint
from corpuscle.model.families.log_expression import repeated
from corpuscle.model.families.official import content
from corpuscle.model.model import Progress, WithoutSteps, silent
from corpuscle.source.genes import GeneSpace
from corpuscle.source.source import ROLES

# Of the columns of cells that are to be embedded, those that a command is shown.
SHOWN = (*KEYS, "made", *(role for role in ROLES if role != "cell_type"))


def _files(table: Mapping[str, str]) -> Mapping[str, str]:
    for name in table:
        if not name.isidentifier() or name in GIVEN:
            raise ValueError(f"{name!r} cannot be written in braces in a command; choose a word such as 'script'")
    return table


def _environment(table: Mapping[str, str]) -> Mapping[str, str]:
    if wrong := [name for name, value in table.items() if not name or "=" in name or "\0" in name + value]:
        raise ValueError(f"{wrong[0]!r} cannot be an environment variable")
    return table


@component
class External(WithoutSteps):
    """A model of others, run as a command in the environment or container that the command names.

    The cells are written as an ``.h5ad``, and the command writes their embedding; ``docs/external-models.md`` has what
    a command is given and is to give. Placeholders in a command: ``{cells}``, the file of cells; ``{embedding}``, the
    file to write; ``{model}``, the folder of what `fit_command` learned; ``{work}``, the folder that the command runs
    in, with the cells and the embedding in it; ``{seed}``; and the names of `files`. No shell reads a command, and each
    argument stays one. Programs have one thread, unless `environment` says otherwise.

    What is kept in a store depends on the commands, on what is in `files` and on `revision`, never on where files are.

    Parameters
    ----------
    command
        Embeds cells: a list, program first, or a text that is split at blanks that are not in quotes.
    fit_command
        Learns from a corpus, once per corpus and seed, and writes what it learned into the folder ``{model}``, which
        `command` is given. None: the model is used as it is, whatever the corpus.
    files
        Scripts, weights and folders that the model depends on: ``{ script = "embed.py" }``, relative to the study's
        file; each name is a placeholder.
    revision
        What else the model depends on, in words: change it when the environment, a container or a script that is not
        among `files` changes.
    format
        What `command` writes: ``"npy"`` or ``"parquet"``.
    environment
        Environment variables of the commands, such as ``{ OMP_NUM_THREADS = "4" }``.
    uses_gpu
        Whether the commands may use a GPU (which ``CUDA_VISIBLE_DEVICES`` then names); if not, none is visible.
    timeout
        Seconds that each command may take; None: any number.

    Examples
    --------
    >>> External(command="conda run -n uce python embed.py {cells} {embedding}").command[:4]
    ['conda', 'run', '-n', 'uce']
    """

    path_fields: ClassVar[tuple[str, ...]] = ("files",)

    command: Annotated[list[str], BeforeValidator(arguments, json_schema_input_type=str | list[str])]
    fit_command: Annotated[
        list[str] | None,
        BeforeValidator(lambda value: value and arguments(value), json_schema_input_type=str | list[str] | None),
    ] = None
    files: Annotated[dict[str, Annotated[str, Field(min_length=1)]], AfterValidator(_files)] = Field(
        default_factory=dict
    )
    revision: str = ""
    format: Literal["npy", "parquet"] = "npy"
    environment: Annotated[dict[str, str], AfterValidator(_environment)] = Field(default_factory=dict)
    uses_gpu: bool = False
    timeout: Annotated[float, Field(gt=0, le=1e9)] | None = None

    @model_validator(mode="after")
    def _placeholders_are_known(self) -> "External":
        given = (CELLS, *([MODEL] if self.fit_command is not None else []), WORK, SEED, *self.files)
        model = [MODEL] if self.fit_command is not None else []
        refuse_placeholders(self.command, "command", (EMBEDDING, *given), (CELLS, EMBEDDING, *model))
        if self.fit_command is not None:
            refuse_placeholders(self.fit_command, "fit_command", given, (CELLS, MODEL))
        return self

    @property
    def uses_seed(self) -> bool:
        """Whether a command is given it; one that is not should do the same every time."""
        return SEED in placeholders([*self.command, *(self.fit_command or [])])

    @property
    def pretrained(self) -> bool:
        """Return True: what its program brings along is not known here."""
        return True

    @property
    def embeds_on_gpu(self) -> bool:
        """What `uses_gpu` says: both commands are given it."""
        return self.uses_gpu

    @property
    def programs(self) -> tuple[str, ...]:
        """The commands, as one would type them."""
        return tuple(shown(command) for command in (self.fit_command, self.command) if command is not None)

    def identity(self) -> list[Any]:
        """Return plain data that differ where the settings, the code or what is in `files` do."""
        spec, *rest = super().identity()
        # How long it may take changes no result.
        return [{name: value for name, value in spec.items() if name != "timeout"} | {"files": self.contents()}, *rest]

    def contents(self) -> dict[str, str]:
        """Hash what is in each of `files`.

        Raises
        ------
        ModelError
            When one cannot be read.
        """
        return {name: content(Path(path)) for name, path in self.files.items()}

    def check(self, space: GeneSpace) -> None:
        """Refuse a program that cannot be found, and files that cannot be read; nothing is run."""
        self.contents()
        for command in (self.fit_command, self.command):
            if command is not None:
                refuse_missing_program(filled(command, self._paths)[0], self.environment.get("PATH"))

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> "FittedExternal":
        """Run `fit_command`, if there is one, on the corpus, and `command` on a few of its cells.

        Cells that count several times in training stand in the file as often.

        Raises
        ------
        ModelError
            When a command fails, or does not do what it should.
        """
        self.check(corpus.space)
        files, learned = self.contents(), None
        if self.fit_command is not None:
            learned = Learned.new()
            with working_folder(learned.folder.parent) as work:
                cells = repeated(corpus)
                cells = replace(cells, cells=cells.cells.assign(times=1))
                self._write(cells, work, lambda share: progress(share / 10))
                values = self._values(work, seed) | {MODEL: str(learned.folder)}
                self._run("fit_command", self.fit_command, values)
        fitted = FittedExternal(self, corpus.space.ids, learned, seed=seed, files=files)
        fitted.try_out(corpus)
        return fitted

    def embedded(
        self, cells: Corpus, work: Path, seed: int, learned: Path | None, n_latent: int | None
    ) -> NDArray[np.float32]:
        """Run `command` on cells, and return their embedding, shape (N, K).

        Parameters
        ----------
        cells
            The cells, at least one.
        work
            The folder to run it in.
        seed
            The seed of the fit.
        learned
            What `fit_command` left.
        n_latent
            How many dimensions there should be, if that is known.
        """
        # What is to be recognised is not shown: of the labels, those that are no answer.
        shown_labels = [name for name in cells.cells if name in SHOWN]
        self._write(replace(cells, cells=cells.cells[shown_labels]), work, silent)
        values = self._values(work, seed) | ({} if learned is None else {MODEL: str(learned.absolute())})
        tail = self._run("command", self.command, values)
        try:
            return read_embedding(Path(values[EMBEDDING]), cells.obs().index, n_latent)
        except ModelError as error:
            raise ModelError(f"{self._title('command', self.command)} ended well, but {error}{tail}") from error

    def _write(self, cells: Corpus, work: Path, progress: Progress) -> None:
        write_corpus(cells, work / "cells.h5ad", cells.fingerprint, {"version": __version__}, progress)

    @property
    def _paths(self) -> dict[str, str]:
        return {name: str(Path(path).absolute()) for name, path in self.files.items()}

    def _values(self, work: Path, seed: int) -> dict[str, str]:
        """Return what the placeholders of every command stand for."""
        inside = {CELLS: "cells.h5ad", EMBEDDING: f"embedding.{self.format}"}
        paths = {name: str(work / file) for name, file in inside.items()}
        return {**self._paths, **paths, WORK: str(work), SEED: str(seed)}

    def _run(self, key: str, command: list[str], values: Mapping[str, str]) -> str:
        place = Place(Path(values[WORK]), variables(self.environment, uses_gpu=self.uses_gpu))
        return run(filled(command, values), place, self.timeout, self._title(key, command))

    def _title(self, key: str, command: list[str]) -> str:
        return f"{key} `{shown(command)}`"

    def load_fitted(self, folder: Path) -> "FittedExternal":
        """Load what was saved; the settings are the folder's, where the files of the study's `files` are this model's.

        Raises
        ------
        ModelError
            When a file is missing, damaged or not what it should be.
        """
        with reading_checkpoint(folder, self.name) as saved:
            # Files may have moved with the study, and a time limit is none of the model's properties.
            settings = replace(External(**saved.settings), timeout=self.timeout)
            settings = replace(settings, files=self.files) if self.files else settings
            learned = None if settings.fit_command is None else Learned(folder / LEFT)
            if learned is not None and not learned.folder.is_dir():
                raise ModelError(f"{folder}: what fit_command left is gone; fit it again")
            return FittedExternal(settings, saved.genes, learned, **saved.facts)
