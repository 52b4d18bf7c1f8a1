"""A hash of the code that decides the numbers of a run: without comments, docstrings and layout."""

import ast
import hashlib
import inspect
import sys
import textwrap
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from daclip_lab.ablation.execution.encoding import classes, encode, texts
from daclip_lab.ablation.study import Trial
from daclip_lab.degradations.registry import degradation_names, lookup
from daclip_lab.models.restorer import _factories

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


def own_code_hash(trial: Trial, modules: tuple[str, ...]) -> str:
    """Twelve characters that change with code outside of the package; "" where there is none.

    It is the code of the trial's classes, of registered restorers and degradations that it names, and of `modules`, the
    names of imported ones. A file counts whole; of what a notebook defines, that itself.
    """
    names = set(texts(encode(trial)))
    used: list[Any] = sorted(classes(trial), key=lambda kind: (kind.__module__, kind.__qualname__))
    used += [factory for name, factory in sorted(_factories.items()) if name in names]
    used += [lookup(name).function for name in sorted(names.intersection(degradation_names()))]
    found = [_file_text(sys.modules[name]) for name in sorted(modules)]
    for item in used:
        if item.__module__.partition(".")[0] != PACKAGE.name:
            found.append(_file_text(sys.modules[item.__module__]) or _text(item))
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:12] if found else ""


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


def _file_text(module: ModuleType) -> str:
    """The code of a module; "" for a notebook."""
    file = getattr(module, "__file__", None)
    if module.__name__ == "__main__" or file is None:
        return ""
    return normalized(Path(file).read_text("utf-8"))


def _text(item: Any) -> str:
    """The code of a function, or of the functions of a class, from a notebook or a prompt."""
    functions = vars(item).values() if isinstance(item, type) else [item]
    found = []
    for function in filter(inspect.isfunction, functions):
        try:
            found.append(normalized(textwrap.dedent(inspect.getsource(function))))
        except (OSError, SyntaxError):  # typed at a prompt, or made by `dataclass`
            code = function.__code__
            found.append(f"{code.co_code.hex()} {code.co_names} {code.co_consts}")
    return "\n".join(found)
