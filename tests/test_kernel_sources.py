"""Names that the source of kernels must not contain, because Warp gives them another meaning."""

import ast

import warp as wp

from tests.test_architecture import PACKAGE, files_of, place

CONSTANTS = {name for name, value in vars(wp).items() if isinstance(value, float)}
"""Names that stand for numbers in Warp, such as `e` and `pi`."""


def kernel_functions(path):
    """The functions of a file that Warp compiles."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            if any(text.startswith(("wp.func", "wp.kernel")) for text in decorators):
                yield node


def misread_fields(function):
    """Accesses to fields of local variables that share the name of a constant, for example `e.pdf`."""
    return [
        ast.unparse(node)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in CONSTANTS
    ]


def test_no_struct_variable_has_the_name_of_a_constant():
    """While Warp has not built a function yet, it reads `e.pdf` as Euler's number and includes that in the module's hash.

    The hash then depends on what else the process has compiled, and the module is compiled twice.
    """
    assert {"e", "pi"} <= CONSTANTS
    found = {
        f"{place(path)}: {function.name}": fields
        for path in files_of(PACKAGE)
        for function in kernel_functions(path)
        if (fields := misread_fields(function))
    }
    assert found == {}


def test_a_struct_variable_named_like_a_constant_is_found():
    (function,) = ast.parse("@wp.func\ndef f(e: Light):\n    return e.pdf").body
    assert misread_fields(function) == ["e.pdf"]
