"""Fixtures for the readers of scene files."""

import pytest

from nrc_tracer.scene.mitsuba import read_mitsuba


@pytest.fixture
def read(tmp_path):
    """A function that writes the inside of a scene to scene.xml and reads it: the description and the warnings."""

    def reader(body: str, version: str = "3.0.0", **parameters: str):
        path = tmp_path / "scene.xml"
        path.write_text(f'<scene version="{version}">\n{body}\n</scene>\n')
        description, warnings = read_mitsuba(path, parameters)
        return description, tuple(warning.removeprefix(f"{tmp_path}/") for warning in warnings)

    return reader
