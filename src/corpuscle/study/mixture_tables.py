"""The study file's table ``[mixture]``: sources whose shares are to be chosen, and by what."""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from corpuscle.core.components import MOST, STRICT

Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# More is a slip of the finger: surrogates are solved for all mixtures together.
MOST_MIXTURES = 1000


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict | BaseModel) else value


def _targets(value: Any) -> Any:
    """Check targets in one go, so that a fault is reported once."""
    if isinstance(value, list) and not all(isinstance(name, str) and name for name in value):
        raise ValueError("should be a list of names of targets, or a table of their weights")
    for name, weight in value.items() if isinstance(value, dict) else ():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise ValueError(f"{name!r} should have a weight above 0, or be left out; got {weight!r:.80}")
    if value is None or isinstance(value, list | dict):
        return value
    raise ValueError("should be a list of names of targets, or a table of their weights")


class _Table(BaseModel):
    """A table: no key but those it knows."""

    model_config = ConfigDict(frozen=True, **STRICT)


class GroupsSpec(_Table):
    """``groups``: each group of a source's cells by a label stands for a source."""

    source: Text
    by: Text


class ProxySpec(BaseModel):
    """``proxy``: the model that mixtures are tried with; other keys are settings, lists of which the gate tries."""

    model_config = ConfigDict(frozen=True, **{**STRICT, "extra": "allow"})
    model: Text | None = None

    @property
    def tried(self) -> dict[str, Any]:
        """The settings to try, by parameter."""
        given = (self.model_extra or {}).items()
        return {name: value if isinstance(value, list) else [value] for name, value in given}


class UtilitySpec(_Table):
    """``utility``: a task's metric, on which targets, and how much each counts."""

    task: Text | None = None
    metric: Text | None = None
    way: str | None = None
    targets: Annotated[
        list[Text] | dict[Text, Positive] | None,
        BeforeValidator(_targets, json_schema_input_type=list[Text] | dict[Text, Positive] | None),
    ] = None
    weight: Positive = 1.0

    @property
    def shares(self) -> dict[str, float] | None:
        """How much each target counts; None: all targets of the task alike."""
        if self.targets is None:
            return None
        return dict(self.targets) if isinstance(self.targets, dict) else dict.fromkeys(self.targets, 1.0)


class MixtureSpec(_Table):
    """``[mixture]``: which sources to mix, how large, tried with what, for what, and how many runs that may take."""

    sources: Annotated[list[Text], Field(min_length=1)] | None = None
    groups: Annotated[
        list[GroupsSpec], BeforeValidator(_listed, json_schema_input_type=GroupsSpec | list[GroupsSpec])
    ] = []
    n_cells: Annotated[int, Field(gt=0, le=MOST)]
    proxy: ProxySpec = ProxySpec()
    utility: Annotated[
        list[UtilitySpec],
        BeforeValidator(_listed, json_schema_input_type=UtilitySpec | list[UtilitySpec]),
        Field(min_length=1),
    ] = [UtilitySpec()]
    combine: Literal["mean", "worst", "pareto"] = "mean"
    most_repeats: Annotated[int, Field(ge=1, le=1000)] = 4
    prior: dict[Text, Positive] = {}
    leave_prior: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    runs: Annotated[int, Field(gt=0, le=1_000_000)] = 200
    mixtures: Annotated[int, Field(ge=8, le=MOST_MIXTURES)] = 16
    held_out: Annotated[int, Field(ge=0, le=MOST_MIXTURES)] = 8
    seeds: Annotated[int, Field(ge=2, le=100)] = 2
    rounds: Annotated[int, Field(ge=0, le=100)] = 2
    tolerance: Positive = 0.1
    transfer: Text | None = None
    confirm_seeds: Annotated[int, Field(ge=5, le=100)] = 5
