"""`reading` turns the operating system's errors about a file into errors of the package."""

import pytest

from nrc_tracer.errors import DataError, SceneError
from nrc_tracer.files.reading import reading


def test_a_missing_file_is_an_error_of_the_package(tmp_path):
    path = tmp_path / "none.bin"
    with pytest.raises(SceneError, match=r"none\.bin: cannot be read: No such file"), reading(path, SceneError):
        path.read_bytes()


def test_a_name_with_a_null_character_is_an_error_of_the_package(tmp_path):
    path = tmp_path / "a\0b"
    with pytest.raises(DataError, match=r"a\\x00b': not a file name: "), reading(path, DataError):
        path.read_bytes()


def test_other_errors_pass_unchanged(tmp_path):
    with pytest.raises(ValueError, match="damaged"), reading(tmp_path, SceneError):
        raise ValueError("damaged")
