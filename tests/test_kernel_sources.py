"""What the source of kernels must not contain, because Warp takes it for something else."""

import ast

import warp as wp

from tests.test_architecture import PACKAGE, files_of, place

CONSTANTS = {name for name, value in vars(wp).items() if isinstance(value, float)}
"""Names such as `e` and `pi` that are numbers in Warp."""


def kernel_functions(path):
    """The functions of a file that Warp compiles."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            if any(text.startswith(("wp.func", "wp.kernel")) for text in decorators):
                yield node


def misread_fields(function):
    """Fields of local structs that have the name of a constant, for example `e.pdf`."""
    return [
        ast.unparse(node)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in CONSTANTS
    ]


def test_no_struct_has_the_name_of_a_constant():
    """Until it has built a function, Warp reads `e.pdf` as Euler's number and puts that into the hash of the module.

    The hash then depends on what else has been compiled in the process, and the module is compiled twice.
    """
    assert {"e", "pi"} <= CONSTANTS
    found = {
        f"{place(path)}: {function.name}": fields
        for path in files_of(PACKAGE)
        for function in kernel_functions(path)
        if (fields := misread_fields(function))
    }
    assert found == {}


def test_such_a_struct_is_found():
    (function,) = ast.parse("@wp.func\ndef f(e: Light):\n    return e.pdf").body
    assert misread_fields(function) == ["e.pdf"]
