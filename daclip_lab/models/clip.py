"""CLIP: images in [0, 1] and texts in, embeddings of length 1 out.

The towers are open_clip's own classes. This module adds a small vocabulary, so that a small text tower does not carry
49,408 rows of which it uses a few hundred, and the views of an image of any size.
"""

import difflib
import math
import warnings
from dataclasses import dataclass
from functools import cache

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from daclip_lab.errors import InputError
from daclip_lab.models.front_end import FrontEnd

VIEWS = ("resize", "crops", "both")


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """The architecture of a CLIP, in open_clip's own fields, and the normalisation of its images."""

    embed_dim: int
    """Length of an embedding, d."""
    vision: dict
    """open_clip's `vision_cfg`: image_size, patch_size, width, layers, head_width. Besides, `front_end`: the channels
    of a `models.front_end.FrontEnd` in the place of the linear patch embedding."""
    text: dict
    """open_clip's `text_cfg`; `vocab_size` follows from `vocabulary` when that is given."""
    vocabulary: tuple[int, ...] = ()
    """The token ids of open_clip's tokenizer that have a row in the text tower, ascending; empty means all of them."""
    mean: tuple[float, ...] = open_clip.OPENAI_DATASET_MEAN
    """Mean of each colour channel, subtracted before the image tower."""
    std: tuple[float, ...] = open_clip.OPENAI_DATASET_STD
    """Standard deviation of each colour channel."""

    @property
    def image_size(self) -> int:
        """Side of the image tower's input, s, in pixels."""
        return self.vision["image_size"]


def named_config(name: str) -> ClipConfig:
    """The configuration of an open_clip architecture, such as "ViT-B-32" (the paper) or "ViT-L-14".

    Raises InputError for an unknown name, and for an architecture with another activation than GELU.
    """
    found = open_clip.get_model_config(name)
    if found is None:
        raise InputError(f"{name!r} is not an open_clip architecture; try 'ViT-B-32' or 'ViT-L-14'")
    if found.get("quick_gelu"):
        raise InputError(
            f"{name!r} is built with another GELU; the paper's CLIPs have the plain one"
        )
    return ClipConfig(
        embed_dim=found["embed_dim"], vision=found["vision_cfg"], text=found["text_cfg"]
    )


@cache
def _tokenizer(context_length: int) -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer(context_length=context_length)


def vocabulary_of(texts: list[str]) -> tuple[int, ...]:
    """The token ids that occur in `texts`, ascending, so that a text tower can be built for them alone."""
    tokenizer = _tokenizer(77)
    known = {tokenizer.sot_token_id, tokenizer.eot_token_id}
    for text in texts:
        known.update(tokenizer.encode(text))
    return tuple(sorted(known))


class Clip(nn.Module):
    """A CLIP with its tokenizer and its preprocessing, over open_clip's own towers.

    `encode_image` takes (b, 3, s, s) in [0, 1], s = `config.image_size` (see `views`); `encode_text` takes strings.
    Both return (b, d) of length 1.
    """

    def __init__(self, config: ClipConfig):
        super().__init__()
        self.config = config
        text = dict(config.text)
        if config.vocabulary:
            # Row 0 of the small table stands for padding and for every word outside the vocabulary.
            text["vocab_size"] = len(config.vocabulary) + 1
        vision = dict(config.vision)
        channels = vision.pop("front_end", None)
        self.model = open_clip.CLIP(config.embed_dim, vision, text)
        if channels:
            width = self.visual.conv1.out_channels
            self.visual.conv1 = FrontEnd(width, vision["patch_size"], channels)
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)

    @property
    def visual(self) -> nn.Module:
        """The image tower, an `open_clip.transformer.VisionTransformer`."""
        return self.model.visual

    @property
    def scale(self) -> Tensor:
        """The inverse temperature that multiplies cosines: a scalar."""
        return self.model.logit_scale.exp()

    def normalize(self, images: Tensor) -> Tensor:
        """Images (b, 3, h, w) in [0, 1] minus `config.mean`, divided by `config.std`: the image tower's input."""
        return (images - self.mean) / self.std

    def encode_image(self, images: Tensor, *, normalize: bool = True) -> Tensor:
        """Image embeddings (b, d), of length 1 unless `normalize` is False, from (b, 3, s, s) in [0, 1]."""
        features = self.visual(self.normalize(images)).float()
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, texts: list[str]) -> Tensor:
        """Text embeddings (b, d) of length 1. Warns about words outside the vocabulary."""
        return self.encode_tokens(self.tokenize(texts))

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Text embeddings (b, d) of length 1, from the token ids of `tokenize`."""
        return F.normalize(self.model.encode_text(tokens).float(), dim=-1)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Token ids (b, context_length), int64; with a small vocabulary they index its own table.

        Warns about words outside the vocabulary, which all share the row of padding.
        """
        length = self.model.context_length
        tokens = _tokenizer(length)(texts)
        if self.config.vocabulary:
            known = torch.tensor(self.config.vocabulary)
            # Ascending ids keep the end-of-text token the largest, which is where open_clip reads the embedding.
            row = torch.searchsorted(known, tokens).clamp(max=len(known) - 1)
            unknown = known[row] != tokens
            strange = tokens[unknown & (tokens != 0)].tolist()
            if strange:
                words = sorted({_tokenizer(length).decode([i]).strip() for i in strange})
                warnings.warn(
                    f"not in the vocabulary of this CLIP's text tower: {', '.join(words)}",
                    stacklevel=2,
                )
            tokens = torch.where(unknown, 0, row + 1)
        return tokens.to(self.mean.device)

    def check_words(self, text: str) -> None:
        """Raise InputError for an empty text, or for its first word outside the vocabulary, with near words inside."""
        if not text.strip():
            raise InputError(f"{text!r} holds no words")
        known, tokenizer = set(self.config.vocabulary), _tokenizer(self.model.context_length)
        for word in text.split():
            if known and not known.issuperset(tokenizer.encode(word)):
                whole = (tokenizer.decode([token]) for token in known)  # others are parts of words
                near = difflib.get_close_matches(word, [w[:-1] for w in whole if w.endswith(" ")])
                hint = f" (near: {', '.join(near)})" if near else ""
                raise InputError(
                    f"{word!r} is not in the vocabulary of this CLIP's text tower{hint}"
                )


# open_clip's private methods, used here and nowhere else; a test guards them.


def tokens_of(visual: nn.Module, images: Tensor) -> Tensor:
    """The input of an image tower's first block, (b, 1 + patches, width), from normalised images (b, 3, s, s).

    Token 0 is the class token.
    """
    return visual._embeds(images)


def project(visual: nn.Module, tokens: Tensor) -> Tensor:
    """An image tower's output (b, d) from the tokens (b, n, width) of its last block.

    It is the class token, normalised and projected; its length is not 1.
    """
    pooled, _ = visual._pool(tokens)
    return pooled @ visual.proj


def views(image: Tensor, size: int, view: str = "resize", max_crops: int = 48) -> Tensor:
    """CLIP's views of one image of any size: (n, 3, size, size) in [0, 1].

    A resize destroys noise, JPEG blocks and fine rain; crops at native resolution keep them.

    Args:
        image: (3, h, w) in [0, 1].
        view: `"resize"` is the whole image, its short side resized (bicubic) and the centre kept, as the paper does;
            `"crops"` is a grid of native crops that covers the image; `"both"` is the resized whole, then the crops.
        max_crops: the largest number of crops; larger images are sampled by a sparser grid.

    Raises InputError for an unknown view.
    """
    if view not in VIEWS:
        raise InputError(f"view {view!r} is unknown: use one of {', '.join(VIEWS)}")
    if min(image.shape[-2:]) < size:
        image = resize(image, size)
    crops = [] if view == "crops" else [TF.center_crop(resize(image, size), [size, size])]
    # An image of CLIP's own size has one view, with "both" too.
    if view == "crops" or (view == "both" and image.shape[-2:] != (size, size)):
        grid = _grid(image.shape[-2], image.shape[-1], size, max_crops)
        crops += [image[:, y : y + size, x : x + size] for y, x in grid]
    return torch.stack(crops)


def resize(images: Tensor, size: int) -> Tensor:
    """Images (..., 3, h, w) in [0, 1] resized so that their short side has `size` pixels; bicubic, antialiased."""
    return TF.resize(images, size, InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)


def _grid(height: int, width: int, size: int, most: int) -> list[tuple[int, int]]:
    """Top left corners of crops that cover the image evenly, or sample it where that takes too many."""
    rows, columns = math.ceil(height / size), math.ceil(width / size)
    if rows * columns > most:
        shrink = math.sqrt(most / (rows * columns))
        rows = max(1, min(most, int(rows * shrink)))
        columns = max(1, min(most // rows, round(columns * shrink)))
    return [
        (y, x) for y in _positions(height - size, rows) for x in _positions(width - size, columns)
    ]


def _positions(last: int, count: int) -> list[int]:
    """`count` integers spread evenly from 0 to `last`; a single one lies in the middle."""
    if count == 1:
        return [last // 2]
    return torch.linspace(0, last, count).round().long().tolist()
