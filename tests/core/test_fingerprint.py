"""Fingerprints tell apart what differs and nothing else."""

from pathlib import Path

import numpy as np
import pytest

from corpuscle.core.fingerprint import fingerprint, hash_file
from corpuscle.core.randomness import generator


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(1, "1", id="number and text"),
        pytest.param([1, 2], [2, 1], id="order of a list"),
        pytest.param([[1], 2], [1, [2]], id="nesting"),
        pytest.param(np.zeros(2, np.int32), np.zeros(2, np.int64), id="array types"),
        pytest.param(np.zeros((2, 3)), np.zeros((3, 2)), id="array shapes"),
        pytest.param({"a": None}, {}, id="missing key"),
    ],
)
def test_what_differs_has_another_fingerprint(one, other):
    assert fingerprint(one) != fingerprint(other)


def test_the_same_content_has_one_fingerprint():
    array = np.arange(12).reshape(3, 4)
    assert fingerprint({"a": 1, "b": array}) == fingerprint({"b": np.asfortranarray(array), "a": 1})
    # Stored results depend on this number: it may change only together with a version.
    assert fingerprint("corpuscle", [1, 2.5], {"a": None}) == "10f5da084d16d6a7"


@pytest.mark.parametrize("value", [np.array(["a"], object), object(), {1, 2}], ids=["objects", "object", "set"])
def test_what_has_no_stable_content_is_refused(value):
    with pytest.raises(TypeError, match="cannot fingerprint"):
        fingerprint(value)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint(float("nan"))


def test_a_file_is_hashed_by_content(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    (tmp_path / "b").write_bytes(b"x" * 100_000)
    assert hash_file(tmp_path / "a") == hash_file(tmp_path / "b")


def test_streams_hang_on_seed_and_every_name():
    purposes = [(0, "a"), (0, "b"), (1, "a"), (0, "a", 0), (0, "a", "b"), (0,)]
    draws = [generator(*purpose).integers(2**60) for purpose in purposes]
    assert len(set(draws)) == len(draws)
    assert generator(0, "a", 1).integers(2**60) == generator(0, "a", "1").integers(2**60)
