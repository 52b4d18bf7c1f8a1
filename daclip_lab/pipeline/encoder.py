"""Classify and embed images of any kind and size with DA-CLIP."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.data.embedding_table import EmbeddingTable, fingerprint, gather
from daclip_lab.data.image_io import read_image
from daclip_lab.data.prompts import training_texts
from daclip_lab.errors import InputError
from daclip_lab.files.storage import check_output
from daclip_lab.models.clip import Clip, views
from daclip_lab.models.daclip import DaCLIP, Embeddings
from daclip_lab.pipeline import inputs
from daclip_lab.pipeline.image_listing import listing
from daclip_lab.pipeline.inputs import Images
from daclip_lab.pipeline.running import HALVES, running, usable_device
from daclip_lab.pipeline.serialization import Settings
from daclip_lab.training.checkpoints import strip_prefixes

if TYPE_CHECKING:
    import pandas as pd


class Encoder:
    """DA-CLIP with its labels and the views of an image that it is given; `Pipeline` adds the restorer.

    `images` is one image (anything that `data.image_io.read_image` takes), a list of images of any sizes, or a batch:
    a tensor (b, 3, h, w) or an array (b, h, w, 3). Embeddings and probabilities are returned on the CPU.

    Nothing about the modules that are given is changed. During a call they run without gradients and in evaluation
    mode, and go back to training mode afterwards if they were in it. Modules that are in evaluation mode, as `load`
    returns them, may be used by several threads at once.
    """

    def __init__(
        self, settings: Settings, *, clip: Clip | None = None, daclip: DaCLIP | None = None
    ):
        self.settings = settings
        self.clip = daclip.clip if daclip is not None else clip
        self.daclip = daclip
        self._words: dict[tuple, Tensor] = {}

    @property
    def _parts(self) -> dict[str, nn.Module]:
        """The networks by name, each parameter in one of them."""
        parts = {"daclip": self.daclip} if self.daclip is not None else {"clip": self.clip}
        return {name: part for name, part in parts.items() if part is not None}

    def __repr__(self) -> str:
        def described(part: nn.Module) -> str:
            millions = sum(p.numel() for p in part.parameters()) / 1e6
            return f"{type(part).__name__} ({millions:.1f} M parameters)"

        parts = " and ".join(map(described, self._parts.values())) or "no networks"
        dtype = str(self.dtype).removeprefix("torch.")
        labels = len(self.settings.labels)
        return f"<{type(self).__name__}: {parts}; {labels} labels, {self.settings.steps} steps; {self.device}, {dtype}>"

    # ---- where and in which precision ----

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self._first_parameter.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""
        return self._first_parameter.dtype

    @property
    def _first_parameter(self) -> Tensor:
        parameters = (p for part in self._parts.values() for p in part.parameters())
        return next(parameters, torch.empty(0))

    def to(
        self,
        device: str | torch.device | torch.dtype | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Move the networks to a device, convert their weights, or both; returns this object.

        Args:
            device: such as "cuda" or "cuda:1".
            dtype: torch.float32; or torch.bfloat16 or torch.float16, which halve the memory of the weights: the
                networks then compute under autocast, and results change slightly.

        Raises InputError for a device that is not there, and for another number format.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        if dtype not in (None, torch.float32, *HALVES):
            raise InputError(
                f"dtype {dtype}: wanted torch.float32, torch.bfloat16 or torch.float16"
            )
        place = self.device if device is None else usable_device(device)
        for part in self._parts.values():
            part.to(place, dtype)
        return self

    @property
    def fingerprint(self) -> str:
        """Twelve characters that identify the weights of all parts, see `data.embedding_table.fingerprint`."""
        return fingerprint(
            {
                f"{name}.{key}": tensor
                for name, part in self._parts.items()
                for key, tensor in strip_prefixes(part.state_dict()).items()
            }
        )

    # ---- classification ----

    def classify(self, images: Images) -> "pd.Series | pd.DataFrame":
        """The probability of each degradation, and of "clean" where the weights have that label.

        Returns a Series over `settings.labels`, which sums to 1; for several images a DataFrame with a row for each.
        """
        import pandas as pd

        images, several = inputs.as_list(images)
        probabilities = self.probabilities(self.encode_degradation(images)).double().numpy()
        table = pd.DataFrame(probabilities, columns=self.settings.labels)
        return table if several else table.loc[0].rename(None)

    def probabilities(self, degradation: Tensor) -> Tensor:
        """The probabilities (n, k) of the k `settings.labels` for degradation embeddings (n, d), on any device."""
        return (self.logits(degradation) / self.settings.temperature).softmax(1)

    @torch.inference_mode()
    def logits(self, degradation: Tensor) -> Tensor:
        """The scaled cosines (n, k) of degradation embeddings (n, d), on any device, and the words for the k labels."""
        words, scale = self._word_embeddings(), self.require_daclip().scale.float()
        return scale.to(degradation.device) * degradation @ words.to(degradation.device).T

    @property
    def word_embeddings(self) -> Tensor:
        """The text embedding (k, d) that represents each of the k `settings.labels`, of length 1."""
        return self._word_embeddings().cpu()

    @torch.inference_mode()
    def _word_embeddings(self) -> Tensor:
        """As `word_embeddings`, on the pipeline's device; kept until settings or weights change."""
        labels, synonyms = self.settings.labels, self.settings.synonyms
        if not labels:
            raise InputError(
                "these weights have no labels: their controller was trained without words (wild-IR)"
            )
        weights = tuple(p._version for p in self.require_daclip().clip.parameters())
        key = (labels, synonyms, self.device, self.dtype, weights)
        if key not in self._words:
            texts = [training_texts(label) if synonyms else [label] for label in labels]
            means = [self._encode_text(some).mean(0) for some in texts]
            self._words = {key: F.normalize(torch.stack(means), dim=-1)}
        return self._words[key]

    def word(self, words: str) -> Tensor:
        """The degradation embedding (d,) of words: for one of `settings.labels`, its row of `word_embeddings`.

        Raises InputError for words outside of the text tower's vocabulary.
        """
        if words in self.settings.labels:
            return self.word_embeddings[self.settings.labels.index(words)]
        self.require_daclip().clip.check_words(words)
        return self.encode_text([words])[0]

    # ---- embeddings ----

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """The embeddings (n, d) of texts, of length 1."""
        return self._encode_text(texts).cpu()

    def _encode_text(self, texts: Sequence[str]) -> Tensor:
        daclip = self.require_daclip()
        with running(daclip):
            return daclip.encode_text(list(texts)).float()

    def encode(self, images: Images) -> Embeddings:
        """Content and degradation embeddings (n, d) of n images: means over the views of each, of length 1."""
        return Embeddings(
            *(e.cpu() for e in self._encoded(images, self.require_daclip().encode_image))
        )

    def encode_degradation(self, images: Images) -> Tensor:
        """The degradation embeddings (n, d) alone, for which the frozen image tower need not run."""
        encode = self.require_daclip().encode_degradation
        return self._encoded(images, lambda seen: (encode(seen),))[0].cpu()

    def encode_clip(self, images: Images) -> Tensor:
        """CLIP's embeddings (n, d) of n images, without the controller."""
        clip = self.require_daclip().clip
        return self._encoded(images, lambda seen: (clip.encode_image(seen),))[0].cpu()

    def encode_all(self, images: Images) -> list[Tensor]:
        """Content, degradation and CLIP's embeddings of n images, each read once: three tensors (n, d)."""
        daclip = self.require_daclip()

        def encode(seen: Tensor) -> tuple[Tensor, ...]:
            return *daclip.encode_image(seen), daclip.clip.encode_image(seen)

        return [embeddings.cpu() for embeddings in self._encoded(images, encode)]

    @torch.inference_mode()
    def _encoded(self, images: Images, encode: Callable, normalize: bool = True) -> list[Tensor]:
        """Each output of an encoder of views, averaged over the views of an image: (n, d) on the pipeline's device."""
        size, view, device = self.settings.clip.image_size, self.settings.view, self.device
        images, _ = inputs.as_list(images)
        seen = (views(read_image(image), size, view) for image in images)
        with running(self.require_daclip()):
            means = inputs.mean_over_views(seen, lambda some: encode(some.to(device)))
        return [F.normalize(mean, dim=-1) for mean in means] if normalize else means

    def embed(
        self,
        images: Images,
        *,
        clean: Sequence | None = None,
        metadata: "pd.DataFrame | Mapping[str, Sequence] | None" = None,
        out: str | Path | None = None,
        half: bool = False,
    ) -> EmbeddingTable:
        """Content and degradation embeddings of images, CLIP's own, and what is known about each, as a table.

        A few images are in memory at a time; a bar shows the progress.

        Args:
            images: besides images, a folder or a table of pairs, see `image_listing.listing`.
            clean: the clean partners of a list of images.
            metadata: columns about a list of images, such as `degradation`, `severity` or `photo`.
            out: Parquet file to write; an interrupted run continues where it stopped.
            half: write the embeddings in float16.

        Raises InputError, naming the file, for an image that cannot be read or a file that cannot be written.
        """
        self.require_daclip()
        if out is not None:
            check_output(out, (".parquet",))
        listed = listing(images, labels=self.settings.labels, clean=clean, metadata=metadata)

        def make(which: range) -> EmbeddingTable:
            some = slice(which.start, which.stop)
            partners = None if listed.clean is None else listed.clean[some]
            return self.embed_batch(listed.images[some], listed.rows[some], partners)

        # A run that was interrupted continues only with the same pixels and the same columns.
        columns = map(str, listed.rows.itertuples(index=False, name=None))
        partners = listed.images if listed.clean is None else listed.clean
        units = list(zip(columns, listed.images, partners, strict=True))
        return gather(units, make, provenance=self.provenance, out=out, half=half)

    def embed_batch(
        self, images: Sequence, rows: "pd.DataFrame", clean: Sequence | None = None
    ) -> EmbeddingTable:
        """The table of as many images as fit into memory; predictions of DA-CLIP and CLIP are added to its `rows`."""
        content, degradation, plain = self.encode_all(images)
        if labels := self.settings.labels:
            probabilities = self.probabilities(degradation)
            rows = rows.assign(
                predicted=[labels[k] for k in probabilities.argmax(1)],
                probability=probabilities.amax(1).double().numpy(),
                clip_predicted=[labels[k] for k in (plain @ self.word_embeddings.T).argmax(1)],
            )
        return EmbeddingTable(
            rows=rows,
            content=content.numpy(),
            degradation=degradation.numpy(),
            clip=plain.numpy(),
            clean=None if clean is None else self.encode_clip(clean).numpy(),
        )

    @property
    def provenance(self) -> dict:
        """What embeddings depend on besides the images: fingerprint of DA-CLIP, labels and view."""
        return {
            "weights": fingerprint(strip_prefixes(self.require_daclip().state_dict())),
            "labels": list(self.settings.labels),
            "view": self.settings.view,
        }

    def require_daclip(self) -> DaCLIP:
        """The DA-CLIP; InputError for weights without a controller."""
        if self.daclip is None:
            raise InputError("these weights hold no controller: load some that do, such as 'lab'")
        return self.daclip
