"""Phrasings of the degradations; `data.prompts` makes sentences of them."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from daclip_lab.errors import InputError


@dataclass(frozen=True)
class Words:
    """The phrasings of one degradation: adjectives fit "a ___ photo", clauses "a photo ___".

    The first adjective is the name of the degradation. Held-out phrasings are used in evaluations only. An adjective of
    the ten has at most 4 BPE tokens, a clause at most 6. Lists are turned into tuples.
    """

    adjectives: tuple[str, ...]
    clauses: tuple[str, ...] = ()
    held_out_adjectives: tuple[str, ...] = ()
    held_out_clauses: tuple[str, ...] = ()

    def __post_init__(self):
        for kind in fields(self):
            phrases = getattr(self, kind.name)
            if isinstance(phrases, str):
                raise InputError(f"{kind.name}={phrases!r}: wanted a tuple of phrases")
            object.__setattr__(self, kind.name, tuple(phrases))

    @property
    def canonical(self) -> str:
        return self.adjectives[0]

    @property
    def train(self) -> tuple[str, ...]:
        return self.adjectives + self.clauses

    @property
    def held_out(self) -> tuple[str, ...]:
        return self.held_out_adjectives + self.held_out_clauses


_listed = tomllib.loads(Path(__file__).with_name("phrases.toml").read_text("utf-8"))
WORDS = {name: Words(**kinds) for name, kinds in _listed.items()}
"""The phrasings of the ten degradations and "clean", in the order of the paper."""
