"""Tables of values by step count."""

import numpy as np
import pytest
import warp as wp

from nrc_tracer.device.launch import initialize
from nrc_tracer.nn.optimizers.step_table import StepTable


def table(decay):
    initialize()
    return StepTable(lambda t: 1 - decay**t, (decay,), wp.get_device("cpu"))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99, 0.9999, float(np.float32(1 - 2**-24))])
def test_any_step_has_its_value(decay):
    """The table is only as long as needed; past its end the last value is as good as the exact one."""
    made = table(decay)
    for step in (1, 4095, 4096, 100_000):
        made.up_to(step)
        values = made.values.numpy()
        assert values[min(step, len(values) - 1)] == np.float32(1 - decay**step)
        assert len(values) <= 4 * max(step, 4096)


def test_the_table_is_kept():
    """Steps within its length do not change it."""
    made = table(0.9999)
    made.up_to(1)
    before = made.values
    made.up_to(len(before) - 1)
    assert made.values is before
    made.up_to(len(before))
    assert len(made.values) > len(before)
