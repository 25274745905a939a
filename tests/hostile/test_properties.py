"""Whatever a study, a filter or a recipe says: it is understood, or refused with one message."""

import ast
import os

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import malformed
from corpuscle import Study
from corpuscle.core import components
from corpuscle.core.errors import ComponentError, InputError, SourceError, StudyError
from corpuscle.corpus.sampler import Sampler
from corpuscle.source import cell_filter

# Always the same examples: a test that fails once in a hundred times helps nobody.
# `make test-faults` asks for many.
MANY = 1000
some = settings(
    max_examples=MANY if os.environ.get("CORPUSCLE_THOROUGH") else 25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
SOUND = malformed.STUDY.format(path="a.h5ad", more="")

# --- filters ----------------------------------------------------------------------------------------------------------

TABLE = pd.DataFrame(
    {
        "cell_type": ["B", "NK", None, "T "],
        "n": [1, 5, 3, 2],
        "ok": [True, False, True, True],
        "cell type": list("abcd"),
    }
)
names = st.sampled_from(["cell_type", "n", "ok", "`cell type`"])
constants = st.one_of(st.text(max_size=5).map(repr), st.integers(-9, 9).map(str), st.floats(-9, 9).map(repr))
compared = st.builds(
    "{} {} {}".format, names, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), st.one_of(constants, names)
)
listed = st.builds(
    "{} {} [{}]".format, names, st.sampled_from(["in", "not in"]), st.lists(constants, max_size=3).map(", ".join)
)
filters = st.recursive(
    st.one_of(compared, listed, st.just("ok")),
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        inner.map("not ({})".format),
    ),
    max_leaves=6,
)


@some
@given(filters)
def test_a_filter_of_legal_parts_chooses_rows_or_says_why_not(expression: str) -> None:
    try:
        found = cell_filter.matches(expression, TABLE)
    except SourceError as error:
        assert len(str(error)) < 4000
        return
    assert found.dtype == np.bool_
    assert found.shape == (4,)
    # Not is the opposite, and a filter is its own double.
    np.testing.assert_array_equal(cell_filter.matches(f"not ({expression})", TABLE), ~found)
    np.testing.assert_array_equal(cell_filter.matches(f"({expression}) and ({expression})", TABLE), found)


@some
@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_refused(expression: str) -> None:
    try:
        tree = cell_filter.parse(expression)
    except SourceError as error:
        assert len(str(error)) < 4000
    else:
        assert isinstance(tree, ast.expr)


@some
@given(st.text(alphabet="'\"`\\ ()[]=<>andotri1.,_\n\0", max_size=200))
def test_any_quotes_and_brackets_are_a_filter_or_refused(expression: str) -> None:
    try:
        cell_filter.matches(expression, TABLE)
    except SourceError as error:
        assert len(str(error)) < 4000


# --- studies ----------------------------------------------------------------------------------------------------------


def study(text: str) -> Study | StudyError:
    """Read a study, or return what is wrong with it."""
    try:
        return Study.parse(text)
    except StudyError as error:
        assert error.problems
        assert all(0 <= problem.line <= text.count("\n") + 1 for problem in error.problems)
        return error


@some
@given(st.text(max_size=200))
def test_any_text_is_a_study_or_refused(text: str) -> None:
    study(text)


@some
@given(st.data())
def test_a_study_with_a_piece_of_it_elsewhere_is_read_or_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SOUND) - 1))
    stop = data.draw(st.integers(start, min(len(SOUND), start + 30)))
    into = data.draw(st.integers(0, len(SOUND)))
    study(SOUND[:into] + SOUND[start:stop] + SOUND[into:])
    study(SOUND[:start] + SOUND[stop:])


plain = st.recursive(
    st.one_of(
        st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8), st.dates().map(str), st.none()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("abcdefs_.", min_size=1, max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


def toml(value: object) -> str:  # noqa: PLR0911
    """Write a value as TOML has it."""
    match value:
        case None:
            return '""'
        case bool():
            return str(value).lower()
        case float():
            return repr(value)
        case str():
            return (
                '"' + "".join(f"\\U{ord(letter):08x}" for letter in value if not "\ud800" <= letter <= "\udfff") + '"'
            )
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return "{" + ", ".join(f"{toml(key)} = {toml(one)}" for key, one in value.items()) + "}"
    return str(value)


PLACES = [
    'name = "odd"', "seeds = 1", '{ path = "a.h5ad" }', "{ min_genes = 1 }", '{ by = "cell", share = 0.3 }',
    '[{ source = "s", n_cells = 4 }]', '"A"', "4", '[{ name = "toy:MeanProfile" }]', '"toy:MeanProfile"', '["s"]',
]  # fmt: skip


@some
@given(st.sampled_from(PLACES), plain)
def test_any_value_anywhere_in_a_study_is_read_or_refused(place: str, value: object) -> None:
    before, _, after = SOUND.partition(place)
    key = place.partition(" = ")[0] + " = " if place.startswith(("name", "seeds")) else ""
    text = f"{before}{key}{toml(value)}{after}"
    study(text)


# --- components and recipes -------------------------------------------------------------------------------------------


@some
@given(
    st.sampled_from(components.names(Sampler)), st.dictionaries(st.sampled_from(["by", "n", "key", "fraction"]), plain)
)
def test_any_parameters_make_a_sampler_or_are_refused(name: str, parameters: dict[str, object]) -> None:
    try:
        made = components.build(Sampler, name, parameters)
    except ComponentError as error:
        assert str(error)
    else:
        assert components.build(Sampler, name, parameters) == made


recipes = st.fixed_dictionaries(
    {"name": st.text(max_size=6)},
    optional={
        "parts": st.lists(
            st.fixed_dictionaries(
                {"source": st.sampled_from(["s", "t", ""])},
                optional={
                    "n_cells": st.integers(-2, 2**40), "fraction": st.floats(),
                    "sampler": st.sampled_from(["uniform", "label_balanced", "nope", "os:system"]),
                    "where": filters, "by": st.text(max_size=4),
                },
            ),
            max_size=3,
        ),
        "exclude": filters,
        "ladder": st.fixed_dictionaries(
            {}, optional={"percent": st.lists(st.floats()), "cells": st.lists(st.integers())}
        ),
        "steps": st.lists(
            st.fixed_dictionaries(
                {"alteration": st.sampled_from(["thin", "nope", ""])}, optional={"keep": st.floats(), "x": plain}
            ),
            max_size=2,
        ),
    },
)  # fmt: skip


@some
@given(st.lists(recipes, max_size=3))
def test_any_recipes_are_read_or_refused(corpora: list[dict[str, object]]) -> None:
    head, _, rest = SOUND.partition("corpora = ")
    found = study(f"{head}corpora = {toml(corpora)}\n{rest.partition(chr(10))[2]}")
    if isinstance(found, Study):
        assert {recipe.name for recipe in found.recipes}
    else:
        assert isinstance(found, InputError)
