"""Tables as CSV: read back as they were, and no formula among them."""

import io

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.csv_text import csv_text


@pytest.mark.parametrize("dtype", ["object", "string", "category"])
def test_no_text_begins_as_a_formula_and_all_else_stays(dtype: str) -> None:
    names = ["=cmd|'/c calc'!A1", "+1", "-lines", "@SUM(A1)", "\t=1", "Blood+Lung", "a=b", "'quoted", "", None]
    table = pd.DataFrame({"corpus": pd.Series(names, dtype=dtype), "value": [-1.5, np.nan, *range(8)], "best": True})
    found = pd.read_csv(io.StringIO(csv_text(table)), keep_default_na=False, na_values={"value": [""]})
    assert list(found["corpus"]) == [
        "'=cmd|'/c calc'!A1", "'+1", "'-lines", "'@SUM(A1)", "'\t=1", "Blood+Lung", "a=b", "'quoted", "", "",
    ]  # fmt: skip
    np.testing.assert_array_equal(found["value"], table["value"])
    assert csv_text(table.iloc[5:8]) == table.iloc[5:8].to_csv(index=False, lineterminator="\n")


def test_names_of_columns_are_texts_too() -> None:
    assert csv_text(pd.DataFrame({"=1+1": [0]})) == "'=1+1\n0\n"


def test_control_characters_are_escaped_as_in_what_is_printed() -> None:
    table = pd.DataFrame({"a\x1b[31m": ["\x1b]0;x\x07", "two\nlines", "\r=1"]})
    found = pd.read_csv(io.StringIO(csv_text(table)))
    assert list(found) == ["a\\x1b[31m"]
    assert list(found.iloc[:, 0]) == ["\\x1b]0;x\\x07", "two\nlines", "\\r=1"]
    assert csv_text(table.iloc[:1], exact=True) == table.iloc[:1].to_csv(index=False, lineterminator="\n")


def test_the_table_itself_stays() -> None:
    table = pd.DataFrame({"corpus": ["=1"]})
    csv_text(table)
    assert table["corpus"].item() == "=1"
