import json

import numpy as np
import pytest

from backend.json_bytes import JSONBytes


@pytest.mark.parametrize("value", [None, "", "häh", "\ud800", {"rle": [0, 255, 3]}, [1.5, True, {"a": [None]}]])
def test_what_json_holds_comes_back_and_any_reader_reads_it(value):
    assert JSONBytes.loads(JSONBytes.dumps(value)) == value
    assert json.loads(JSONBytes.dumps(value)) == value
    assert JSONBytes.loads(json.dumps(value).encode()) == value


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"<html>"])
def test_what_is_no_json_is_a_value_error(content):
    with pytest.raises(ValueError):  # the message is the standard library's
        JSONBytes.loads(content)


def test_texts_and_numbers_of_kinds_of_their_own_are_ordinary_ones():
    class Text(str):
        __slots__ = ()

    assert JSONBytes.dumps([np.float64(1.5), Text("a")]) == b'[1.5,"a"]'


def test_what_json_cannot_hold_is_a_type_error():
    with pytest.raises(TypeError):
        JSONBytes.dumps(object())
