"""The study file's tables, as they are written: which keys each has, and what may stand there."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StrictBool, Tag, model_validator

from corpuscle.core.components import MOST, STRICT
from corpuscle.core.text import is_missing
from corpuscle.corpus.recipe import Rung
from corpuscle.source.source import ROLES
from corpuscle.study.mixture_tables import MixtureSpec

# A size of a nested ladder is drawn through all larger ones, so that time grows with the square of their number.
MOST_RUNGS = 200

# Nobody wants a cell more often in an epoch.
MOST_REPEATS = 1000

LONGEST_NAME = 80
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=r"^[^\x00-\x1f]+$")]
Share = Annotated[float, Field(gt=0, le=1)]
Percent = Annotated[float, Field(gt=0, le=100)]
Count = Annotated[int, Field(gt=0, le=MOST)]


def _paths(value: Any) -> Any:
    paths = value if isinstance(value, list) else [value]
    if not paths or not all(isinstance(path, str) and path for path in paths):
        raise ValueError("should be a text, in quotes, or a list of such texts")
    return tuple(paths) if isinstance(value, list) else value


def _term(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"CL:\d{7}", value):
        return value
    raise ValueError('should be the id of a term of the Cell Ontology, such as "CL:0000236"')


Term = Annotated[str, BeforeValidator(_term), Field(json_schema_extra={"pattern": r"^CL:\d{7}$"})]
# One path or several; checked in one go, so that a fault is reported once.
Paths = Annotated[str | tuple[str, ...], BeforeValidator(_paths, json_schema_input_type=str | list[str])]


def _names(value: Any) -> Any:
    if isinstance(value, str) and value:
        return value
    for label, name in value.items() if isinstance(value, dict) else ():
        if not isinstance(name, str) or is_missing(name):
            hint = "; leave out cells without a label by the source's where" if isinstance(name, str) else ""
            raise ValueError(f"{label!r} should have a name, as a text; got {name!r}{hint}")
    if isinstance(value, dict):
        return value
    raise ValueError(f"should be {_LABEL_MAPS}")


_LABEL_MAPS = (
    'a table such as { "CD14 Mono" = "CL:0001054" }, the path of a CSV or TSV with the columns from and to, "packaged" '
    'or "alike"'
)
# Checked in one go, so that a fault is reported once.
Names = Annotated[str | dict[str, str], BeforeValidator(_names)]


class Table(BaseModel):
    """A table of the study file: no key but those it knows."""

    model_config = ConfigDict(frozen=True, **STRICT)


class OpenTable(BaseModel):
    """A table whose other keys are the parameters of the component that it names."""

    model_config = ConfigDict(frozen=True, **{**STRICT, "extra": "allow"})

    @property
    def parameters(self) -> dict[str, Any]:
        """The keys next to the table's own."""
        return dict(self.model_extra or {})


def _counts(value: Any) -> Any:
    if isinstance(value, str):
        return {"layer": value}
    if isinstance(value, dict | CountsSpec):
        return value
    raise ValueError('should be a text such as "raw", or a table such as { layer = "X", round = true }')


class CountsSpec(Table):
    """A source's ``counts``: where they are; a bare text is a layer."""

    layer: str = "X"
    round: bool = False


class SourceSpec(Table):
    """``[sources] NAME = {…}``: a file, or a data set that comes with the package."""

    path: Paths | None = None
    dataset: str | None = None
    where: str | None = None
    counts: Annotated[CountsSpec, BeforeValidator(_counts, json_schema_input_type=CountsSpec | str)] = CountsSpec()
    genes: str | None = None
    quality: dict[str, Any] = {}
    labels: dict[str, Names] = {}
    donors: Literal["own"] | None = None
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
    """``[genes]``: the gene space; without `min_counts_kept`, a list of genes may keep any share of the counts."""

    space: str = "intersection"
    by: Literal["ensembl", "symbol"] | None = None
    min_counts_kept: Annotated[float, Field(ge=0, le=1)] | None = None


class PartSpec(OpenTable):
    """One of a corpus' ``parts``."""

    source: str
    n_cells: Count | None = None
    fraction: Share | None = None
    sampler: str = "uniform"
    only: str | None = None
    repeats: Annotated[int, Field(ge=1, le=MOST_REPEATS)] = 1


class StepSpec(OpenTable):
    """One of a corpus' ``steps``."""

    alteration: str


class LadderSpec(Table):
    """A corpus' ``ladder``: the sizes to draw it in, each a corpus of its own."""

    percent: Annotated[list[Percent], Field(min_length=1, max_length=MOST_RUNGS)] | None = None
    cells: Annotated[list[Count], Field(min_length=1, max_length=MOST_RUNGS)] | None = None
    nested: bool = True

    @model_validator(mode="after")
    def _one_of_percent_and_cells(self) -> "LadderSpec":
        if (self.percent is None) == (self.cells is None):
            raise ValueError("give either percent (of what the parts ask for) or cells, a list of sizes")
        return self

    @property
    def rungs(self) -> list[Rung]:
        """The sizes, as they stand."""
        unit: Literal["cells", "%"] = "%" if self.percent is not None else "cells"
        sizes: list[float] = [*(self.percent or self.cells or [])]
        falling = sorted(set(sizes), reverse=True)
        return [
            Rung(size, unit, larger=tuple(falling[: falling.index(size)]) if self.nested else None) for size in sizes
        ]


class CorpusSpec(Table):
    """``[[corpora]]``."""

    name: Name
    parts: Annotated[list[PartSpec], Field(min_length=1)]
    exclude: str | None = None
    ladder: LadderSpec | None = None
    steps: list[StepSpec] = []

    @property
    def rungs(self) -> dict[str, Rung | None]:
        """The corpora that it stands for, by name: itself, or one for each size of its ladder."""
        if self.ladder is None:
            return {self.name: None}
        return {f"{self.name} {rung}": rung for rung in self.ladder.rungs}


class LabelledSpec(OpenTable):
    """``[[models]]`` and ``[[tasks]]``: a component, under a label where its name is not enough."""

    name: str
    label: Name | None = None


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class ModelSpec(LabelledSpec):
    """``[[models]]``."""

    trained_on: list[Annotated[str, Field(min_length=1)]] | None = None


class TargetSpec(Table):
    """What a task is asked ``on``: cells of a source."""

    source: str
    where: str | None = None
    name: Name | None = None

    @property
    def title(self) -> str:
        """Its name; the source's where it has none."""
        return self.name or self.source


class HeadlineSpec(Table):
    """A task's ``headline``: which of its scores reports lead with; what is not named is as it is without."""

    metric: str = ""
    way: str = ""


class TaskSpec(LabelledSpec):
    """``[[tasks]]``."""

    # A bare name is all evaluation cells of that source.
    on: Annotated[
        list[
            Annotated[
                TargetSpec,
                BeforeValidator(
                    lambda on: {"source": on} if isinstance(on, str) else on, json_schema_input_type=TargetSpec | str
                ),
            ]
        ],
        Field(min_length=1),
    ]
    # A bare name is a metric, in the first way in which it is found.
    headline: Annotated[
        HeadlineSpec,
        BeforeValidator(
            lambda given: {"metric": given} if isinstance(given, str) else given,
            json_schema_input_type=HeadlineSpec | str,
        ),
    ] = HeadlineSpec()


class SeedsSpec(Table):
    """``seeds`` as a table: how many draws of each corpus, and how many fits of each draw, all crossed."""

    draws: Annotated[int, Field(ge=2, le=100)]
    fits: Annotated[int, Field(ge=2, le=100)]


# Which of the two `seeds` is; these are in the place of a fault, and in no study file.
TAGS = ("[number]", "[table]")
Seeds = Annotated[
    Annotated[int, Field(ge=1, le=10_000), Tag(TAGS[0])] | Annotated[SeedsSpec, Tag(TAGS[1])],
    Discriminator(lambda value: TAGS[isinstance(value, dict | SeedsSpec)]),
]


class StudySpec(Table):
    """The study file's tables, as they are written."""

    name: Name
    question: str = ""
    seeds: Seeds = 3
    first_seed: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    baseline: str | None = None
    control: str | None = None
    margins: dict[Name, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    maps: StrictBool = True
    sources: Annotated[dict[Name, SourceSpec], Field(min_length=1)]
    quality: dict[str, Any] = {}
    genes: GenesSpec = GenesSpec()
    holdout: dict[str, dict[str, Any]] = {}
    labels: dict[str, Names] = {}
    cell_types: dict[Name, Term] = {}
    # Of a study of mixtures, they are made; see `corpuscle.study.schema.read_tables`.
    corpora: Annotated[list[CorpusSpec], Field(min_length=1)] = []
    mixture: MixtureSpec | None = None
    # A bare name is a component with its own settings; a task needs `on`, too, so its name alone says what is missing.
    models: Annotated[list[Annotated[ModelSpec, BeforeValidator(_named)]], Field(min_length=1)]
    tasks: list[Annotated[TaskSpec, BeforeValidator(_named)]] = []

    @property
    def n_draws(self) -> int:
        """How often each corpus is drawn."""
        return self.seeds.draws if isinstance(self.seeds, SeedsSpec) else self.seeds

    @property
    def n_fits(self) -> int:
        """How often each draw is fitted; 1 where every draw has an initialisation of its own."""
        return self.seeds.fits if isinstance(self.seeds, SeedsSpec) else 1
