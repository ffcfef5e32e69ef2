"""Which folder may import which, how long a file may be, and that the program starts without loading heavy packages."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "nrc_tracer"
FOUNDATION = {"device", "files"}
BELOW_TRACER = {"guide", "cache", "nn", "scene", "imaging", "surfaces", *FOUNDATION}
BELOW_CLI = {"doctor", "live", "cluster", "report", "tasks", "tracer", *BELOW_TRACER}

# The folders that each folder of the package, and each file beside the folders, may import. In particular the cache never
# imports the tracer: the tracer passes paths to it.
ALLOWED = {
    "__init__": BELOW_CLI,  # imports for type checkers only: names are loaded at first use
    "__main__": {"cli"},
    "version": set(),
    "errors": set(),
    "interruption": set(),
    "cli": BELOW_CLI,
    "doctor": {"tasks", "tracer", *BELOW_TRACER},
    "live": {"tasks", "tracer", *BELOW_TRACER},
    "cluster": {"tasks", "tracer", *BELOW_TRACER},
    "report": {"tasks", "tracer", *BELOW_TRACER},
    "tasks": {"tracer", *BELOW_TRACER} - {"guide", "cache"},
    "tracer": BELOW_TRACER,
    "guide": {"nn", *FOUNDATION},
    "cache": {"nn", *FOUNDATION},
    "scene": {"imaging", "files"},
    "nn": FOUNDATION,
    "surfaces": {"imaging", "files"},
    "imaging": {"files"},
    "device": set(),
    "files": set(),
}
# Files beside the folders that every file may import
SHARED_FILES = {"version", "errors", "interruption"}

# Files of `scene` that read or write images through `imaging`; the other files do not handle pixels
SCENE_FILES_WITH_IMAGES = {
    "scene/load.py",
    "scene/obj_materials.py",
    "scene/convert.py",
    "scene/gltf/images.py",
    "scene/environment.py",
}

# Packages that a folder must not load at all
FOREIGN = {"scene": {"torch", "warp"}, "imaging": {"torch", "warp"}}

# Packages that every installation has. Any other is imported inside the functions that need it.
REQUIRED = {"click", "lxml", "msgspec", "numpy", "OpenEXR", "PIL", "rich", "safetensors", "torch", "warp"}

# Folders whose files load optional packages. Other folders import from them only inside functions.
OPTIONAL_FOLDERS = {"live/web": {"viser", "websockets", "zstandard"}}

LONGEST_FILE = 400
# Files that are longer, each with the reason for not splitting it
LONG_FILES: dict[str, str] = {}


class Import(NamedTuple):
    """One imported name of a file.

    Attributes:
        name: The absolute name, for example `nrc_tracer.scene.load` or `nrc_tracer.scene.load.load_scene`.
        on_loading: Whether it runs when the file is loaded; false inside functions and for type checkers only.
    """

    name: str
    on_loading: bool


def files_of(package):
    """The Python files of a package."""
    return sorted(package.rglob("*.py"))


def place(path, package=PACKAGE):
    """A file's path relative to its package, with forward slashes."""
    return path.relative_to(package).as_posix()


def room(path):
    """The folder of the package that a file lies in, or for a file beside the folders its name without `.py`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path, package=PACKAGE):
    """Yield every imported name of a file, at any depth; relative names are resolved."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parents = [package.name, *path.relative_to(package).parts[:-1]]
    late = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING"))
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            base = [*base, *([node.module] if node.module else [])]
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(name, id(node) not in late)


def import_graph(package):
    """For each file of a package, the files of the package that it imports by name."""
    modules = {}
    for path in files_of(package):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        modules[".".join(parts).removesuffix(".__init__")] = place(path, package)
    graph = {}
    for path in files_of(package):
        found = {
            # `from folder import name` means the file `folder/name.py` if there is one, else a name of the folder
            modules.get(name) or modules.get(name.rpartition(".")[0])
            for name, _ in imports_of(path, package)
        }
        graph[place(path, package)] = found - {None, place(path, package)}
    return graph


def circles_of(graph):
    """Sets of files that reach each other through imports: the strongly connected components of the graph."""
    reached = {}
    for start in graph:
        seen, waiting = set(), [start]
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting += new
        reached[start] = seen
    found = []
    for start, seen in reached.items():
        circle = {other for other in seen if start in reached[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


@pytest.mark.parametrize("path", files_of(PACKAGE), ids=place)
def test_imports_run_one_way(path):
    for name, on_loading in imports_of(path):
        outer, _, rest = name.partition(".")
        if outer == PACKAGE.name:
            target = rest.partition(".")[0]
            allowed = {room(path), *ALLOWED[room(path)], *SHARED_FILES}
            assert target in allowed, f"{place(path)} must not import {name}"
            if (room(path), target) == ("scene", "imaging"):
                assert place(path) in SCENE_FILES_WITH_IMAGES, f"{place(path)} must not import {name}"
        else:
            assert outer not in FOREIGN.get(room(path), ()), f"{place(path)} must not import {name}"
            folder = place(path).rpartition("/")[0]
            everywhere = outer in REQUIRED | OPTIONAL_FOLDERS.get(folder, set()) or outer in sys.stdlib_module_names
            assert everywhere or not on_loading, f"{place(path)}: {name} belongs inside the functions that need it"


@pytest.mark.parametrize("folder", OPTIONAL_FOLDERS)
def test_folders_with_optional_packages_are_imported_inside_functions(folder):
    module = f"{PACKAGE.name}.{folder.replace('/', '.')}"
    for path in files_of(PACKAGE):
        if not place(path).startswith(f"{folder}/") and folder.rpartition("/")[2] in path.read_text(encoding="utf-8"):
            names = [
                name for name, on_loading in imports_of(path) if on_loading and f"{name}.".startswith(f"{module}.")
            ]
            assert not names, f"{place(path)} loads {names}"
    packages = {name.partition(".")[0] for path in files_of(PACKAGE / folder) for name, _ in imports_of(path)}
    assert packages >= OPTIONAL_FOLDERS[folder]


def test_exceptions_are_needed():
    for exception in SCENE_FILES_WITH_IMAGES:
        names = [name for name, _ in imports_of(PACKAGE / exception)]
        assert any(name.startswith(f"{PACKAGE.name}.imaging") for name in names), exception


def test_the_package_has_no_import_circles():
    """There are none at module level, inside functions, or for type checkers only."""
    assert circles_of(import_graph(PACKAGE)) == []


def test_import_circles_are_found(tmp_path):
    """All three kinds of circles are found, and files that belong to none are not listed."""
    package = tmp_path / "package"
    (package / "folder").mkdir(parents=True)
    for name, text in {
        "__init__.py": "",
        "top.py": "from package.folder import inner",
        "folder/__init__.py": "",
        "folder/inner.py": "def late():\n    from package import checked",
        "checked.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import package.top",
        "relative.py": "from .folder.inner import late",
        "folder/own.py": "from . import other",
        "folder/other.py": "from .own import name",
    }.items():
        (package / name).write_text(text)
    circles = circles_of(import_graph(package))
    assert sorted(map(sorted, circles)) == [
        ["checked.py", "folder/inner.py", "top.py"],
        ["folder/other.py", "folder/own.py"],
    ]


def test_every_folder_has_an_import_rule():
    assert {room(path) for path in files_of(PACKAGE)} <= set(ALLOWED)


def test_long_files_have_a_reason():
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files_of(PACKAGE)}
    assert {name for name, length in lengths.items() if length > LONGEST_FILE} == set(LONG_FILES)


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


def test_public_names_are_those_of_all():
    """Each name can be accessed, and type checkers see the same names."""
    import nrc_tracer

    for name in nrc_tracer.__all__:
        assert getattr(nrc_tracer, name) is not None
    typed = {name.rpartition(".")[2] for name, _ in imports_of(PACKAGE / "__init__.py")}
    assert set(nrc_tracer.__all__) <= typed
    assert dir(nrc_tracer) == nrc_tracer.__all__ == sorted(nrc_tracer.__all__)
    with pytest.raises(AttributeError, match="no attribute"):
        _ = nrc_tracer.no_such_name


def test_version_is_that_of_the_installed_package():
    from importlib.metadata import version

    import nrc_tracer

    assert nrc_tracer.__version__ == version("nrc-tracer")
