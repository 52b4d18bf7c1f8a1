"""CLIP, as DA-CLIP needs it: images in [0, 1] and plain texts in, embeddings of length 1 out.

The towers are open_clip's own classes; this room only adds what surrounds them: a small vocabulary, so that a lab-sized
text tower need not carry 49,408 rows of which it can use a few hundred, and the views of an image of any size.
"""

import math
import warnings
from dataclasses import dataclass, field
from functools import cache

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.errors import InputError

VIEWS = ("resize", "crops", "both")


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """What it takes to build a CLIP: open_clip's own architecture fields and how images are normalised."""

    embed_dim: int
    """Length of an embedding, d."""
    vision: dict
    """open_clip's `vision_cfg`: image_size, patch_size, width, layers, head_width."""
    text: dict
    """open_clip's `text_cfg`; `vocab_size` follows from `vocabulary` when that is given."""
    vocabulary: tuple[int, ...] = ()
    """The token ids of open_clip's tokenizer that the text tower knows, ascending; empty means all of them."""
    mean: tuple[float, ...] = field(default=open_clip.OPENAI_DATASET_MEAN)
    """Mean of each colour channel, subtracted before the image tower."""
    std: tuple[float, ...] = field(default=open_clip.OPENAI_DATASET_STD)
    """Standard deviation of each colour channel."""

    @property
    def image_size(self) -> int:
        """Side of the square that the image tower sees, in pixels."""
        return self.vision["image_size"]


def named_config(name: str) -> ClipConfig:
    """The configuration of one of open_clip's architectures, such as "ViT-B-32" (the paper) or "ViT-L-14"."""
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

    `encode_image` takes (b, 3, s, s) in [0, 1] at the model's own size (see `views`); `encode_text` takes strings.
    Both return (b, d) of length 1.
    """

    def __init__(self, config: ClipConfig):
        super().__init__()
        self.config = config
        text = dict(config.text)
        if config.vocabulary:
            # Row 0 of the small table stands for padding and for every word outside the vocabulary.
            text["vocab_size"] = len(config.vocabulary) + 1
        self.model = open_clip.CLIP(config.embed_dim, dict(config.vision), text)
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)

    @property
    def visual(self) -> nn.Module:
        """The image tower, an `open_clip.transformer.VisionTransformer`."""
        return self.model.visual

    @property
    def scale(self) -> Tensor:
        """The inverse temperature that multiplies cosines."""
        return self.model.logit_scale.exp()

    def normalize(self, images: Tensor) -> Tensor:
        """Images in [0, 1] as the image tower wants them."""
        return (images - self.mean) / self.std

    def encode_image(self, images: Tensor) -> Tensor:
        """Image embeddings (b, d) of length 1, from (b, 3, s, s) in [0, 1]."""
        return F.normalize(self.visual(self.normalize(images)).float(), dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        """Text embeddings (b, d) of length 1. A word outside the vocabulary is warned about."""
        return self.encode_tokens(self.tokenize(texts))

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Text embeddings (b, d) of length 1, from the token ids of `tokenize`."""
        return F.normalize(self.model.encode_text(tokens).float(), dim=-1)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Token ids (b, context_length); with a small vocabulary they index its own table."""
        length = self.model.context_length
        tokens = _tokenizer(length)(texts).to(self.mean.device)
        if not self.config.vocabulary:
            return tokens
        known = torch.tensor(self.config.vocabulary, device=tokens.device)
        # Ascending ids keep the end-of-text token the largest, which is where open_clip reads the embedding.
        place = torch.searchsorted(known, tokens).clamp(max=len(known) - 1)
        strange = (known[place] != tokens) & (tokens != 0)
        if strange.any():
            words = [_tokenizer(length).decode([i]).strip() for i in tokens[strange].tolist()]
            warnings.warn(
                f"this CLIP's text tower does not know {', '.join(sorted(set(words)))}",
                stacklevel=2,
            )
        return torch.where(known[place] == tokens, place + 1, 0)


def views(image: Tensor, size: int, view: str = "resize", most: int = 48) -> Tensor:
    """What CLIP gets to see of one image of any size: (n, 3, size, size).

    A resize destroys noise, JPEG blocks and fine rain; crops at native resolution keep them.

    Args:
        image: (3, h, w) in [0, 1].
        view: `"resize"` is the whole image, its short side resized (bicubic) and the centre kept, as the paper does;
            `"crops"` is a grid of native crops that covers the image; `"both"` is the resized whole, then the crops.
        most: the largest number of crops; larger images are sampled by a sparser grid.
    """
    if view not in VIEWS:
        raise InputError(f"view {view!r} is unknown: use one of {', '.join(VIEWS)}")
    if min(image.shape[-2:]) < size:
        image = _resize_short_side(image, size)
    seen = []
    if view != "crops":
        small = _resize_short_side(image, size)
        # As torchvision rounds: the paper's preprocessing, to the pixel.
        top, left = (round((extent - size) / 2) for extent in small.shape[-2:])
        seen.append(small[:, top : top + size, left : left + size])
    # An image of CLIP's own size has one view, whatever was asked for.
    if view == "crops" or (view == "both" and image.shape[-2:] != (size, size)):
        seen += [
            image[:, y : y + size, x : x + size] for y, x in _grid(*image.shape[-2:], size, most)
        ]
    return torch.stack(seen)


def _resize_short_side(image: Tensor, size: int) -> Tensor:
    h, w = image.shape[-2:]
    if min(h, w) == size:
        return image
    new = (size, int(w * size / h)) if h <= w else (int(h * size / w), size)
    resized = F.interpolate(
        image[None], size=new, mode="bicubic", align_corners=False, antialias=True
    )
    return resized[0].clamp(0, 1)


def _grid(height: int, width: int, size: int, most: int) -> list[tuple[int, int]]:
    """Top left corners of crops that cover the image evenly, or sample it where that takes too many."""
    rows, columns = math.ceil(height / size), math.ceil(width / size)
    if rows * columns > most:
        shrink = math.sqrt(most / (rows * columns))
        rows = max(1, min(most, int(rows * shrink)))
        columns = max(1, min(most // rows, round(columns * shrink)))
    return [(y, x) for y in _places(height - size, rows) for x in _places(width - size, columns)]


def _places(last: int, count: int) -> list[int]:
    """Whole numbers spread evenly from 0 to `last`; a single one lies in the middle."""
    if count == 1:
        return [last // 2]
    return torch.linspace(0, last, count).round().long().tolist()
