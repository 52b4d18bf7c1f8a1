"""Prompts: the phrasings of a degradation in sentences, and captions with one inserted.

The paper classifies with one bare word for each degradation, its name. The lab's text tower is trained on many
phrasings, as users write them; others are held out of every training, to measure generalisation to new words.
"""

from itertools import product
from pathlib import Path

import torch

from daclip_lab.data import scenes
from daclip_lab.data.captions import attributes
from daclip_lab.data.seeding import choose
from daclip_lab.degradations.registry import label_names, words_of

# A phrasing alone, as in the paper, and in sentences.
TEMPLATES = ("{}", "a {} photo", "a {} image", "a {} picture", "a photo that is {}")
CLAUSE_TEMPLATES = ("{}", "a photo {}", "an image {}", "a picture {}")

# A phrasing in a caption; each form adds at most seven tokens.
_ADJECTIVE_FORMS = (
    "a {phrase} photo of {caption}",
    "a {phrase} picture of {caption}",
    "{caption}, a {phrase} image",
    "{caption}, {phrase}",
    "{phrase}, {caption}",
)
_CLAUSE_FORMS = ("{caption} {phrase}", "{caption}, {phrase}", "{phrase}, {caption}")

COMMON_WORDS = Path(__file__).with_name("common_words.txt")
"""Words that are common in prompts, besides those of the captions."""


def training_texts(name: str) -> list[str]:
    """Every training phrasing of a degradation or "clean" in every template, the bare name first.

    Raises InputError for an unknown name.
    """
    words = words_of(name)
    return _fill(words.adjectives, TEMPLATES) + _fill(words.clauses, CLAUSE_TEMPLATES)


def held_out_texts(name: str) -> list[str]:
    """The phrasings that no training uses, in every template; `name` as in `training_texts`."""
    words = words_of(name)
    clauses = _fill(words.held_out_clauses, CLAUSE_TEMPLATES)
    return _fill(words.held_out_adjectives, TEMPLATES) + clauses


def describe(caption: str, name: str, generator: torch.Generator) -> str:
    """Insert a random training phrasing into a caption; `name` as in `training_texts`.

    For the ten and a caption of `attributes.caption` or of a scene, the result has at most 32 BPE tokens, start and end
    included.
    """
    words = words_of(name)
    phrase = _pick(words.train, generator)
    form = _pick(_ADJECTIVE_FORMS if phrase in words.adjectives else _CLAUSE_FORMS, generator)
    return _article(form, phrase).format(phrase=phrase, caption=caption)


def all_texts() -> tuple[str, ...]:
    """Texts with every word of captions, scenes and phrasings, and common words of prompts.

    A tokenizer table of their BPE tokens covers held-out phrasings and those of registered degradations too, as the
    vocabulary of a CLIP trained on the web does.
    """
    texts: list[str] = []
    for words in map(words_of, label_names()):
        texts += _fill(words.adjectives + words.held_out_adjectives, TEMPLATES)
        texts += _fill(words.clauses + words.held_out_clauses, CLAUSE_TEMPLATES)
    forms = [form.format(phrase="", caption="") for form in _ADJECTIVE_FORMS + _CLAUSE_FORMS]
    common = COMMON_WORDS.read_text("utf-8").splitlines()
    return (*texts, *forms, *attributes.PHRASES, *scenes.PHRASES, *common)


def _fill(phrases: tuple[str, ...], templates: tuple[str, ...]) -> list[str]:
    return [_article(form, phrase).format(phrase) for phrase, form in product(phrases, templates)]


def _article(template: str, phrase: str) -> str:
    return template.replace("a {", "an {") if phrase[0] in "aeiou" else template


def _pick(options: tuple[str, ...], generator: torch.Generator) -> str:
    return options[choose(generator, len(options))]


def text_ids(texts: list[str]) -> torch.Tensor:
    """An integer for every text (b,), equal where the texts are."""
    index = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return torch.tensor([index[text] for text in texts])


def phrase(label: str, synonyms: bool, generator: torch.Generator) -> str:
    """The label itself, or with `synonyms` a random one of its training phrasings."""
    if not synonyms:
        return label
    texts = training_texts(label)
    return texts[int(torch.randint(len(texts), (), generator=generator))]
