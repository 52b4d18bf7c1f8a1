"""The pipeline: classifies, embeds and restores images with DA-CLIP and the restorer that it conditions."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import pandas as pd
import torch
from torch import Tensor, nn

from daclip_lab.data.embedding_table import EmbeddingTable, fingerprint, gather
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.errors import InputError
from daclip_lab.files.storage import check_output
from daclip_lab.models.clip import Clip
from daclip_lab.models.daclip import DaCLIP, Embeddings
from daclip_lab.pipeline import encoding, inputs, restoration, serialization
from daclip_lab.pipeline.image_listing import listing
from daclip_lab.pipeline.inputs import Images
from daclip_lab.pipeline.running import HALVES, usable_device
from daclip_lab.pipeline.serialization import Settings
from daclip_lab.training.checkpoints import strip_prefixes


class Pipeline:
    """DA-CLIP and the restorer that it conditions; either may be absent, and InputError says so where it is needed.

    `images` is one image (anything that `data.image_io.read_image` takes), a list of images of any sizes, or a batch:
    a tensor (b, 3, h, w) or an array (b, h, w, 3). Embeddings and probabilities are returned on the CPU.

    Nothing about the modules that are given is changed: during a call they run without gradients and in evaluation
    mode. Modules that are in evaluation mode, as `load` returns them, may be used by several threads at once.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clip: Clip | None = None,
        daclip: DaCLIP | None = None,
        restorer: nn.Module | None = None,
    ):
        self.settings = settings
        self.clip = clip if daclip is None else daclip.clip
        self.daclip = daclip
        self.restorer = restorer
        self.sde = MeanRevertingSDE(**settings.sde)
        self._words: dict[tuple, Tensor] = {}

    @property
    def _networks(self) -> dict[str, nn.Module]:
        """The networks by name, each parameter in one of them."""
        clip = {"clip": self.clip} if self.daclip is None else {"daclip": self.daclip}
        networks = {**clip, "restorer": self.restorer}
        return {name: net for name, net in networks.items() if net is not None}

    def __repr__(self) -> str:
        networks = " and ".join(
            f"{type(net).__name__} ({sum(p.numel() for p in net.parameters()) / 1e6:.1f} M parameters)"
            for net in self._networks.values()
        )
        labels, steps = len(self.settings.labels), self.settings.steps
        place = f"{self.device}, {str(self.dtype).removeprefix('torch.')}"
        return f"<Pipeline: {networks or 'no networks'}; {labels} labels, {steps} steps; {place}>"

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
        parameters = (p for net in self._networks.values() for p in net.parameters())
        return next(parameters, torch.empty(0))

    def to(
        self,
        device: str | torch.device | torch.dtype | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Move the networks to a device, convert their weights, or both; returns the pipeline.

        Args:
            device: such as "cuda" or "cuda:1".
            dtype: torch.float32; or torch.bfloat16 or torch.float16, which halve the memory of the weights: the
                networks then compute under autocast, and results change slightly.

        Raises InputError for a device that is not there, and for another number format.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        if dtype not in (None, torch.float32, *HALVES):
            raise InputError(f"dtype {dtype}: wanted torch.float32, bfloat16 or float16")
        place = self.device if device is None else usable_device(device)
        for net in self._networks.values():
            net.to(place, dtype)
        return self

    @property
    def fingerprint(self) -> str:
        """Twelve characters that identify the weights of all networks, see `data.embedding_table.fingerprint`."""
        tensors = {name: strip_prefixes(net.state_dict()) for name, net in self._networks.items()}
        return fingerprint(
            {
                f"{name}.{key}": tensor
                for name, own in tensors.items()
                for key, tensor in own.items()
            }
        )

    # ---- classification ----

    def classify(self, images: Images) -> "pd.Series | pd.DataFrame":
        """The probability of each degradation, and of "clean" where the weights have that label.

        Returns a Series over `settings.labels`, which sums to 1; for several images a DataFrame with a row for each.
        """
        images, several = inputs.as_list(images)
        probabilities = self.probabilities(self.encode_degradation(images)).double().numpy()
        table = pd.DataFrame(probabilities, columns=self.settings.labels)
        return table if several else table.loc[0].rename(None)

    def probabilities(self, degradation: Tensor) -> Tensor:
        """The probabilities (n, k) of the k `settings.labels` for degradation embeddings (n, d), on their device."""
        return (self.logits(degradation) / self.settings.temperature).softmax(1)

    @torch.inference_mode()
    def logits(self, degradation: Tensor) -> Tensor:
        """Scaled cosines (n, k) of degradation embeddings (n, d) to the labels, plus `label_bias`, on their device."""
        scale, words = self.require_daclip().scale.float(), self.word_embeddings
        scale, words, bias = (x.to(degradation.device) for x in (scale, words, self.label_bias))
        return scale * degradation @ words.T + bias

    @property
    def label_bias(self) -> Tensor:
        """The numbers (k,) that are added to the logits: `settings.clean_bias` for "clean", 0 for the others."""
        return torch.tensor([self.settings.clean_bias * (x == CLEAN) for x in self.settings.labels])

    @property
    def word_embeddings(self) -> Tensor:
        """The text embeddings (k, d) of the k `settings.labels`, of length 1; kept until settings or weights change."""
        labels, synonyms = self.settings.labels, self.settings.synonyms
        if not labels:
            raise InputError(
                "these weights have no labels: their controller was trained without words (wild-IR)"
            )
        daclip = self.require_daclip()
        versions = tuple(p._version for p in daclip.clip.parameters())
        key = (labels, synonyms, self.device, self.dtype, daclip.clip, versions)
        if key not in self._words:
            self._words = {key: encoding.encode_labels(daclip, self.settings).cpu()}
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

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """The embeddings (n, d) of texts, of length 1."""
        return encoding.encode_texts(self.require_daclip(), texts).cpu()

    def encode(self, images: Images) -> Embeddings:
        """Content and degradation embeddings (n, d) of n images, of length 1, see `encoding.encode_images`."""
        encode = partial(self.require_daclip().encode_image, normalize=False)
        return Embeddings(**self._encode(images, lambda views: encode(views)._asdict()))

    def encode_degradation(self, images: Images) -> Tensor:
        """The degradation embeddings (n, d) alone, for which the frozen image tower need not run."""
        encode = partial(self.require_daclip().encode_degradation, normalize=False)
        return self._encode(images, lambda views: {"degradation": encode(views)})["degradation"]

    def encode_clip(self, images: Images) -> Tensor:
        """CLIP's embeddings (n, d) of n images, without the controller."""
        encode = partial(self.require_daclip().clip.encode_image, normalize=False)
        return self._encode(images, lambda views: {"clip": encode(views)})["clip"]

    def encode_all(self, images: Images) -> list[Tensor]:
        """Content, degradation and CLIP's embeddings of n images, each read once: three tensors (n, d)."""
        daclip = self.require_daclip()

        def encode(views: Tensor) -> dict[str, Tensor]:
            features = daclip.encode_image(views, normalize=False)
            return {**features._asdict(), "clip": daclip.clip.encode_image(views, normalize=False)}

        return list(self._encode(images, encode).values())

    def _encode(self, images: Images, encode: Callable) -> dict[str, Tensor]:
        listed, _ = inputs.as_list(images)
        found = encoding.encode_images(self.require_daclip(), self.settings, listed, encode)
        return {name: embeddings.cpu() for name, embeddings in found.items()}

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
            part = listed.part(slice(which.start, which.stop))
            return self.embed_batch(part.images, part.rows, part.clean)

        return gather(listed.units, make, provenance=self.provenance, out=out, half=half)

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
        """What embeddings depend on besides the images: fingerprint of DA-CLIP, labels and views."""
        return {
            "weights": fingerprint(strip_prefixes(self.require_daclip().state_dict())),
            "labels": list(self.settings.labels),
            "view": self.settings.view,
            "max_crops": self.settings.max_crops,
        }

    # ---- restoration: methods in a module of their own ----

    restore = restoration.restore
    trajectory = restoration.trajectory
    conditioning = restoration.conditioning

    # ---- parts and files ----

    def require_daclip(self) -> DaCLIP:
        """The DA-CLIP; InputError for weights without a controller."""
        if self.daclip is None:
            raise InputError("these weights hold no controller: load some that do, such as 'lab'")
        return self.daclip

    def require_restorer(self) -> Any:
        """The restorer, a module that is a `Restorer`; InputError for weights without one."""
        if self.restorer is None:
            raise InputError("these weights hold no restorer: load some that do, such as 'lab'")
        return self.restorer

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write the pipeline into a folder; `half` stores the weights in float16, at half the size."""
        weights = serialization.tensors_of(self.clip, self.daclip, self.restorer, half=half)
        serialization.write_folder(folder, self.settings, weights)
