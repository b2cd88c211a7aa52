"""The rules of the house, held."""

from __future__ import annotations

import ast
import graphlib
import re
import statistics
from pathlib import Path

import pytest

import inceptory
from tests.imports import loaded_by

PACKAGE = Path(inceptory.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    assert node.end_lineno is not None
    doc = node.body[0] if ast.get_docstring(node) else None
    return node.end_lineno - node.lineno + 1 - (doc.end_lineno - doc.lineno + 1 if doc else 0)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_short(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    for node in functions(path):
        assert code_lines(node) <= 60, node.name


@pytest.mark.parametrize(
    "room", sorted({path.parent for path in FILES}), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_a_room_that_grows_is_divided(room: Path):
    assert len([path for path in room.glob("*.py") if path.name != "__init__.py"]) <= 13


def imported(path: Path) -> set[str]:
    """Modules of the package that a file names in an import, those inside of functions too."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return plain | {
        name for node in froms for alias in node.names for name in (node.module, f"{node.module}.{alias.name}")
    }


def test_no_module_imports_itself_by_way_of_others():
    names = {".".join(("inceptory", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in FILES}
    # The package's own front gives names on request, when all of it is there.
    graph = {name: imported(path) & names.keys() for name, path in names.items() if path != PACKAGE / "__init__.py"}
    order = graphlib.TopologicalSorter(graph)
    order.prepare()  # raises CycleError, which names the circle
    assert len(graph) > 100


def test_the_median_function_is_under_ten_lines():
    assert statistics.median(code_lines(node) for path in FILES for node in functions(path)) < 10


def test_inception_v3_is_a_table_of_under_120_lines():
    assert len((PACKAGE / "nets" / "papers" / "inception_v3.py").read_text().splitlines()) < 120


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_functions_and_methods_explain_themselves(path: Path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_") and method.name != "forward":
                    assert ast.get_docstring(method), f"{node.name}.{method.name}"


def test_the_public_names_are_sorted_and_all_there():
    assert inceptory.__all__ == sorted(inceptory.__all__)
    for name in inceptory.__all__:
        assert getattr(inceptory, name) is not None
    assert dir(inceptory) == inceptory.__all__
    with pytest.raises(AttributeError, match="no_such"):
        _ = inceptory.no_such


def test_importing_the_package_imports_no_torch():
    assert "torch" not in loaded_by("import inceptory; inceptory.plan('xception'); inceptory.catalogue()")


FORBIDDEN = r"torch\.load\(|\bpickle\.|(?<![.\w])eval\(|(?<![.\w])exec\(|shell=True|extractall|yaml\.load\("


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_source_runs_what_a_file_says(path: Path):
    assert re.findall(FORBIDDEN, path.read_text(encoding="utf-8")) == []
