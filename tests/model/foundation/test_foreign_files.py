"""Published files as they may come, not fetched, damaged, hostile: one message each, and nothing is executed."""

import json
import pickle
import struct
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from corpuscle.core.errors import ModelError
from corpuscle.model.foreign.accounting import Renames, load_renamed
from corpuscle.model.foreign.dictionaries import read_dictionary, token_ids, whole_number
from corpuscle.model.foreign.tensors import read_pickled, read_tensors

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n"


@pytest.mark.parametrize("name", ["a.safetensors", "a.bin", "a.pkl", "a.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (POINTER, "is a pointer of git LFS in place of the file itself; fetch it with `git lfs pull`"),
        (b"", "is empty; fetch it again"),
        (b"\n<!DOCTYPE html><html>404</html>", "is a web page in place of the file itself"),
        (None, "cannot be read .* fetch it again"),
    ],
)
def test_a_file_that_was_not_fetched_is_named_as_what_it_is(tmp_path, name, content, message):
    path = tmp_path / name
    path.mkdir() if content is None else path.write_bytes(content)
    read = read_tensors if name in ("a.safetensors", "a.bin") else read_dictionary
    with pytest.raises(ModelError, match=rf"{name}: {message}"):
        read(path)


class _Call:
    """Written, a call of a function with some arguments."""

    def __init__(self, function, *arguments):
        self.found = function, arguments

    def __reduce__(self):
        return self.found


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("call", [_Call(eval, "print('executed')"), _Call(getattr, "a", "upper"), _Call(bytearray, 9)])
def test_a_call_deep_inside_a_dictionary_is_not_made(tmp_path, protocol, call, capsys):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"a": 1, "b": [{"c": (1, call)}]}, protocol))
    with pytest.raises(ModelError, match=r"would have \w+\.(eval|getattr|bytearray) called"):
        read_pickled(path)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.",  # bytes of a length that no file has
        b"\x80\x02\x82\x01.",  # an extension
        b"\x80\x05\x97.",  # a buffer from elsewhere
        b"Pabc\n.",  # a persistent id
        b"0.",
        b"(" * 9999,
        b"}q\x00h\x00K\x01s.",  # a dictionary as its own key
        b"I" + b"9" * 9999 + b"\n.",
        b"\x8c\x02os",
    ],
)
def test_a_damaged_dictionary_is_one_error(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(ModelError, match="no dictionary can be read here"):
        read_dictionary(tmp_path / "a.pkl")
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.pt: "):
        read_tensors(tmp_path / "a.pt")


def test_a_number_of_a_remembered_object_takes_no_memory(tmp_path):
    # In C, this would allocate 16 bytes for each number up to it.
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04}r\xff\xff\xff\x7f.")
    assert read_dictionary(tmp_path / "a.pkl") == {}


@pytest.mark.parametrize("protocol", range(6))
def test_numbers_of_numpy_are_read_of_every_protocol(tmp_path, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": np.int16(200), "b": np.int16(0)}, protocol))
    assert token_ids(tmp_path / "a.pkl") == {"a": 200, "b": 0}


def test_weights_that_name_what_torch_cannot_make_are_one_error(tmp_path):
    for call in (_Call(np.dtype, "V999999999999"), _Call(torch.load, "a"), _Call(eval, "print('executed')")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.save({"a": {"b": [call]}}, tmp_path / "a.pt")
        with pytest.raises(ModelError, match=r"a\.pt: "):
            read_tensors(tmp_path / "a.pt")


RENAMES = Renames({r"up\.weight": "weight[0/2]", r"down\.weight": "weight[1/2]", r"(.*bias)": r"\1"})


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_any_width_are_loaded(kind):
    network = nn.Linear(2, 4)
    half, bias = torch.tensor([[1.0, 2], [3, 4]]).to(kind), torch.zeros(4, dtype=kind)
    load_renamed(network, {"up.weight": half, "down.weight": half, "bias": bias}, RENAMES, "a file")
    assert network.weight.dtype == torch.float32
    assert network.weight.tolist() == [[1, 2], [3, 4], [1, 2], [3, 4]]


def of_weight(tensor):
    return {"up.weight": tensor, "down.weight": tensor, "bias": torch.zeros(4)}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (of_weight(torch.full((2, 2), torch.nan)), "weight has values that are not finite"),
        (of_weight(torch.full((2, 2), 1e300, dtype=torch.float64)), "weight has values that are not finite"),
        (of_weight(torch.ones(2, 2, dtype=torch.int8)), "weight should have floats of 16, 32 or 64 bits; it is int8"),
        (of_weight(torch.ones(2, 2, dtype=torch.complex64)), "it is complex64"),
        (of_weight(torch.ones(2, 2).to_sparse()), "it is sparse_coo"),
        (of_weight(torch.ones(2, 2, device="meta")), "weight should have floats"),
        (of_weight(torch.tensor(1.0)), r"weight should have shape \[2, 2\], it has \[\]"),
        # Ten numbers a byte: what is not of the right shape is neither compared nor joined.
        (of_weight(torch.ones(1).expand(2**40, 2)), r"weight should have shape \[2, 2\]"),
        (of_weight(torch.ones(2, 2)) | {"bias": torch.ones(1).expand(2**40)}, r"bias should have shape \[4\]"),
    ],
)
def test_tensors_that_are_no_weights_are_refused(tensors, message):
    with pytest.raises(ModelError, match=message):
        load_renamed(nn.Linear(2, 4), tensors, RENAMES, "a file")


@pytest.mark.parametrize("value", [0, -1, 10**7, 10**30, 1.5, "16", None, True, [16], float("inf")])
def test_a_width_is_a_whole_number_within_bounds(tmp_path, value):
    with pytest.raises(ModelError, match=r"c\.json: n should be a whole number from 1 to 1,000,000"):
        whole_number(tmp_path / "c.json", json.loads(json.dumps({"n": value})), "n")
