"""The study file's tables, as they are written: which keys each has, and what may stand there."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from corpuscle.core.components import STRICT
from corpuscle.source.source import ROLES

Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]+$")]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(gt=0)]


class Table(BaseModel):
    """A table of the study file: no key but those it knows."""

    model_config = ConfigDict(frozen=True, **STRICT)


class OpenTable(BaseModel):
    """A table whose other keys are the parameters of the component that it names."""

    model_config = ConfigDict(frozen=True, **{**STRICT, "extra": "allow"})

    @property
    def parameters(self) -> dict[str, Any]:
        """The keys beside the table's own."""
        return dict(self.model_extra or {})


class SourceSpec(Table):
    """``[sources] NAME = {…}``: a file, or a data set that comes with the package."""

    path: str | None = None
    dataset: str | None = None
    where: str | None = None
    counts: str = "X"
    quality: dict[str, Any] = {}
    cell_type: str | None = None
    donor: str | None = None
    batch: str | None = None
    study: str | None = None
    tissue: str | None = None
    disease: str | None = None
    assay: str | None = None
    organism: str | None = None

    @property
    def roles(self) -> dict[str, str]:
        """Which column holds which label, where the file says so."""
        return {role: column for role in ROLES if (column := getattr(self, role)) is not None}


class GenesSpec(Table):
    """``[genes]``: the gene space."""

    space: str = "intersection"
    by: Literal["ensembl", "symbol"] | None = None


class PartSpec(OpenTable):
    """One of a corpus' ``parts``."""

    source: str
    n_cells: Count | None = None
    fraction: Share | None = None
    sampler: str = "uniform"


class CorpusSpec(Table):
    """``[[corpora]]``."""

    name: Name
    parts: Annotated[list[PartSpec], Field(min_length=1)]
    exclude: str | None = None


class LabelledSpec(OpenTable):
    """``[[models]]`` and ``[[tasks]]``: a component, under a label where its name is not enough."""

    name: str
    label: Name | None = None


class TargetSpec(Table):
    """What a task is asked ``on``: cells of a source."""

    source: str
    where: str | None = None
    name: Name | None = None

    @property
    def title(self) -> str:
        """Its name; the source's where it has none."""
        return self.name or self.source


class TaskSpec(LabelledSpec):
    """``[[tasks]]``."""

    # A bare name is all evaluation cells of that source.
    on: Annotated[
        list[Annotated[TargetSpec, BeforeValidator(lambda on: {"source": on} if isinstance(on, str) else on)]],
        Field(min_length=1),
    ]


class StudySpec(Table):
    """The study file's tables, as they are written."""

    name: Name
    question: str = ""
    seeds: Annotated[int, Field(ge=1, le=10_000)] = 1
    baseline: str | None = None
    sources: Annotated[dict[Name, SourceSpec], Field(min_length=1)]
    quality: dict[str, Any] = {}
    genes: GenesSpec = GenesSpec()
    holdout: dict[str, dict[str, Any]] = {}
    corpora: Annotated[list[CorpusSpec], Field(min_length=1)]
    models: Annotated[list[LabelledSpec], Field(min_length=1)]
    tasks: list[TaskSpec] = []
