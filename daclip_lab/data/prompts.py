"""The language of degradations: what people call each of them, and how a caption mentions one.

The paper asks with one bare word for each degradation (its ten names). Somebody who types a prompt says "foggy" or
"with rain streaks", so the lab's text tower learns many phrasings, and some are kept out of every training so that
understanding of new words can be measured.
"""

import functools

import torch

from daclip_lab.data import scenes
from daclip_lab.data.captions import attributes
from daclip_lab.degradations.prompt_phrases import WORDS, Words
from daclip_lab.errors import InputError

# How a phrasing is asked for on its own: the bare word, as in the paper, and in sentences.
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

# Words that people use in prompts, over and above those that the lab prints.
COMMON = (
    "a an the this that these it is are was be has have not no and or but of in on at by to from for with without",
    "under over near between through during after before into out up down off as than very quite too so more less",
    "most least much many few some any all both only just slightly mildly lightly moderately strongly heavily",
    "severely extremely badly highly partly fully weak mild moderate strong heavy severe extreme low high good",
    "bad poor best worst better worse real natural original old new modern big small large little tiny huge long",
    "short tall wide thin thick light lighter darker brighter bright dark dull vivid pale deep warm cold soft",
    "hard sharp blurry clear clean dirty image images picture pictures photo photos photograph snapshot shot",
    "frame view scene painting drawing texture pattern camera lens sensor pixel pixels quality resolution",
    "exposure focus contrast brightness color colors colour noise blur haze fog mist rain snow shadow shade storm",
    "drops water glass light night day morning evening winter summer sky cloud clouds sun ground grass tree trees",
    "forest leaf leaves flower flowers mountain hill river lake sea ocean beach sand rock stone road street city",
    "town house building bridge wall window door roof boat ship car bus train plane man woman child boy girl",
    "people person face hand animal dog cat horse bird fish bear elephant tiger food table chair room inside",
    "outside background foreground left right top bottom middle center corner edge corrupted degraded damaged",
    "distorted restored enhanced processed degradation corruption distortion artifact artifacts type kind level",
    "effect affected caused covered containing showing taken captured seen looking one two three four five red",
    "green blue yellow orange purple pink brown black white gray grey tan olive teal",
)


def training_texts(name: str) -> list[str]:
    """List every training phrasing of a degradation in every template, the bare canonical word first.

    name: one of the ten names, or "clean". Raises InputError for any other.
    """
    words = _words(name)
    return _fill(words.adjectives, TEMPLATES) + _fill(words.clauses, CLAUSE_TEMPLATES)


def held_out_texts(name: str) -> list[str]:
    """List the phrasings of a degradation that no training sees, in every template.

    name: one of the ten names, or "clean". Raises InputError for any other.
    """
    words = _words(name)
    return _fill(words.held_out_adjectives, TEMPLATES) + _fill(
        words.held_out_clauses, CLAUSE_TEMPLATES
    )


def describe(caption: str, name: str, generator: torch.Generator) -> str:
    """Weave a random training phrasing of a degradation into a caption, as captions on the web do.

    caption: a sentence of `attributes.caption` or of a scene; name: one of the ten names, or "clean". The result has at
    most 32 BPE tokens, start and end included. Raises InputError for an unknown name.
    """
    words = _words(name)
    phrase = _pick(words.train, generator)
    form = _pick(_ADJECTIVE_FORMS if phrase in words.adjectives else _CLAUSE_FORMS, generator)
    return _article(form, phrase).format(phrase=phrase, caption=caption)


@functools.cache
def all_texts() -> tuple[str, ...]:
    """Collect texts that hold every word the lab can print or a person is likely to type.

    A tokenizer table made from the BPE tokens of these texts covers captions, scenes, and all phrasings, held-out ones
    too: a real CLIP knows those words as well, only not in these sentences.
    """
    phrasings = [text for name in WORDS for text in training_texts(name) + held_out_texts(name)]
    forms = [form.format(phrase="", caption="") for form in _ADJECTIVE_FORMS + _CLAUSE_FORMS]
    return (*phrasings, *forms, *attributes.PHRASES, *scenes.PHRASES, *COMMON)


def _words(name: str) -> Words:
    if name not in WORDS:
        raise InputError(f"unknown degradation {name!r}; choose one of {', '.join(WORDS)}")
    return WORDS[name]


def _fill(phrases: tuple[str, ...], templates: tuple[str, ...]) -> list[str]:
    return [
        _article(template, phrase).format(phrase) for phrase in phrases for template in templates
    ]


def _article(template: str, phrase: str) -> str:
    return template.replace("a {", "an {") if phrase[0] in "aeiou" else template


def _pick(options: tuple[str, ...], generator: torch.Generator) -> str:
    return options[int(torch.randint(len(options), (), generator=generator))]
