"""Prompts: the phrasings of a degradation in sentences, and captions that mention one.

The paper classifies with one bare word for each degradation (its ten names). Users write "foggy" or "with rain
streaks", so the lab's text tower is trained on many phrasings, and some are held out of every training so that
generalisation to new words can be measured.
"""

import functools
from pathlib import Path

import torch

from daclip_lab.data import scenes
from daclip_lab.data.captions import attributes
from daclip_lab.data.seeding import choose
from daclip_lab.degradations.prompt_phrases import Words
from daclip_lab.degradations.registry import label_names, words_of

# Prompts of a phrasing alone: the bare word, as in the paper, and in sentences.
TEMPLATES = ("{}", "a {} photo", "a {} image", "a {} picture", "a photo that is {}")
CLAUSE_TEMPLATES = ("{}", "a photo {}", "an image {}", "a picture {}")

# How a phrasing is woven into a caption; each adds at most seven tokens.
_ADJECTIVE_FORMS = (
    "a {phrase} photo of {caption}",
    "a {phrase} picture of {caption}",
    "{caption}, a {phrase} image",
    "{caption}, {phrase}",
    "{phrase}, {caption}",
)
_CLAUSE_FORMS = ("{caption} {phrase}", "{caption}, {phrase}", "{phrase}, {caption}")

# Words that are common in prompts, besides those that the lab prints.
COMMON_WORDS = Path(__file__).with_name("common_words.txt")


def training_texts(name: str) -> list[str]:
    """List every training phrasing of a degradation in every template, the bare canonical word first.

    name: a registered degradation, or "clean". Raises InputError for any other.
    """
    words = words_of(name)
    return _fill(words.adjectives, TEMPLATES) + _fill(words.clauses, CLAUSE_TEMPLATES)


def held_out_texts(name: str) -> list[str]:
    """List the phrasings of a degradation that no training uses, in every template; `name` as above."""
    words = words_of(name)
    clauses = _fill(words.held_out_clauses, CLAUSE_TEMPLATES)
    return _fill(words.held_out_adjectives, TEMPLATES) + clauses


def describe(caption: str, name: str, generator: torch.Generator) -> str:
    """Insert a random training phrasing of a degradation into a caption, as captions on the web do.

    caption: a sentence of `attributes.caption` or of a scene; name: as above. For the ten the result has at most 32 BPE
    tokens, start and end included. Raises InputError for an unknown name.
    """
    words = words_of(name)
    phrase = _pick(words.train, generator)
    form = _pick(_ADJECTIVE_FORMS if phrase in words.adjectives else _CLAUSE_FORMS, generator)
    return _article(form, phrase).format(phrase=phrase, caption=caption)


def all_texts() -> tuple[str, ...]:
    """Texts that hold every word the lab can print or a user is likely to type.

    A tokenizer table made from the BPE tokens of these texts covers captions, scenes, and all phrasings, held-out ones
    and those of registered degradations too: a CLIP trained on the web has seen those words as well.
    """
    return _all_texts(tuple(map(words_of, label_names())))


@functools.cache
def _all_texts(every: tuple[Words, ...]) -> tuple[str, ...]:
    texts = [
        text
        for words in every
        for phrases, templates in (
            (words.adjectives + words.held_out_adjectives, TEMPLATES),
            (words.clauses + words.held_out_clauses, CLAUSE_TEMPLATES),
        )
        for text in _fill(phrases, templates)
    ]
    forms = [form.format(phrase="", caption="") for form in _ADJECTIVE_FORMS + _CLAUSE_FORMS]
    return (
        *texts,
        *forms,
        *attributes.PHRASES,
        *scenes.PHRASES,
        *COMMON_WORDS.read_text("utf-8").splitlines(),
    )


def _fill(phrases: tuple[str, ...], templates: tuple[str, ...]) -> list[str]:
    return [
        _article(template, phrase).format(phrase) for phrase in phrases for template in templates
    ]


def _article(template: str, phrase: str) -> str:
    return template.replace("a {", "an {") if phrase[0] in "aeiou" else template


def _pick(options: tuple[str, ...], generator: torch.Generator) -> str:
    return options[choose(generator, len(options))]
