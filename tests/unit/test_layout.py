"""Layouts follow NumPy through any mix of transposes and reshapes while memory stays put."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vmcu.ir.layout import channels_last, row_major

SIZES = st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=4, max_size=4)


@given(SIZES, st.booleans(), st.data())
def test_layout_follows_numpy(shape, last, data):
    layout = channels_last(shape) if last else row_major(shape)
    array = np.arange(layout.size).reshape(shape)
    memory = layout.to_memory(array)
    for _ in range(4):
        if data.draw(st.booleans()):
            perm = data.draw(st.permutations(range(array.ndim)))
            layout, array = layout.transpose(perm), array.transpose(perm)
        else:
            target = array.reshape(data.draw(st.permutations(list(array.shape)))).shape
            moved = layout.reshape(target)
            if moved is None:
                continue
            layout, array = moved, array.reshape(target)
        assert layout.shape == array.shape
        assert (layout.to_memory(array) == memory).all()
        assert (layout.from_memory(memory) == array).all()


def test_flatten_of_channels_last_needs_no_copy_but_says_where_elements_are():
    layout = channels_last((1, 3, 2, 2)).reshape((1, 12))
    assert layout is not None
    assert layout.to_memory(np.arange(12).reshape(1, 12)).tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
