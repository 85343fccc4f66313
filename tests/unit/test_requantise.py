"""Rescaling: `onnx` is one rounding to the last bit, `tflm` is gemmlowp's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmcu.errors import VmcuError
from vmcu.quant.requantise import make_requant, multiply_tflm, quantise_multiplier


@given(st.floats(1e-6, 8.0), st.integers(-(2**22), 2**22), st.integers(-128, 127))
def test_onnx_is_the_nearest_integer(real, acc, zero):
    requant = make_requant("onnx", [real], zero, -128, 127, acc_bound=2**22, where="test")
    exact = acc * real + zero
    got = int(requant.apply(np.array([acc]))[0])
    # 2^-20 covers the rounding of the multiplier itself; a tie may go either way within it.
    assert abs(got - np.clip(exact, -128, 127)) <= 0.5 + 2**-20


def test_tflm_known_values():
    q, shift = quantise_multiplier(0.5)
    assert (q, shift) == (1 << 30, 0)
    assert multiply_tflm(np.array([3, -3, 5, -5]), q, shift).tolist() == [2, -2 + 1, 3, -3 + 1]


def test_accumulator_overflow_is_refused():
    with pytest.raises(VmcuError, match="beyond int32"):
        make_requant("onnx", [0.1], 0, -128, 127, acc_bound=2**31, where="node 'x'")


@given(
    st.lists(st.floats(2.0**-15, 1024.0), min_size=1, max_size=4),
    st.lists(st.integers(-(2**21) + 1, 2**21 - 1), min_size=1, max_size=20),
    st.integers(-128, 127),
)
def test_every_channel_is_exact_to_one_step(reals, accs, zero):
    """However far apart the channels' factors are."""
    requant = make_requant("onnx", reals, zero, -128, 127, acc_bound=2**21 - 1, where="test")
    got = requant.apply(np.array(accs)[:, None] * np.ones(len(reals), np.int64))
    exact = np.clip(np.outer(accs, reals) + zero, -128, 127)
    assert np.abs(got - exact).max() <= 0.5 + 2**-3


def test_a_small_channel_beside_a_large_one():
    requant = make_requant("onnx", [1024.0, 2.0**-15], 0, -128, 127, acc_bound=2**20, where="test")
    assert requant.apply(np.array([[1, 25 << 15], [-1, -(25 << 15)], [0, 0]])).tolist() == [
        [127, 25],
        [-128, -25],
        [0, 0],
    ]


def test_channels_too_far_apart_are_refused():
    with pytest.raises(VmcuError, match=r"1024 and 3\.05176e-05 of two channels are too far apart"):
        make_requant("onnx", [1024.0, 2.0**-15], 0, -128, 127, acc_bound=[10, 2**22], where="node 'x'")
    made = make_requant(
        "onnx", [1024.0, 2.0**-15], 0, -128, 127, acc_bound=[2**22, 2**21 - 1], where="node 'x'"
    )
    assert made.clamp_acc == 2**21 - 1
