"""Opened: what a process has open of a store, so that artifacts that follow each other need not open it again."""

from pathlib import Path

from corpuscle.core.components import Component
from corpuscle.core.errors import ComponentError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.corpus.context import Context
from corpuscle.corpus.stored import StoredCorpora
from corpuscle.measures.view import StudyView
from corpuscle.model.imputer import model_imputer
from corpuscle.model.model import FittedModel
from corpuscle.store import Store


class Opened:
    """A store, its corpora, and the model and the view that were used last.

    Parameters
    ----------
    root
        The store's folder.
    errors
        Where tracebacks are kept; see `Store`.
    """

    def __init__(self, root: Path, errors: Path | None = None) -> None:
        self.store = Store(root, errors)
        self.corpora = StoredCorpora(Context(store=self.store, imputer=model_imputer))
        # One: what a run's artifacts share. Models of other runs would only take memory.
        self.model: tuple[str, FittedModel] | None = None
        self.view: tuple[str, StudyView] | None = None
        self._seen: dict[str, str] = {}

    def check_code(self, component: Component, identity: str) -> None:
        """Refuse a component whose code is not that which results are named after; `identity` is its fingerprint.

        A user's own may be edited while a study runs. What counts is its code when this process first saw it.

        Raises
        ------
        ComponentError
            When it is another.
        """
        if (key := fingerprint(component.spec())) not in self._seen:
            self._seen[key] = fingerprint(component.identity())
        if self._seen[key] != identity:
            raise ComponentError(
                f"the code of {component.kind} {component.name!r} changed after the run began; run the same command "
                "again"
            )
