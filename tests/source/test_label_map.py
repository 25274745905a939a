"""Tables of names for labels: what they may hold, and what is refused."""

import pytest

from corpuscle.core.csv_text import csv_text
from corpuscle.core.errors import SourceError
from corpuscle.source.label_map import LabelMap
from corpuscle.study.proposals import as_table, proposals

NAMES = {"CD14 Mono": "CD14-positive monocyte", "B": "B cell, any"}


def test_a_file_is_read_whatever_else_it_holds(tmp_path):
    texts = {
        "a.csv": 'from,to\nCD14 Mono,CD14-positive monocyte\nB,"B cell, any"\n',
        "b.tsv": "confidence\tTo\tFrom\n1.0\tCD14-positive monocyte\tCD14 Mono\n\n0.5\tB cell, any\tB\n",
        "c.csv": "\ufefffrom;to\r\nCD14 Mono;CD14-positive monocyte\r\nB;B cell, any\r\nB;B cell, any\r\n;\r\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode())
        found = LabelMap.of(name, tmp_path)
        assert found.names == NAMES
        assert found.undecided == ()
    assert LabelMap.read(tmp_path / "a.csv").lines == {"CD14 Mono": 2, "B": 3}


def test_a_label_without_a_name_is_undecided(tmp_path):
    (tmp_path / "a.csv").write_text("from,to\nB,\nT,T cell\nX\n")
    found = LabelMap.read(tmp_path / "a.csv")
    assert (found.names, found.undecided) == ({"T": "T cell"}, ("B", "X"))


def test_what_a_spreadsheet_would_take_for_a_formula_comes_back(tmp_path):
    labels = ["=B", "+T", "-NK", "@x", "plain, with comma", 'quoted "x"', "two\nlines"]
    (tmp_path / "a.csv").write_text(csv_text(as_table(proposals({"one": dict.fromkeys(labels, 1)}))))
    assert sorted(LabelMap.read(tmp_path / "a.csv").undecided) == sorted(labels)


@pytest.mark.parametrize(("content", "said"), [
    (b"label,name\nB,B cell\n", "expected a table with the columns from and to"),
    (b"from,to,to\nB,B cell,x\n", "expected a table with the columns from and to"),
    (b"", "got nothing"),
    (b"from,to\nB,one\nT,two\nB,other\n", "line 4: 'B' is 'other' here, and 'one' on line 2"),
    (b"from,to\nB,one\nB,\n", "line 3: 'B' is '' here, and 'one' on line 2"),
    (b"from,to\nB,\nB,one\n", "line 3: 'B' is 'one' here, and '' on line 2"),
    (b"from,to\n,B cell\n", "line 2: has nothing under from"),
    (b"from,to\nB,NA\n", "line 2: 'NA' stands for no label"),
    (b"from,to\nB,one,two\n", "line 2: has 3 cells, and the header 2"),
    (b"from,to\n\xff\xfe,B\n", "is not UTF-8"),
    (b'from,to\n"B,one\n', "is no such table"),
    (b"from,to\n" + b"B" * 2000 + b",one\n", "more than 1,000 letters"),
])  # fmt: skip
def test_what_is_no_such_table_is_refused(tmp_path, content, said):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.csv") as caught:
        LabelMap.read(tmp_path / "a.csv")
    assert said in str(caught.value)


def test_a_file_that_is_not_there_or_too_long_is_refused(tmp_path, monkeypatch):
    with pytest.raises(SourceError, match=r"there is no such file; `corpuscle labels STUDY -o FILE`"):
        LabelMap.read(tmp_path / "a.csv")
    with pytest.raises(SourceError, match="cannot be read"):
        LabelMap.read(tmp_path)
    monkeypatch.setattr("corpuscle.source.label_map.MOST_LABELS", 2)
    (tmp_path / "a.csv").write_text("from,to\na,x\nb,x\nc,x\n")
    with pytest.raises(SourceError, match="more than 2 rows"):
        LabelMap.read(tmp_path / "a.csv")
