"""Promises about the repository as a whole: its layers, its set-up, its notebooks."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

from build import WIDGET_VIEW, read_source

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "daclip_lab"
MODULES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# A room may import from its own level and from those before it.
LEVELS = [
    {"errors"},
    {"download"},
    {"data"},
    {"models"},
    {"diffusion"},
    {"checkpoints"},
    {"devices"},
    {"loop"},
    {"training"},
    {"presets"},
    {"folders"},
    {"official"},
    {"pipeline", "embedding"},
    {"analysis"},
    {"viz"},
    {"course"},
    {"commands"},
    {"cli", "__init__", "__main__"},
]
HEAVY = {
    "accelerate",
    "ipywidgets",
    "matplotlib",
    "pandas",
    "seaborn",
    "skimage",
    "sklearn",
    "torchmetrics",
    "transformers",
    "umap",
}
LOCAL_PATH = re.compile(r"(?<![\w.~-])/(?:home|root|work|Users)/\w|[A-Z]:\\+Users\\")


def name(path):
    return path.relative_to(ROOT).as_posix()


def files():
    """Every file that is committed or would be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return [path for path in map(ROOT.joinpath, listed.split("\0")) if path.is_file()]


# ---- the layers of the library ----


def imported(path):
    """The dotted names of all that a module imports, in functions too; `from a import b` counts as a.b."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def level(room):
    found = [index for index, rooms in enumerate(LEVELS) if room in rooms]
    assert found, f"{room} has no place in LEVELS: give it one"
    return found[0]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_go_one_way(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in imported(path):
        package, *inside = module.split(".")
        if package == "daclip_lab":
            is_room = inside and (
                (PACKAGE / inside[0]).is_dir() or (PACKAGE / f"{inside[0]}.py").is_file()
            )
            other = inside[0] if is_room else "__init__"  # a name of the front door
            assert level(other) <= level(room), f"{name(path)} imports {module}"


def at_import_time(body):
    """The statements that run when a module is imported: all but those in functions and under TYPE_CHECKING."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for block in ("body", "orelse", "finalbody"):
            yield from at_import_time(getattr(node, block, []))
        for handler in getattr(node, "handlers", []):
            yield from at_import_time(handler.body)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_heavy_imports_happen_in_functions(path):
    for node in at_import_time(ast.parse(path.read_text("utf-8")).body):
        if isinstance(node, ast.Import):
            found = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found = {(node.module or "").split(".")[0]}
        else:
            continue
        assert not found & HEAVY, f"{name(path)}, line {node.lineno}"


def test_importing_the_package_is_light():
    command = "import sys, daclip_lab; print(*sys.modules)"
    run = [sys.executable, "-c", command]
    loaded = subprocess.run(
        run, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "open_clip", "numpy", "PIL", *HEAVY}.intersection(loaded)


# ---- the set-up ----


def test_conda_users_get_what_pyproject_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    python, pip, by_pip = environment["dependencies"]
    assert environment["name"] == project["name"]
    assert python == f"python{project['requires-python']}" and pip == "pip"
    (editable,) = by_pip["pip"]  # conda runs pip in the folder of environment.yml
    extra = re.fullmatch(r"-e \.\[(\w+)\]", editable)[1]
    assert extra in project["optional-dependencies"]


def test_every_make_target_is_explained():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split()
    explained = re.findall(r"^(\w+):.*## \S", makefile, re.MULTILINE)
    assert sorted(explained) == sorted(targets)


# ---- the files ----


def test_no_file_mentions_a_path_of_somebodys_machine():
    texts = {path: path.read_bytes() for path in files()}
    found = [
        f"{name(path)}: {match[0]}"
        for path, content in texts.items()
        if b"\0" not in content and (match := LOCAL_PATH.search(content.decode("utf-8", "replace")))
    ]
    assert not found


def test_the_pattern_for_local_paths_finds_them_and_nothing_else():
    for text in ("/ho" + "me/ann/x", '"/Us' + 'ers/bob"', "(/wo" + "rk/x)", "C:\\Us" + "ers\\eve"):
        assert LOCAL_PATH.search(text)
    for text in ("https://a.org/work/x", "../work/x", "~/work/x", "home/x"):
        assert not LOCAL_PATH.search(text)


def test_no_file_is_too_large():
    assert not [name(path) for path in files() if path.stat().st_size > 26_000_000]


# ---- the notebooks ----


def test_every_source_is_built_and_every_notebook_has_a_source():
    sources = {path.stem for path in (ROOT / "notebooks" / "src").glob("*.py")}
    assert sources == {path.stem for path in NOTEBOOKS}, "run `make notebooks`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_says_what_its_source_says(path):
    source = read_source(path.parent / "src" / f"{path.stem}.py")
    notebook = nbformat.read(path, as_version=4)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in source.cells
    ], "run `make notebooks`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_is_committed_executed_and_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    outputs = [output for cell in code for output in cell.outputs]
    shown = {kind for output in outputs for kind in output.get("data", {})}
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for output in outputs if output.output_type == "error"]
    assert "image/png" in shown, "no figure"
    assert WIDGET_VIEW not in shown and "widgets" not in notebook.metadata
    assert path.stat().st_size < 2_000_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_holds_no_local_path_and_no_dataset_class(path):
    text = path.read_text("utf-8")
    for trace in (str(ROOT), str(Path.home()), "/ipykernel_"):
        assert trace not in text
    sources = "\n".join(cell.source for cell in nbformat.reads(text, as_version=4).cells)
    assert not re.search(r"^class \w+\(.*Dataset", sources, re.MULTILINE)
