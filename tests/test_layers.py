"""The house: who may import whom, what `import dtrain` loads, what names mean."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dtrain

ROOT = Path(dtrain.__file__).parent
# A folder imports only from those before it, and from itself.
LAYERS = [
    "errors",
    "functions",
    "tracing",
    "gradient",
    "host",
    "reduction",
    "engine",
    "descent",
    "worlds",
    "data",
    "checkpoint",
    "problem",
    "diagnose",
    "training",
    "drawing",
    "report",
    "explain",
    "doctor",
    "zoo",
    "cli",
]
# The package's lazy table and the module that runs it are the doors to all of it.
DOORS = {"__init__", "__main__"}
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def module_of(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(("dtrain", *(part for part in parts if part != "__init__")))


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of all that a file imports, also inside functions.

    ``from a import b`` gives a.b where that is a module.
    """
    stack: list[ast.AST] = [ast.parse((ROOT / file).read_text())]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield node.lineno, inner if inner in MODULES else str(node.module)
        stack.extend(ast.iter_child_nodes(node))


MODULES = {module_of(file) for file in FILES}


def test_every_file_is_in_a_layer() -> None:
    assert {file.parts[0].removesuffix(".py") for file in FILES} <= {*LAYERS, *DOORS}


@pytest.mark.parametrize(
    "file", [f for f in FILES if f.stem not in DOORS or len(f.parts) > 1], ids=str
)
def test_a_folder_imports_only_from_those_before_it(file: Path) -> None:
    allowed = LAYERS[: LAYERS.index(file.parts[0].removesuffix(".py")) + 1]
    for line, name in imports(file):
        package, *rest = name.split(".")
        if package == "dtrain" and rest:
            assert rest[0] in allowed, f"{file}:{line} imports {name}"


def edges_of(room_of: Callable[[str], str]) -> dict[str, set[str]]:
    """Which room imports which others: in functions and for type checkers, too."""
    edges: dict[str, set[str]] = {}
    for file in FILES:
        if file.stem in DOORS and len(file.parts) == 1:
            continue
        module = module_of(file)
        needs = {room_of(n) for _, n in imports(file) if n in MODULES - {"dtrain"}}
        edges.setdefault(room_of(module), set()).update(needs - {room_of(module)})
    return edges


def folder_of(module: str) -> str:
    parts = module.split(".")
    is_folder = (ROOT / Path(*parts[1:])).is_dir()
    return ".".join(parts if is_folder else parts[:-1])


@pytest.mark.parametrize("room_of", [str, folder_of], ids=["files", "folders"])
def test_imports_go_in_no_circle(room_of: Callable[[str], str]) -> None:
    edges = edges_of(room_of)
    free: set[str] = set()
    while len(free) < len(edges):
        more = {m for m, needs in edges.items() if m not in free and needs <= free}
        assert more, f"circles among {sorted(set(edges) - free)}"
        free |= more


def test_one_file_imports_mpi4py() -> None:
    importers = {
        str(file)
        for file in FILES
        for _, name in imports(file)
        if name.split(".")[0] == "mpi4py"
    }
    assert importers == {"worlds/mpi_library.py"}


def test_there_are_no_grab_bags() -> None:
    assert not {f.stem for f in FILES} & {"utils", "util", "helpers", "misc", "common"}


def test_importing_dtrain_loads_neither_numpy_nor_mpi4py() -> None:
    code = (
        "import sys, dtrain; "
        "print(sorted({'numpy', 'mpi4py', 'rich'} & sys.modules.keys()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(dtrain.__all__))
def test_a_public_name_is_found_and_documented(name: str) -> None:
    value = getattr(dtrain, name)
    assert value.__doc__
    assert name in dir(dtrain)


def test_what_is_not_public_is_not_found() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        dtrain.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "before",
    ["", "import dtrain.tracing.trace", "import dtrain.zoo"],
    ids=lambda before: before or "nothing",
)
def test_program_is_a_decorator_whatever_was_imported_before(before: str) -> None:
    code = f"""
{before}
from dtrain import program, weight
from dtrain.tracing.fingerprint import fingerprint
import dtrain

@program
def line(x):
    return weight("slope") * x

again = dtrain.program(line.function)
assert fingerprint(line.trace()) == fingerprint(again.trace())
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
