"""A hash of the code that decides the numbers of a run: without comments, docstrings and layout."""

import ast
import hashlib
import inspect
import sys
import textwrap
from functools import cache
from pathlib import Path
from types import ModuleType

from daclip_lab.errors import InputError

PACKAGE = Path(__file__).parents[2]
PARTS = (
    "degradations", "data", "models", "diffusion", "training", "metrics", "pipeline",
    "ablation/tasks", "ablation/networks", "ablation/conditioners.py",
)  # fmt: skip
"""Folders and modules of the package that count."""


@cache
def code_hash() -> str:
    """Twelve characters that change with the code in `PARTS`, as it was at the first call."""
    digest = hashlib.sha256()
    for part in PARTS:
        path = PACKAGE / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if file.is_file():
                name = file.relative_to(PACKAGE).as_posix()
                digest.update(f"{name}\n{normalized(file.read_text('utf-8'))}\n".encode())
    return digest.hexdigest()[:12]


def own_code_hash(classes: set[str], modules: tuple[str, ...]) -> str:
    """Twelve characters that change with code outside of the package; "" where there is none.

    Args:
        classes: of a trial, each as "module:name". Of one from a notebook the methods count, as its module has no file.
        modules: names of imported modules, such as one that registers a restorer.
    """
    package = PACKAGE.name
    outside = {name for name in classes if name.partition(":")[0].partition(".")[0] != package}
    texts = [_source(sys.modules[name]) for name in sorted(modules)]
    for name in sorted(outside):
        module, _, inside = name.partition(":")
        texts.append(_source(sys.modules[module]) or _methods(sys.modules[module], inside))
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12] if texts else ""


def normalized(code: str) -> str:
    """Python code without comments, docstrings and layout."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [line for line in body if not _is_text(line)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _source(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    if module.__name__ == "__main__" or file is None:
        return ""
    return normalized(Path(file).read_text("utf-8"))


def _methods(module: ModuleType, name: str) -> str:
    """The source of the functions of a class that was typed into a notebook or a prompt."""
    kind = module
    for part in name.split("."):
        if (kind := getattr(kind, part, None)) is None:  # type: ignore[assignment]
            raise InputError(f"the class {name} is not in {module.__name__} any more")
    texts = []
    for function in filter(inspect.isfunction, vars(kind).values()):
        try:
            texts.append(normalized(textwrap.dedent(inspect.getsource(function))))
        except (OSError, SyntaxError):  # typed at a prompt, or made by `dataclass`
            texts.append(function.__code__.co_code.hex() + repr(function.__code__.co_names))
    return "\n".join(texts)
