"""Laws of the phrasings of degradations, and of prompts and captions made of them."""

import itertools

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from daclip_lab.data import prompts
from daclip_lab.data.captions.attributes import caption
from daclip_lab.data.prompts import all_texts, describe, held_out_texts, training_texts
from daclip_lab.data.scenes import scene
from daclip_lab.degradations.prompt_phrases import WORDS
from daclip_lab.errors import InputError

TOKENIZER = SimpleTokenizer()
CONTEXT = 32
NAMES = (
    "motion-blurry",
    "hazy",
    "jpeg-compressed",
    "low-light",
    "noisy",
    "raindrop",
    "rainy",
    "shadowed",
    "snowy",
    "uncompleted",
    "clean",
)


def length(text):
    return len(TOKENIZER.encode(text)) + 2


def printed(n):
    generator = torch.Generator().manual_seed(0)
    made = [scene(generator) for _ in range(n)]
    return [text for one in made for text in (one.caption, caption(one.image))]


def test_the_papers_ten_names_and_clean_come_in_their_order():
    assert tuple(WORDS) == NAMES
    assert tuple(word.canonical for word in WORDS.values()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_there_are_enough_phrasings(name):
    assert len(set(WORDS[name].train) - {name}) >= 10
    assert len(set(WORDS[name].held_out)) >= 3
    assert len(set(WORDS[name].train)) == len(WORDS[name].train)


def test_no_held_out_text_is_a_training_text_of_any_name():
    train = {text for name in NAMES for text in training_texts(name)}
    held_out = {text for name in NAMES for text in held_out_texts(name)}
    assert not train & held_out
    phrases = [phrase for word in WORDS.values() for phrase in word.held_out]
    assert not [phrase for phrase in phrases for text in train if f" {phrase} " in f" {text} "]


def test_no_phrasing_belongs_to_two_names():
    for a, b in itertools.combinations(WORDS.values(), 2):
        assert not {*a.train, *a.held_out} & {*b.train, *b.held_out}


@pytest.mark.parametrize("name", NAMES)
def test_texts_hold_the_bare_word_first_and_every_phrasing_in_sentences(name):
    texts = training_texts(name)
    assert texts[0] == name
    assert f"{'an' if name[0] == 'u' else 'a'} {name} photo" in texts
    for phrase in WORDS[name].train:
        assert phrase in texts
        assert any(text.startswith(("a ", "an ")) and phrase in text for text in texts)
    assert len(set(texts)) == len(texts)


def test_all_texts_fit_the_context():
    assert max(map(length, all_texts())) <= CONTEXT


def test_every_way_to_describe_the_longest_captions_fits_the_context():
    longest = sorted(printed(500), key=length)[-3:]
    for text, word in itertools.product(longest, WORDS.values()):
        for kind, forms in (
            (word.adjectives, prompts._ADJECTIVE_FORMS),
            (word.clauses, prompts._CLAUSE_FORMS),
        ):
            for phrase, form in itertools.product(kind, forms):
                assert (
                    length(prompts._article(form, phrase).format(phrase=phrase, caption=text))
                    <= CONTEXT
                )


@pytest.mark.parametrize("name", NAMES)
def test_describe_keeps_the_caption_and_adds_a_training_phrasing(name):
    generator = torch.Generator().manual_seed(0)
    said = "a dark soft scene of green above blue with light at the top"
    texts = [describe(said, name, generator) for _ in range(100)]
    for text in texts:
        assert said in text
        assert any(phrase in text.replace(said, "") for phrase in WORDS[name].train)
    assert len(set(texts)) > 20
    again = torch.Generator().manual_seed(0)
    assert texts == [describe(said, name, again) for _ in range(100)]


def test_the_vocabulary_holds_every_token_of_captions():
    known = {token for text in all_texts() for token in TOKENIZER.encode(text)}
    generator = torch.Generator().manual_seed(1)
    for text in printed(500):
        for name in NAMES:
            said = describe(text, name, generator)
            assert set(TOKENIZER.encode(said)) <= known, said


def test_the_vocabulary_is_small():
    assert len({token for text in all_texts() for token in TOKENIZER.encode(text)}) < 800


def test_common_words_are_some_hundred_and_none_is_there_twice():
    words = prompts.COMMON_WORDS.read_text("utf-8").split()
    assert len(words) == len(set(words)) >= 500
    assert {"scratched", "pixelated", "overexposed", "fisheye", "moire"} <= set(words)


@pytest.mark.parametrize("call", [training_texts, held_out_texts])
def test_an_unknown_name_is_refused(call):
    with pytest.raises(InputError, match="motion-blurry"):
        call("sunny")
    with pytest.raises(InputError, match="sunny"):
        describe("a scene", "sunny", torch.Generator())
