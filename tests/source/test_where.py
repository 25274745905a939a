"""A where selects what it says, executes nothing, and explains what it refuses."""

import sys

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import SourceError
from corpuscle.source.cell_filter import columns, matches, parse

TABLE = pd.DataFrame(
    {
        "text": ["a", "b", None],
        "category": pd.Categorical(["a", None, "b"]),
        "numbers": pd.Categorical([1, None, 2]),
        "flags": pd.Categorical([True, None, False]),
        "string": pd.array(["a", None, "b"], dtype="string"),
        "n": np.array([1, 2, 3], np.uint8),
        "share": [0.5, np.nan, 2.0],
        "whole": pd.array([1, None, 3], dtype="Int64"),
        "good": [True, False, True],
        "maybe": pd.array([True, None, False], dtype="boolean"),
        "cell type": ["x`y`z", "b", "and"],
        "nothing": [None, None, None],
        "empty": [np.nan] * 3,
        "no category": pd.Categorical([None, None, None]),
    }
)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("text == 'a'", "100"),
        ("'a' == text", "100"),
        ("text != 'a'", "011"),
        ("text in ['a', 'b']", "110"),
        ("text not in ['a']", "011"),
        ("text in []", "000"),
        ("text > 'a'", "010"),
        ("text == text", "110"),
        ("category == 'a'", "100"),
        ("category == text", "100"),
        ("category not in ('a',)", "011"),
        ("numbers > 1", "001"),
        ("numbers in [1]", "100"),
        ("flags", "100"),
        ("flags == False", "001"),
        ("string == 'b'", "001"),
        ("string in ['a']", "100"),
        ("n > -1", "111"),
        ("n in [-1, 3]", "001"),
        ("n > 99999999999999999999999", "000"),
        ("1 < n <= 2", "010"),
        ("share < 1.5", "100"),
        ("share != 0.5", "011"),
        ("whole >= 1", "101"),
        ("whole != 3", "110"),
        ("good", "101"),
        ("not good", "010"),
        ("good == 1", "101"),
        ("maybe", "100"),
        ("not maybe", "011"),
        ("maybe == False", "001"),
        ("`cell type` == 'b'", "010"),
        ("`cell type` == 'x`y`z'", "100"),
        ('`cell type` == "x`y`z"', "100"),
        ("nothing == 'a'", "000"),
        ("empty == 'a'", "000"),
        ("empty > 1", "000"),
        ("`no category` == 'a'", "000"),
        ("n == 1 or text == 'b' and good", "100"),
        ("(n == 1 or text == 'b') and not good", "010"),
        ("n > 1 " + "and n > 1 " * 2000, "011"),
        ("(" * 150 + "n > 1" + ")" * 150, "011"),
    ],
    ids=lambda value: value[:30],
)
def test_selects_what_it_says(expression, expected):
    before = TABLE.copy()
    assert matches(expression, TABLE).tolist() == [digit == "1" for digit in expected]
    pd.testing.assert_frame_equal(TABLE, before)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "text.upper() == 'A'",
        "text.__class__ == 'a'",
        "(lambda: 1) == 1",
        "n[0] == 1",
        "[x for x in n] == 1",
        "{x for x in n} == 1",
        "f'{n}' == '1'",
        "f'{__import__(\"os\")}' == text",
        "(x := 1) == n",
        "n + 1 == 2",
        "-n > 1",
        "n ** 99999 > 1",
        "n if good else n",
        "await n",
        "yield",
        "*n",
        "n is None",
        "n == None",
        "n == 1j",
        "text == b'a'",
        "text in {'a'}",
        "n in [n]",
        "n in [[1]]",
        "n in [not 1]",
        "...",
        "n = 1",
        "n == 1; n",
        "n ==",
        "",
        "`",
        "`` == 1",
        "n == 1\nn == 2",
        "n == 1\0",
        "(" * 100_000,
        "not " * 100_000 + "n > 1",
        "n == " + "9" * 5000,
    ],
    ids=lambda value: repr(value[:25]),
)
def test_anything_but_a_filter_is_refused_without_a_table(expression):
    with pytest.raises(SourceError, match="a where holds comparisons") as caught:
        parse(expression)
    assert len(str(caught.value)) < 700


def test_nothing_is_executed():
    assert "this" not in sys.modules
    with pytest.raises(SourceError, match="a call is not allowed"):
        matches("__import__('this') == text", TABLE)
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("texd == 'a'", "there is no column 'texd'; did you mean 'text'"),
        ("__class__ == 1", "there is no column '__class__'"),
        ("text == 1", "a number and a text cannot be compared; quote texts"),
        ("category == 1", "a number and a text cannot be compared"),
        ("n == '1'", "do not quote numbers"),
        ("whole == '1'", "do not quote numbers"),
        ("share < 'a'", "do not quote numbers"),
        ("n not in ['1']", "do not quote numbers"),
        ("text not in [1]", "quote texts"),
        ("text == n", "cannot be compared"),
        ("text == ['a']", "a list and a text cannot be compared"),
        ("(n == 1) == 1", "a comparison and a number cannot be compared"),
        ("'a' in ['a']", "in needs a column on its left"),
        ("text in category", "in needs a column on its left and a .list. on its right"),
        ("1 == 1", "needs a column on one side"),
        ("text", "this is not a comparison"),
        ("n and good", "this is not a comparison"),
        ("not text", "this is not a comparison"),
        ("True", "this is not a comparison"),
    ],
)
def test_what_cannot_be_compared_is_explained(expression, message):
    with pytest.raises(SourceError, match=message):
        matches(expression, TABLE)


def test_columns_are_named_whatever_their_quoting():
    assert columns("`cell type` == 'a`b`' and n > 1 and not good") == {"cell type", "n", "good"}


@pytest.mark.parametrize(
    "expression", ["'" + r"\'" * 150_000, '"' + r"\"" * 150_000, "`" * 300_000, "'a" * 150_001, "'" + "\\\n" * 150_000]
)
def test_a_text_that_does_not_end_is_refused_at_once(expression):
    """Where the search for its end began anew at each quote, these took minutes."""
    with pytest.raises(SourceError, match="not an expression") as caught:
        parse(expression)
    assert len(str(caught.value)) < 700


def test_an_absurdly_long_filter_is_refused_and_a_long_list_is_not(monkeypatch):
    monkeypatch.setattr("corpuscle.source.cell_filter.COMPARISONS", 3)
    with pytest.raises(SourceError, match="1,000,008 letters; 1,000,000 are enough"):
        parse("n == 1" + " " * 1_000_002)
    with pytest.raises(SourceError, match="4 comparisons; write column in"):
        parse("n == 1 or n == 2 or 1 < n < 3")
    listed = ", ".join(f"'AAACCTGAGAAACC{at}-1'" for at in range(30_000))
    assert not matches(f"text in [{listed}]", TABLE).any()


def test_a_message_of_a_long_filter_is_short():
    with pytest.raises(SourceError) as caught:
        matches("x" * 50_000 + " == 1", pd.DataFrame({f"column {at}": [1] for at in range(3000)}))
    assert len(str(caught.value)) < 2500
