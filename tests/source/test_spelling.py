"""Labels of one spelling are taken as one where a study asks for it: what may carry a meaning must stay."""

import pytest

from corpuscle.source.spelling import spelling


@pytest.mark.parametrize(("one", "other"), [
    ("CD4 T", "cd4-T"), ("T cell", "T-cell "), ("B_cell", "b.cell"), ("1.0", "1"), ("T - B", "T-B"), ("-1", "-1.0"),
    ("CD4- T", "cd4-  t"), ("CD4\N{SUPERSCRIPT PLUS SIGN} T", "CD4+ T"), ("CD4\N{EN DASH} T", "CD4- T"),
    ("DC (plasmacytoid)", "dc plasmacytoid"), ("CD4(-) T", "CD4- T"),
])  # fmt: skip
def test_case_blanks_and_joining_marks_are_no_difference(one, other):
    assert spelling(one) == spelling(other)


@pytest.mark.parametrize(("one", "other"), [
    ("CD4+ T", "CD4- T"), ("CD4+ T", "CD4 T"), ("CD4- T", "CD4 T"), ("CD4-CD8- T", "CD4 CD8- T"), ("CD4-", "CD4"),
    ("CD4 (-) T", "CD4 T"), ("CD4\N{MINUS SIGN} T", "CD4 T"), ("T/NK", "TNK"), ("T&B", "TB"), ("T cell", "T cells"),
    ("B?", "B"), ("s1.1", "s11"), ("1-1", "11"), ("-1", "1"), ("-1", "B"), ("-inf", "inf"), ("?", "!"), ("+", "-"),
    ("0.5", "05"), ("CD27-IgD- B", "CD27-IgD B"), ("L2/3", "L23"), ("L2 3", "L23"),
])  # fmt: skip
def test_what_may_carry_a_meaning_is_a_difference(one, other):
    assert spelling(one) != spelling(other)


@pytest.mark.parametrize("label", ["", " ", "-", "_", "()", "\0", "a" * 500, "\N{MINUS SIGN}", "Zellen \u00e4"])
def test_any_label_has_a_spelling(label):
    assert spelling(spelling(label)) == spelling(label)
    assert bool(spelling(label)) == bool(label)
