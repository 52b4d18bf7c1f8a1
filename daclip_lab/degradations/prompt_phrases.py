"""The words for each of the ten degradations and "clean", from which `data.prompts` makes sentences."""

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Words:
    """The phrasings of one degradation, in two grammatical kinds.

    An adjective fits "a ___ photo" (at most 4 BPE tokens), a clause fits "a photo ___" (at most 6). The first
    adjective is the canonical word: the name of the degradation. Phrasings that are held out are used in evaluations
    only.
    """

    adjectives: tuple[str, ...]
    clauses: tuple[str, ...] = ()
    held_out_adjectives: tuple[str, ...] = ()
    held_out_clauses: tuple[str, ...] = ()

    @property
    def canonical(self) -> str:
        return self.adjectives[0]

    @property
    def train(self) -> tuple[str, ...]:
        return self.adjectives + self.clauses

    @property
    def held_out(self) -> tuple[str, ...]:
        return self.held_out_adjectives + self.held_out_clauses


def _read() -> dict[str, Words]:
    listed = tomllib.loads(Path(__file__).with_name("phrases.toml").read_text("utf-8"))
    return {
        name: Words(**{kind: tuple(phrases) for kind, phrases in kinds.items()})
        for name, kinds in listed.items()
    }


WORDS = _read()
