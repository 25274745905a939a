"""Untrained: any model at step 0, the control that says what training brings."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from corpuscle.core.components import Component, build, component, find
from corpuscle.core.errors import ComponentError
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.model import FittedModel, Model, Progress, WithoutSteps, silent
from corpuscle.model.size import memory_of, memory_to_fine_tune
from corpuscle.source.genes import GeneSpace

NO_STEPS = {"steps": 0}


def _trainable(table: dict[str, Any]) -> dict[str, Any]:
    """Check the table of a model, and give it all of its parameters."""
    name = str(table.get("name", ""))
    if not name:
        raise ValueError('should be the table of a model, such as { name = "ldvae" }')
    if "budget" in table:
        raise ValueError("an untrained model has no budget; leave it out")
    try:
        model = build(Model, name, {key: value for key, value in table.items() if key != "name"})
    except ComponentError as error:
        raise ValueError(str(error)) from error
    spec = model.spec()
    if "budget" not in spec:
        raise ValueError(f"model {name!r} is not trained in steps: there is nothing to compare it with untrained")
    del spec["budget"]
    return spec


@component
class Untrained(WithoutSteps):
    """Another model, before its first step.

    It is initialised as that which would be trained with this seed, and is a model of its own kind in every other way:
    what the trained one can be asked, it can be asked.

    Parameters
    ----------
    model
        The table of a model that has a budget, without it: ``{ name = "ldvae", n_latent = 20 }``.

    Examples
    --------
    >>> Untrained(model={"name": "ldvae", "n_latent": 20}).model["n_latent"]
    20
    >>> Untrained(model={"name": "pca"})
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: ...model 'pca' is not trained in steps...
    """

    model: Annotated[dict[str, Any], AfterValidator(_trainable)]

    @classmethod
    def located(cls, parameters: Mapping[str, Any], locate: Callable[[Any], Any]) -> dict[str, Any]:
        """Return parameters with the model's own paths as `locate` has them; see `Component.located`."""
        table = parameters.get("model")
        if not isinstance(table, dict) or not isinstance(name := table.get("name"), str):
            return dict(parameters)
        # What is no model's name is said where the model is made.
        with contextlib.suppress(ComponentError):
            return {**parameters, "model": find(Model, name).located(table, locate)}
        return dict(parameters)

    def check(self, space: GeneSpace) -> None:
        """Refuse what the model itself refuses."""
        self._model().check(space)

    def check_corpus(self, corpus: Corpus) -> None:
        """Refuse what the model itself refuses."""
        self._model().check_corpus(corpus)

    def check_counts(self, space: GeneSpace, totals: Iterable[tuple[str, NDArray[np.float64]]]) -> None:
        """Refuse what the model itself refuses."""
        self._model().check_counts(space, totals)

    @property
    def pretrained(self) -> bool:
        """Whether the model itself begins with weights of others."""
        return self._model().pretrained

    @property
    def uses(self) -> tuple[Component, ...]:
        """The model itself."""
        return (self._model(),)

    @property
    def uses_gpu(self) -> bool:
        """What the model itself says."""
        return self._model().uses_gpu

    @property
    def embeds_on_gpu(self) -> bool:
        """What the model itself says."""
        return self._model().embeds_on_gpu

    @property
    def fewest_cells(self) -> int:
        """What the model itself says."""
        return self._model().fewest_cells

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> FittedModel:
        """Initialise the model for a corpus; see its own ``fit``."""
        return self._model().fit(corpus, seed, progress)

    def load_fitted(self, folder: Path) -> FittedModel:
        """Load what was saved; see the model's own ``load_fitted``."""
        return self._model().load_fitted(folder)

    def memory(self, n_genes: int) -> int:
        """Return about how many bytes the model takes; see `corpuscle.model.size.TakesMemory`."""
        return memory_of(self._model(), n_genes)

    def memory_to_fine_tune(self, n_genes: int, n_cells: int, n_blocks: int | None) -> int:
        """Return about how many bytes it takes; see `corpuscle.model.size.TakesMemoryWhenFineTuned`."""
        return memory_to_fine_tune(self._model(), n_genes, n_cells, n_blocks)

    def _model(self) -> Model:
        parameters = {key: value for key, value in self.model.items() if key != "name"}
        return build(Model, self.model["name"], {**parameters, "budget": NO_STEPS})
