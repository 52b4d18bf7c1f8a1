"""What the outputs of a notebook depend on, as hashes: its code, the modules that it imports, the package's data.

Code is compared without comments, docstrings and layout: a change of wording does not make outputs stale.
"""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

NOT_DATA = {".py", ".pyc", ".md", ".js", ".css"}


def normalized(code: str, *, module: bool = False) -> str:
    """Python code without comments, docstrings and layout; code that is not plain Python comes back as it is.

    Texts that stand alone at the top are docstrings in a `module`; in a notebook they may be the output of a cell.
    """
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return code
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list) and (module or node is not tree):
            node.body = [line for line in body if not _is_text(line)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def fingerprint(cells: list[str], package: Path) -> dict[str, str]:
    """Hashes of the code cells, of the modules that they import from `package` (a folder), and of its data files.

    Modules are followed through imports in functions as well; those under TYPE_CHECKING and those made at run time from
    strings are not. Scripts and style sheets (.js, .css) whose names begin with a module's belong to it; data are all
    other files but Markdown.
    """
    library = hashlib.sha256()
    for module in sorted(imported_modules(cells, package)):
        path = _file(module, package)
        library.update(f"{module}\n{normalized(path.read_text('utf-8'), module=True)}\n".encode())
        for kin in sorted(path.parent.glob(f"{path.stem}*")):
            library.update(kin.read_bytes() if kin.suffix in (".js", ".css") else b"")
    data = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and path.suffix not in NOT_DATA:
            data.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    code = "\n\n".join(map(normalized, cells))
    return {
        "code": hashlib.sha256(code.encode()).hexdigest(),
        "library": library.hexdigest(),
        "data": data.hexdigest(),
    }


def imported_modules(cells: list[str], package: Path) -> set[str]:
    """The dotted names of the modules in `package` that notebook cells import, directly and through one another.

    The package itself stands for the modules of the public names that are used (`lab.load`), by its table `_EXPORTS`.
    """
    root = package.name
    exports = _exports(package / "__init__.py")
    waiting, found = [], set()
    for cell in cells:
        try:
            tree = ast.parse(cell)
        except SyntaxError:
            continue
        waiting += _imports(tree, root)
        waiting += [f"{root}.{node.attr}" for node in ast.walk(tree) if isinstance(node, ast.Attribute)
                    and isinstance(node.value, ast.Name) and node.value.id in {root, "lab"}]  # fmt: skip
    while waiting:
        name = waiting.pop()
        name = exports.get(name.removeprefix(f"{root}."), name)
        # The last part may be a function, and the folders on the way are modules, too.
        parts = name.split(".")
        for k in range(2, len(parts) + 1):
            module = ".".join(parts[:k])
            path = _file(module, package)
            if path and module not in found:
                found.add(module)
                waiting += _imports(ast.parse(path.read_text("utf-8")), root)
    return found


def _imports(tree: ast.AST, root: str) -> Iterator[str]:
    """The names that a tree imports from the package, as `module` or `module.name`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            yield from _imports(node, root)
            continue
        yield from (name for name in names if name.startswith(f"{root}."))


def _file(module: str, package: Path) -> Path | None:
    path = package.parent.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def _exports(init: Path) -> dict[str, str]:
    """The module of each public name, from the table `_EXPORTS` (module: names) of the package."""
    for node in ast.parse(init.read_text("utf-8")).body if init.is_file() else ():
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_EXPORTS":
            table = ast.literal_eval(node.value)
            root = init.parent.name
            return {
                name: f"{root}.{module}" if module.endswith(name) else f"{root}.{module}.{name}"
                for module, names in table.items()
                for name in names
            }
    return {}
