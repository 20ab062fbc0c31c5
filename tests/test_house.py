"""The plan of the house: which room may use which, and that no import goes round in a circle."""

import ast
from collections import defaultdict
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "medcnn"
ENTRY = {
    "train",
    "plan",
    "diagnose",
    "search",
    "evaluate",
    "predict",
    "explain",
    "features",
    "check_data",
    "__main__",
}
# From the top down: each may use what stands below it.
FLOORS = [
    "planning",
    *("training", "evidence", "inference", "report", "classifier", "data", "evaluation"),
    *("cam", "nets", "objective", "jobs", "errors", "_version", "__init__"),
]
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
}


@cache
def imports(module: str) -> list[str]:
    """The modules of medcnn that a module imports, at its top or within its functions."""
    found = []
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            for one in (name, f"{name}.__init__", name.rpartition(".")[0]):
                if (used := one if one in MODULES else f"{one}.__init__") in MODULES:
                    found.append(used)
                    break
    return found


def is_entry(module: str) -> bool:
    """Whether a module is a command: it is at the top, whatever folder it lies in."""
    return module.endswith(".__main__") or module.split(".")[1] in ENTRY


def test_each_room_uses_those_below_it() -> None:
    floor = {name: number for number, name in enumerate(FLOORS)}
    assert {module.split(".")[1] for module in MODULES} == set(FLOORS) | ENTRY
    upwards = [
        f"{module} imports {used}"
        for module in MODULES
        for used in imports(module)
        if not is_entry(module) and module != "medcnn.__init__"  # which has load, when asked
        if is_entry(used) or floor[used.split(".")[1]] < floor[module.split(".")[1]]
    ]
    assert upwards == []


@pytest.mark.parametrize("folder", sorted({m.rpartition(".")[0] for m in MODULES}))
def test_no_circle_of_files_and_folders(folder: str) -> None:
    """Of what lies in a folder, files and folders, none uses another that uses it."""
    depth = folder.count(".") + 1
    graph: dict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        for used in imports(module):
            one, other = (name.split(".") for name in (module, used))
            inside = all(".".join(name[:depth]) == folder for name in (one, other))
            free = module == "medcnn.__init__" or module.endswith(".__main__")
            if inside and not free and one[depth] != other[depth]:
                graph[one[depth]].add(other[depth])
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"{folder}: {' → '.join(error.args[1])}")
