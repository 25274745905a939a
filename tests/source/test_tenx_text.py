"""Names of genes and cells as Cell Ranger, R and others write them: all mean the same."""

import gzip
import os

import numpy as np
import pytest

from corpuscle.core.errors import SourceError
from corpuscle.source.source import open_source
from corpuscle.source.storage.tenx_text import read_barcodes, read_features
from stores import STORES

TABLE = {"E1": "A", "E2": "B b"}
FEATURES = {
    "Cell Ranger's": "E1\tA\tGene Expression\nE2\tB b\tGene Expression\n",
    "without types": "E1\tA\nE2\tB b\n",
    "quotes": '"E1"\t"A"\n"E2"\t"B b"\n',
    "single quotes": "'E1'\t'A'\n'E2'\t'B b'\n",
    "Windows' line ends and blank lines": "E1\tA\r\nE2\tB b\r\n\r\n\r\n",
    "a byte order mark": "\ufeffE1\tA\nE2\tB b\n",
    "a header": "gene_id\tgene_name\nE1\tA\nE2\tB b\n",
    "a header in capitals": "ENSEMBL ID\tGene.Symbol\nE1\tA\nE2\tB b\n",
    "a header with another order": "id\tgenome\tsymbol\nE1\tG\tA\nE2\tG\tB b\n",
    "commas": 'E1,A\nE2,"B b"\n',
    "R's write.csv": '"","V1","V2"\n"1","E1","A"\n"2","E2","B b"\n',
    "R's write.table": '"V1" "V2"\n"1" "E1" "A"\n"2" "E2" "B b"\n',
    "further columns": "E1\tA\tGene Expression\tchr1\t1\t2\nE2\tB b\tGene Expression\tchr2\t1\t\n",
    "a third column that is no type": "E1\tA\tGRCh38\nE2\tB b\tGRCh38\n",
}


@pytest.mark.parametrize("text", FEATURES.values(), ids=FEATURES.keys())
def test_features_are_read_however_they_are_written(tmp_path, text):
    path = tmp_path / "features.tsv"
    path.write_text(text, encoding="utf-8", newline="")
    found = read_features(path, 2)
    assert found["symbol"].to_dict() == TABLE
    assert ("feature_type" in found) == ("Gene Expression" in text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("A-1\nB-1\n", ["A-1", "B-1"]),
        ('"A-1"\r\n"B-1"\r\n', ["A-1", "B-1"]),
        ("barcode\nA-1\nB-1\n", ["A-1", "B-1"]),
        ('"x"\n"1" "A-1"\n"2" "B-1"\n', ["A-1", "B-1"]),
        ('"","x"\n"1","A-1"\n"2","B-1"\n', ["A-1", "B-1"]),
        ("A-1,s1\nB-1,s1\n", ["A-1", "B-1"]),
        ("s1 A\ns1 B\n", ["s1 A", "s1 B"]),
        ("5\"\n3'\n", ['5"', "3'"]),
    ],
)
def test_barcodes_are_read_however_they_are_written(tmp_path, text, names):
    path = tmp_path / "barcodes.tsv"
    path.write_text(text, newline="")
    assert read_barcodes(path, 2).index.tolist() == names


def test_a_line_too_many_is_no_header(tmp_path, annotated, counts_of):
    folder = STORES["10x mtx"](tmp_path, annotated(counts_of(5)))
    with (folder / "barcodes.tsv").open("a") as file:
        file.write("one-more\n")
    with pytest.raises(SourceError, match=r"barcodes\.tsv has 6 rows, matrix\.mtx is for 5"):
        open_source("blood", folder)


def test_names_of_files_may_be_in_capitals(tmp_path, annotated, counts_of):
    counts = counts_of(5)
    folder = STORES["10x mtx"](tmp_path, annotated(counts))
    for old, new in (("matrix.mtx", "Matrix.mtx"), ("genes.tsv", "GENES.TSV.GZ"), ("barcodes.tsv", "BARCODES.tsv")):
        text = (folder / old).read_bytes()
        (folder / old).unlink()
        (folder / new).write_bytes(gzip.compress(text) if new.endswith("GZ") else text)
    for path in (folder, folder / "Matrix.mtx"):
        found = open_source("blood", path).reader.read_counts(np.arange(5))
        np.testing.assert_array_equal(found.toarray(), counts)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("%%MatrixMarket matrix array integer general", "a dense MatrixMarket file"),
        ("%%MatrixMarket matrix coordinate pattern general", "no sparse MatrixMarket file of numbers"),
        ("%%MatrixMarket matrix coordinate complex general", "no sparse MatrixMarket file of numbers"),
        ("%%MatrixMarket matrix coordinate integer general\n30 5", "should say how many genes, cells and counts"),
        ("%%MatrixMarket matrix coordinate integer general\n30 5 -1", "should say how many genes, cells and counts"),
    ],
)
def test_another_matrix_is_refused_with_what_it_is(tmp_path, annotated, counts_of, head, message):
    folder = STORES["10x mtx"](tmp_path, annotated(counts_of(5)))
    lines = (folder / "matrix.mtx").read_text().splitlines()
    (folder / "matrix.mtx").write_text("\n".join([head, *lines[1:]]))
    with pytest.raises(SourceError, match=message):
        open_source("blood", folder)


def test_a_head_in_capitals_with_blank_lines_is_read(tmp_path, annotated, counts_of):
    counts = counts_of(5)
    folder = STORES["10x mtx"](tmp_path, annotated(counts))
    lines = (folder / "matrix.mtx").read_text().splitlines()
    text = ["%%MatrixMarket MATRIX Coordinate Real GENERAL", "", *lines[1:4], "", *lines[4:], ""]
    (folder / "matrix.mtx").write_text("\r\n".join(text))
    np.testing.assert_array_equal(open_source("blood", folder).reader.read_counts(np.arange(5)).toarray(), counts)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path, annotated, counts_of):
    folder = STORES["10x mtx"](tmp_path, annotated(counts_of(5)))
    (folder / "barcodes.tsv").unlink()
    os.mkfifo(folder / "barcodes.tsv")
    with pytest.raises(SourceError, match="is a pipe, a socket or a device"):
        open_source("blood", folder)
