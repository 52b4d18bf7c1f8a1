"""Promises about the repository as a whole: its layers, its set-up, its notebooks."""

import ast
import re
import subprocess
import sys
import tokenize
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import nbformat
import pytest

from build import WIDGET_VIEW, read_source

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "daclip_lab"
MODULES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOURCES = sorted((ROOT / "notebooks" / "src").glob("*.py"))
FSTRING = getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)
WIDGETS = {
    "AblationExplorer", "CompareSlider", "EmbeddingExplorer", "RestorationLab", "TrainingBoard",
    "compared", "controlled",
}  # fmt: skip
BREAKS = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)

# A folder (or module) of the package may import from itself and from those before it.
LAYERS = [
    "errors", "files", "degradations", "data", "models", "diffusion", "training", "metrics",
    "pipeline", "evaluation", "embeddings", "ablation", "figures", "widgets", "html_report",
    "course", "commands", "__init__", "cli", "__main__",
]  # fmt: skip
CORE = ("models", "diffusion", "training")
# Networks predict and are conditioned; modules are modules.
BANNED = re.compile(r"\b((un)?told|hears?|gladly|dear|whoever|becomes? of)\b", re.IGNORECASE)
BANNED_IN_PROSE = re.compile(BANNED.pattern + r"|\brooms?\b", re.IGNORECASE)
HEAVY = {
    "accelerate",
    "ipywidgets",
    "matplotlib",
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


def graph():
    """For each module of the package the modules of the package that it imports, in functions and for types as well."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    modules = {module.removesuffix(".__init__"): path for module, path in modules.items()}
    found = {}
    for module, path in modules.items():
        ends = {other if other in modules else other.rpartition(".")[0] for other in imported(path)}
        found[module] = (ends & set(modules)) - {module}
    return found


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_go_one_way(path):
    layer = LAYERS.index(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))
    for module in imported(path):
        package, *inside = module.split(".")
        if package == PACKAGE.name:
            other = inside[0] if inside and inside[0] in LAYERS else "__init__"  # a public name
            assert LAYERS.index(other) <= layer, f"{name(path)} imports {module}"
            if path.parent.name == "metrics":
                assert other in ("errors", "metrics"), f"{name(path)} imports {module}"


def test_no_module_imports_itself_through_others():
    try:
        list(TopologicalSorter(graph()).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def lines(paths):
    return sum(len(path.read_text("utf-8").splitlines()) for path in paths)


def test_the_core_can_be_read_in_an_evening():
    core = [path for folder in CORE for path in (PACKAGE / folder).rglob("*.py")]
    assert lines(path for path in core if path.name != "presets.py") <= 3_000


def test_the_package_stays_small():
    """Bounds: what is there and about 1 % more; the studies (`ablation` and its figures) are a quarter of the first."""
    apart = {"course", "widgets"}
    assert lines(path for path in MODULES if not apart & {*path.parts}) <= 20_600
    assert lines(path for path in MODULES if "widgets" in path.parts) <= 4_650
    assert not {name(path): lines([path]) for path in MODULES if lines([path]) > 300}
    modules = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    assert not {name(folder): n for folder, n in modules.items() if n > 12}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_words_are_plain(path):
    before = tokenize.NEWLINE
    with path.open(encoding="utf-8") as file:
        for token in tokenize.generate_tokens(file.readline):
            docstring = token.type == tokenize.STRING and before in BREAKS
            if docstring or token.type in (tokenize.COMMENT, tokenize.STRING, FSTRING):
                prose = docstring or token.type == tokenize.COMMENT
                found = (BANNED_IN_PROSE if prose else BANNED).search(token.string)
                assert not found, f"{name(path)}, line {token.start[0]}: {found[0]!r}"
            if token.type not in (tokenize.COMMENT, tokenize.NL):
                before = token.type


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
        # Modules of widgets are imported when a widget is first used.
        heavy = HEAVY - {"ipywidgets"} if "widgets" in path.parts else HEAVY
        assert not found & heavy, f"{name(path)}, line {node.lineno}"


def test_importing_the_package_is_light():
    command = "import sys, daclip_lab; print(*sys.modules)"
    run = [sys.executable, "-c", command]
    loaded = subprocess.run(
        run, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "open_clip", "numpy", "pandas", "PIL", *HEAVY}.intersection(loaded)


# ---- the files ----


def test_no_file_mentions_a_path_of_somebodys_machine():
    texts = {path: path.read_bytes() for path in files()}
    found = [
        f"{name(path)}: {match[0]}"
        for path, content in texts.items()
        if b"\0" not in content and (match := LOCAL_PATH.search(content.decode("utf-8", "replace")))
    ]
    assert not found


def test_no_file_is_too_large():
    assert not [name(path) for path in files() if path.stat().st_size > 26_000_000]
    assets = [path for path in files() if "tests" in path.parts and path.suffix != ".py"]
    assert sum(path.stat().st_size for path in assets) <= 4_000_000


# ---- the notebooks ----


def test_every_source_is_built_and_every_notebook_has_a_source():
    assert {path.stem for path in SOURCES} == {path.stem for path in NOTEBOOKS}, (
        "run `make notebooks`"
    )


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_notebook_needs_few_import_lines(path):
    """Besides `import daclip_lab as lab`, at most five statements that name a submodule."""
    tree = ast.parse(path.read_text("utf-8"))
    named = [
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == PACKAGE.name
    ]
    assert len(named) <= 5, named


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


def makes_a_widget(node):
    return isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in WIDGETS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_widget_of_a_notebook_has_left_its_static_copy(path):
    made, copies = set(), {}
    for cell in nbformat.read(path, as_version=4).cells:
        lines = ast.parse(cell.source).body if cell.cell_type == "code" else []
        for line in lines:
            if isinstance(line, ast.Assign) and makes_a_widget(line.value):
                made |= {ast.unparse(target) for target in line.targets}
        if lines and isinstance(lines[-1], ast.Expr):
            value = lines[-1].value
            if makes_a_widget(value) or ast.unparse(value) in made:
                pages = [output.get("data", {}).get("text/html", "") for output in cell.outputs]
                copies[cell.id] = any("daclip-static" in page for page in pages)
    assert all(copies.values()), copies


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_holds_no_local_path_and_no_dataset_class(path):
    text = path.read_text("utf-8")
    for trace in (str(ROOT), str(Path.home()), "/ipykernel_"):
        assert trace not in text
    sources = "\n".join(cell.source for cell in nbformat.reads(text, as_version=4).cells)
    assert not re.search(r"^class \w+\(.*Dataset", sources, re.MULTILINE)
