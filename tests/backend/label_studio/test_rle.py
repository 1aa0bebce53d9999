"""Brush masks, against label-studio-sdk's own encoder and decoder."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from label_studio_sdk.converter import brush

from backend.label_studio.rle import encode


def check(mask):
    assert encode(mask) == brush.mask2rle(mask.astype(np.uint8) * 255)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_any_mask_is_encoded_as_the_sdk_does(mask):
    check(mask)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)), st.tuples(*[st.integers(0, 3)] * 4))
def test_a_mask_off_the_edges_is_encoded_as_the_sdk_does(mask, around):
    above, below, left, right = around
    check(np.pad(mask, ((above, below), (left, right))))


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=6), st.booleans())
def test_runs_of_any_length_are(lengths, first):
    flat = np.concatenate([np.full(length, first ^ bool(number % 2)) for number, length in enumerate(lengths)])
    check(flat.reshape(1, -1))


@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 63, 64, 65, 2**14 - 1, 2**14, 2**14 + 1, 2**15, 2**15 + 1])
def test_runs_at_the_borders_between_kinds_are(pixels):
    check(np.ones((1, pixels), bool))
    check(np.concatenate([np.ones((1, pixels), bool), np.zeros((1, 3), bool)], axis=1))


def test_the_sdk_reads_it_back():
    mask = np.random.default_rng(0).random((37, 53)) > 0.5
    assert (brush.decode_rle(encode(mask)).reshape(37, 53, 4) == mask[..., None] * 255).all()


def test_a_view_is_encoded_as_its_copy():
    mask = np.random.default_rng(0).random((20, 30)) > 0.5
    assert encode(mask.T[::2]) == encode(mask.T[::2].copy())
