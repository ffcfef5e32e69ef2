"""Regular blocks of OBJ files are parsed in runs, to the same mesh as word by word; irregular ones are refused."""

import numpy as np
import pytest

from nrc_tracer.scene.obj_format import read_obj_with_materials
from nrc_tracer.scene.obj_runs import read_runs

VERTICES = "v 0 0 0\nv 1 0 0\nv 1 1 0.5\nv 0 1 1e-3\n"
REST = "vt 0 0\nvt 1 0\nvt .5 1\nvn 0 0 1\nvn 0 1 0\n"
REGULAR = {
    "positions": VERTICES + "f 1 2 3\nf 1 3 4\n",
    "triangles and quadrilaterals": VERTICES + REST + "f 1/1/1 2/2/1 3/3/2\nf 1/1/1 2/2/2 3/3/1 4/1/2\n",
    "texture coordinates": VERTICES + REST + "f 1/1 2/2 3/3\n",
    "normals": VERTICES + REST + "f 1//1 2//2 3//1\n",
    "colours": "v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 1 1 0 0 0 1\nf 1 2 3\n",
    "u only": VERTICES + "vt 0.25\nvt 0.5\nvt 1\nf 1/1 2/2 3/3\n",
    "w too": VERTICES + "vt 0 0 9\nvt 1 0 9\nvt 1 1 9\nf 1/1 2/2 3/3\n",
    "line ends of Windows": (VERTICES + REST + "\n\nf 1/1/1 2/2/1 3/3/2\n").replace("\n", "\r\n"),
    "materials and groups": VERTICES
    + "g a\nusemtl red\ns 1\nf 1 2 3\no b\nusemtl blue\ns off\nf 1 3 4\nusemtl red\nf 2 3 4\n",
}
IRREGULAR = {
    "negative indices": VERTICES + "f -4 -3 -2\n",
    "mixed corners": VERTICES + REST + "f 1/1/1 2//1 3/3/2\n",
    "a corner with an empty end": VERTICES + REST + "f 1/ 2/ 3/\n",
    "a number too few": "v 0 0 0\nv 1 0\nv 1 1 0 0\nf 1 2 3\n",
    "a word": "v 0 0 0\nv 1 0 x\nv 1 1 0\nf 1 2 3\n",
    "not finite": "v 0 0 0\nv 1 0 nan\nv 1 1 0\nf 1 2 3\n",
    "an indented line": VERTICES + " f 1 2 3\n",
    "tabs": VERTICES + "f\t1 2 3\n",
    "slashes of the wrong corner": VERTICES + REST + "f 1/2/3/1 2 3/1\n",
    "lines of all kinds in turn": "v 0 0 0\nvn 0 0 1\n" * 100 + "f 1 2 3\n",
}


def parts(path):
    found = read_obj_with_materials(path)
    mesh = found.mesh
    arrays = (mesh.positions, mesh.indices, mesh.normals, mesh.uvs, mesh.colors, found.material_of, found.smoothing)
    return [None if array is None else array.tolist() for array in arrays], found.materials


@pytest.mark.parametrize("text", REGULAR.values(), ids=REGULAR)
def test_runs_are_read_as_word_by_word(text, tmp_path):
    (tmp_path / "runs.obj").write_bytes(text.encode())
    (tmp_path / "words.obj").write_bytes((text + " \n").encode())  # a blank line with a space
    assert read_runs(text.encode()) is not None
    assert read_runs((text + " \n").encode()) is None
    assert parts(tmp_path / "runs.obj") == parts(tmp_path / "words.obj")


@pytest.mark.parametrize("text", IRREGULAR.values(), ids=IRREGULAR)
def test_what_is_irregular_is_refused(text):
    assert read_runs(text.encode()) is None


def test_values_of_runs():
    runs = read_runs((VERTICES + REST + "f 1/1/1 2/2/1 3/3/2\nf 1/1/1 2/2/2 3/3/1 4/1/2\n").encode())
    np.testing.assert_array_equal(runs.values["v"], [[0, 0, 0], [1, 0, 0], [1, 1, 0.5], [0, 1, 1e-3]])
    np.testing.assert_array_equal(runs.sizes, [3, 4])
    np.testing.assert_array_equal(
        runs.corners, [[0, 0, 0], [1, 1, 0], [2, 2, 1], [0, 0, 0], [1, 1, 1], [2, 2, 0], [3, 0, 1]]
    )
