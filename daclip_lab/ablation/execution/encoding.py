"""Trials as JSON and back: what a worker process is given, and what a finished run is known by."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

from daclip_lab.errors import InputError

JSON = Any
"""None, a number, text, or a list or dict of these."""


def encode(value: Any, path: str = "") -> JSON:
    """A trial as JSON: dataclasses, dicts with text as keys, tuples, lists, numbers, text and None.

    Raises InputError, naming the field, for anything else.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [encode(item, f"{path}[{k}]") for k, item in enumerate(value)]
    if type(value) is tuple:
        return {"tuple": [encode(item, f"{path}[{k}]") for k, item in enumerate(value)]}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": {key: encode(item, f"{path}.{key}") for key, item in value.items()}}
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        parts = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        return {
            "class": f"{kind.__module__}:{kind.__qualname__}",
            "fields": {name: encode(part, f"{path}.{name}") for name, part in parts.items()},
        }
    place = f"its field {path.removeprefix('.')}" if path else "it"
    raise InputError(
        f"a trial holds plain values (numbers, text, tuples, lists, dicts, dataclasses): {place} is"
        f" {type(value).__name__}"
    )


def decode(content: JSON) -> Any:
    """What `encode` was given. Raises InputError where a class is not found: its module is imported here."""
    if isinstance(content, list):
        return [decode(item) for item in content]
    if not isinstance(content, dict):
        return content
    if "tuple" in content:
        return tuple(decode(content["tuple"]))
    if "dict" in content:
        return {key: decode(item) for key, item in content["dict"].items()}
    return _class(content["class"])(
        **{name: decode(part) for name, part in content["fields"].items()}
    )


def classes(value: Any) -> set[type]:
    """The dataclasses in a trial."""
    if isinstance(value, (list, tuple)):
        return set().union(*map(classes, value))
    if isinstance(value, Mapping):
        return set().union(*map(classes, value.values()))
    if not is_dataclass(value) or isinstance(value, type):
        return set()
    return {type(value)}.union(*(classes(getattr(value, f.name)) for f in fields(value)))


def texts(content: JSON) -> Iterator[str]:
    """All text in the JSON of a trial but the names of its fields."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, (list, dict)):
        for item in content.values() if isinstance(content, dict) else content:
            yield from texts(item)


def _class(name: str) -> type:
    module, _, inside = name.partition(":")
    try:
        found: Any = import_module(module)
        for part in inside.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InputError(f"the class {name} of a trial cannot be imported: {error}") from None
    return found
