"""A score is a row whose columns and types never change."""

import math

import pytest

from corpuscle.core.errors import CorpuscleError, InputError, Problem, StudyError
from corpuscle.core.scores import COLUMNS, DTYPES, Score, score_table

CONTEXT = {"corpus": "A", "model": "m", "seed": 1, "task": "t", "target": "x"}


@pytest.mark.parametrize("n_scores", [0, 2])
def test_the_table_has_its_columns_and_types_however_many_rows(n_scores):
    table = score_table([Score("r2", "all", 0.5, 3, "higher")] * n_scores, **CONTEXT)
    assert tuple(table.columns) == COLUMNS
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == DTYPES
    assert len(table) == n_scores


def test_nan_keeps_its_reason():
    table = score_table([Score("r2", "all", math.nan, 0, "higher", reason="no cells")], **CONTEXT)
    assert table["value"].isna().tolist() == [True]
    assert table["reason"].tolist() == ["no cells"]


def test_a_study_error_tells_every_problem_in_the_files_order():
    error = StudyError([Problem("b", "wrong", 3), Problem("a", "wrong too", 1), Problem("", "no place")])
    assert str(error).splitlines() == ["no place", "line 1: a: wrong too", "line 3: b: wrong"]
    assert isinstance(error, InputError)
    assert isinstance(error, CorpuscleError)
