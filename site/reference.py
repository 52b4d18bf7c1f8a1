"""The API reference, read from the source: what is public, its signature, and its docstring. Nothing is imported."""

import ast
import html
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from pages import Page, PageFailed, markdown

SECTIONS = ("Args", "Returns", "Raises")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def reference_pages(package: Path) -> list[Page]:
    """A page for each module of a package that has something public, in the order of their names."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[-1].startswith("_") and parts[-1] != "__init__":
            continue
        name, tree = (
            ".".join(p for p in parts if p != "__init__"),
            ast.parse(path.read_text("utf-8")),
        )
        if any(_public(tree)) or "." not in name:
            modules[name] = tree
    homes = _homes(modules)
    return [_page(name, tree, homes) for name, tree in modules.items()]


def _page(name: str, tree: ast.Module, homes: dict[str, str]) -> Page:
    text = ast.get_docstring(tree)
    if not text:
        raise PageFailed(f"{name} has no docstring")
    try:
        parts = [f"<h1>{name}</h1>", _described(text)]
        for node, note in _public(tree):
            parts.append(_class(node) if isinstance(node, ast.ClassDef) else _entry(node, note))
        claim = markdown(_first_sentence(text), plain=True)
    except PageFailed as error:
        raise PageFailed(f"{name}: {error}") from None
    linked = _link("\n".join(parts), f"{name}.html", homes)
    title = name.split(".", 1)[-1]
    return Page(name=name, title=title, claim=claim, body=linked, course=False)


def _public(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[ast.stmt, str]]:
    """The public definitions in a body, and values that are followed by a docstring of their own."""
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        note = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            note = inspect.cleandoc(str(after.value.value))
        names = _names(node)
        if names and not any(name.startswith("_") for name in names):
            is_value = isinstance(node, ast.Assign | ast.AnnAssign)
            # A field of a class explains itself by its type; a module's constant needs words.
            if not is_value or note or isinstance(tree, ast.ClassDef):
                yield node, note if is_value else ast.get_docstring(node) or ""


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, Function | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [ast.unparse(node.target)]
    return [ast.unparse(t) for t in node.targets] if isinstance(node, ast.Assign) else []


def _class(node: ast.ClassDef) -> str:
    members = list(_public(node))
    maker = next((m for m in node.body if isinstance(m, Function) and m.name == "__init__"), None)
    arguments = _arguments(maker, own=True) if maker else ""
    bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases and not maker else ""
    head = _signature(f"class {node.name}{arguments or bases}")
    inside = "".join(_entry(member, note, node.name) for member, note in members)
    text = _described(ast.get_docstring(node) or "")
    return (
        f'<section id="{node.name}"><h2>{node.name}</h2>{head}{text}'
        f'<div class="members">{inside}</div></section>'
    )


def _entry(node: ast.stmt, note: str, owner: str = "") -> str:
    """A function, a method, a property or a value with its description."""
    name = _names(node)[0]
    full = f"{owner}.{name}" if owner else name
    if isinstance(node, Function):
        decorators = {ast.unparse(each) for each in node.decorator_list}
        result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        is_value = decorators & {"property", "cached_property", "functools.cached_property"}
        own = bool(owner) and "staticmethod" not in decorators
        head = f"{name}{'' if is_value else _arguments(node, own=own)}"
        head += result.replace(" -> ", ": ") if is_value else result
    elif isinstance(node, ast.AnnAssign):
        head = ast.unparse(node)
    else:
        head = ast.unparse(node)
        head = head if len(head) < 160 else f"{name} = ..."
    title = "" if owner else f"<h2>{name}</h2>"
    return f'<section id="{full}">{title}{_signature(head)}{_described(note)}</section>'


def _arguments(node: Function, *, own: bool) -> str:
    """A function's arguments, without `self` or `cls` for its own."""
    arguments = ast.unparse(node.args)
    if own:
        arguments = re.sub(r"^(self|cls)(, )?", "", arguments)
    return f"({arguments})"


def _signature(head: str) -> str:
    # A type in quotes is one that is imported late; to a reader it is a type like any other.
    head = re.sub(r"(: |-> )'([^']+)'", r"\1\2", head)
    if len(head) > 96 and "(" in head:
        head = re.sub(r"\((.*)\)", lambda found: _broken(found[1]), head, count=1, flags=re.DOTALL)
    return f'<pre class="signature">{html.escape(head.replace(chr(39), chr(34)))}</pre>'


def _broken(arguments: str) -> str:
    """Arguments on a line each; commas inside brackets stay where they are."""
    depth, lines = 0, [""]
    for character in arguments:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            lines.append("")
        else:
            lines[-1] += character
    return "(\n" + "".join(f"    {line.strip()},\n" for line in lines) + ")"


def _described(text: str) -> str:
    """A docstring as HTML: prose, and its sections of names as lists."""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):\n((?:[ \t]+.*\n?|\n)+)", text, flags=re.MULTILINE)
    done = [markdown(parts[0], plain=True)]
    for title, content, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        rows = re.split(r"^(?=\S)", inspect.cleandoc(content), flags=re.MULTILINE)
        pairs = [row.split(": ", 1) for row in rows if row.strip()]
        items = "".join(
            f"<dt><code>{html.escape(pair[0])}</code></dt><dd>{markdown(pair[1], plain=True)}</dd>"
            if len(pair) == 2
            else f"<dd>{markdown(pair[0], plain=True)}</dd>"
            for pair in pairs
        )
        done.append(f"<h4>{title}</h4><dl>{items}</dl>{markdown(rest, plain=True)}")
    return "".join(done)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s", " ".join(text.split("\n\n")[0].split()))[0]


def _homes(modules: dict[str, ast.Module]) -> dict[str, str]:
    """Where each public name is described; a name that several modules use is found only with its module."""
    homes, twice = {}, set()
    for module, tree in modules.items():
        short = module.split(".", 1)[-1]
        homes |= {module: f"{module}.html", short: f"{module}.html"}
        for node, _ in _public(tree):
            members = _public(node) if isinstance(node, ast.ClassDef) else ()
            names = [_names(node)[0], *(f"{node.name}.{_names(m)[0]}" for m, _ in members)]
            for name in names:
                twice |= {name} & set(homes)
                homes[name] = f"{module}.html#{name}"
                for end in (module, short, short.rsplit(".", 1)[-1]):
                    homes[f"{end}.{name}"] = f"{module}.html#{name}"
    return {name: place for name, place in homes.items() if name not in twice}


def _link(page: str, here: str, homes: dict[str, str]) -> str:
    """Names in code that have a place of their own lead there."""

    def linked(found: re.Match) -> str:
        name = found[1].removesuffix("()").removeprefix("daclip_lab.")
        place = homes.get(name, here)
        return found[0] if place.startswith(here) else f'<a href="{place}">{found[0]}</a>'

    return re.sub(r"<code>([\w.]+(?:\(\))?)</code>", linked, page)
