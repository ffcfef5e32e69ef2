"""What may import what, and that the program starts without loading what it does not need."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "nrc_tracer"
FOLDERS = ("cli", "scene", "tracer", "cache", "nn", "tasks", "imaging", "report", "surfaces", "device", "files")

# For each folder, the folders of the package that it may import
ALLOWED = {
    "cli": set(FOLDERS),
    "report": {"tracer", "cache", "nn", "scene", "imaging", "tasks", "surfaces", "device", "files"},
    "tasks": {"tracer", "nn", "scene", "imaging", "surfaces", "device", "files"},
    "tracer": {"scene", "imaging", "cache", "nn", "surfaces", "device", "files"},
    "cache": {"nn", "device", "files"},
    "scene": {"imaging", "files"},
    "nn": {"device", "files"},
    "surfaces": {"imaging", "files"},
    "imaging": {"files"},
    "device": set(),
    "files": set(),
}
# scene reads images through imaging, in the module that loads files, and in the one that finds images inside of a glTF file
EXCEPTIONS = {
    ("scene", "imaging"): {"scene/load.py", "scene/obj_materials.py", "scene/convert.py", "scene/gltf/images.py"}
}
# Packages that a part may not load at all
FOREIGN = {"scene": {"torch", "warp"}, "imaging": {"torch", "warp"}}
# Packages that not every installation has: only inside the functions that need them
OPTIONAL = {"embreex", "mitsuba", "oidn", "pyoidn", "tinycudann", "viser", "scipy", "imageio"}
OPTIONAL |= {"flip_evaluator", "matplotlib", "skimage", "trimesh", "tifffile", "imageio_ffmpeg", "pyvips"}


def _modules():
    return sorted(PACKAGE.rglob("*.py"))


def _imports(path):
    """Yield (name, at module level, only for type checkers) for every import of a file; relative ones are resolved."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ["nrc_tracer", *path.relative_to(PACKAGE).parts[:-1]]
    guarded = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and ast.unparse(test.test).endswith("TYPE_CHECKING")
        for node in ast.walk(test)
    }
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *([node.module] if node.module else [])]
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        for name in names:
            yield name, id(node) not in inner, id(node) in guarded


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    parts = path.relative_to(PACKAGE).parts
    if parts[0] not in ALLOWED:
        return
    for name, top, typing_only in _imports(path):
        words = name.split(".")
        if words[0] == "nrc_tracer" and len(words) > 1 and words[1] in FOLDERS and words[1] != parts[0]:
            assert words[1] in ALLOWED[parts[0]], f"{parts[0]} must not import {name}"
            places = EXCEPTIONS.get((parts[0], words[1]))
            assert places is None or "/".join(parts) in places, f"{'/'.join(parts)} must not import {name}"
        assert words[0] not in FOREIGN.get(parts[0], ()), f"{parts[0]} must not import {name}"
        assert words[0] not in OPTIONAL or not top or typing_only, f"{name} belongs inside the function that needs it"


def test_every_folder_has_its_rule():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= set(ALLOWED)


HEAVY = ("numpy", "warp", "torch", "msgspec", "rich", "PIL", "OpenEXR", "lxml", "trimesh")


@pytest.mark.parametrize(
    "statement",
    [
        "import nrc_tracer",
        "from nrc_tracer.cli import main; main(['--help'], standalone_mode=False)",
        "from nrc_tracer.cli import main; main(['render', '--help'], standalone_mode=False)",
        "from nrc_tracer.cli import main; main(['fit', 'nerf', '--help'], standalone_mode=False)",
        "from nrc_tracer.cli import main; main(['decode', '--help'], standalone_mode=False)",
    ],
)
def test_starting_loads_nothing_heavy(statement):
    code = f"{statement}\nimport sys; print('loaded:', [name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "loaded: []"


def test_public_names_are_those_promised():
    import nrc_tracer

    assert set(nrc_tracer._HOMES) < set(nrc_tracer.__all__)
    for name in nrc_tracer.__all__:
        if nrc_tracer._HOMES.get(name) != "nrc_tracer.tracer":  # which loads Warp
            assert getattr(nrc_tracer, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        _ = nrc_tracer.no_such_name


def test_one_version():
    from importlib.metadata import version

    import nrc_tracer

    assert nrc_tracer.__version__ == version("nrc-tracer")
