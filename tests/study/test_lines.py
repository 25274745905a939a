"""Each place is found on the line where it is written, however the file is laid out."""

import re
import tomllib

import pytest

from corpuscle.study.lines import line_of

# "#@ PLACE" at a line's end says what is expected to be found on it.
TEXT = '''\
# sources = [not this]
name = "a [b] # c"                                    #@ name
"quoted key" = { 'x y' = 3 }                          #@ quoted key
question = """
[fake]
corpora = 1
"""                                                   # [also fake]
sources.lit.where = 'a == "[#]"'                      #@ sources.lit.where
seeds = 3                                             #@ seeds

[sources.blood]                                       #@ sources.blood
path = "x#[.h5ad"                                     #@ sources.blood.path
quality = { min_counts = 1, min_genes = 2 }           #@ sources.blood.quality.min_genes

[ sources . "my cells" ]                              #@ sources.my cells
path = \'\'\'
[not a table]
\'\'\'
donor = "d"                                           #@ sources.my cells.donor

[holdout]                                             #@ holdout
lines = { by = "cell", share = 0.1 }                  #@ holdout.lines.share

[holdout.blood]    # [holdout.fake]                   #@ holdout.blood
by = "donor"                                          #@ holdout.blood.by
values = [                                            #@ holdout.blood.values
  "a]",   # "b",                                      #@ holdout.blood.values[0]
  "c",                                                #@ holdout.blood.values[1]
]

[[corpora]]                                           #@ corpora[0]
name = "A"                                            #@ corpora[0].name
parts = [{ source = "blood", n_cells = 1 }, { source = "lit" }]     #@ corpora[0].parts[1].source

  [[corpora]]                                         #@ corpora[1]
  name = "B [[corpora]]"                              #@ corpora[1].name
  parts = [                                           #@ corpora[1].parts
    { source = "blood",  n_cells = 3 },               #@ corpora[1].parts[0].n_cells
    # { source = "nothing" },
    { source = "lit", share = [[1, 2],                #@ corpora[1].parts[1].share[0][1]
      [3, { x = 1 }]] },                              #@ corpora[1].parts[1].share[1][1].x
  ]

[[corpora]]                                           #@ corpora[2]
name = "C"
[[corpora.parts]]                                     #@ corpora[2].parts[0]
source = "blood"                                      #@ corpora[2].parts[0].source
[[corpora.parts]]                                     #@ corpora[2].parts[1]
n_cells = 1_000                                       #@ corpora[2].parts[1].n_cells

[[models]]
name = "ldvae"                                        #@ models[0].name
budget.steps = 3                                      #@ models[0].budget.steps
date = 1979-05-27 07:32:00                            #@ models[0].date
'''
EXPECTED = {
    match[1].strip(): number
    for number, line in enumerate(TEXT.splitlines(), start=1)
    if (match := re.search(r"#@ (.*)$", line))
}


def test_the_text_is_toml():
    assert len(tomllib.loads(TEXT)["corpora"]) == 3


@pytest.mark.parametrize(("place", "line"), EXPECTED.items(), ids=EXPECTED.keys())
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["Unix", "Windows"])
def test_a_place_is_on_its_line(place, line, line_end):
    assert line_of(TEXT.replace("\n", line_end), place) == line


@pytest.mark.parametrize(
    ("place", "holder"),
    [
        ("sources.blood.dataset", "sources.blood"),
        ("holdout.pancreas", "holdout"),
        ("holdout.pancreas.by", "holdout"),
        ("corpora[1].exclude", "corpora[1]"),
        ("corpora[1].parts[0].sampler", "corpora[1].parts[0].n_cells"),
        ("corpora[2].parts[1].source", "corpora[2].parts[1]"),
        ("holdout.blood.values[7]", "holdout.blood.values"),
    ],
)
def test_what_is_not_written_is_at_the_innermost_table_that_would_hold_it(place, holder):
    assert line_of(TEXT, place) == EXPECTED[holder]


@pytest.mark.parametrize("place", ["", "baseline", "quality.min_counts", "tasks[0].name", "blood"])
def test_what_is_nowhere_has_no_line(place):
    assert line_of(TEXT, place) == 0


def test_deep_nesting_is_survived():
    assert line_of("a = " + "[" * 20_000 + "]" * 20_000, "a") in (0, 1)
