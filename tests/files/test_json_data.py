"""Numbers that JSON cannot represent become null."""

import json
import math

from nrc_tracer.files.json_data import json_data


def test_infinities_become_null():
    data = {"a": [math.inf, 1.0], "b": math.nan, 3: ({"c": -math.inf}, "text", None, True, 7)}
    expected = {"a": [None, 1.0], "b": None, "3": [{"c": None}, "text", None, True, 7]}
    assert json_data(data) == expected
    assert json.loads(json.dumps(json_data(data), allow_nan=False)) == expected
