"""Captions by BLIP (Li et al., 2201.12086), as in the paper; needs transformers and its weights."""

from pathlib import Path

import torch

from daclip_lab.data.image_io import read_image, to_pil
from daclip_lab.errors import InputError

MODEL = "Salesforce/blip-image-captioning-large"
"""The default of clip-interrogator 0.6, with which the authors made their captions."""
LONGEST = 32
"""Tokens of a caption, as there."""


class Blip:
    """A captioner: a list of image files in, a sentence for each out."""

    def __init__(self, model: str = MODEL, device: str | torch.device | None = None):
        """Load BLIP: `model` is a folder, or a name on the Hugging Face hub, which is then downloaded once.

        Raises InputError where transformers is not installed, or the model cannot be had.
        """
        try:
            from transformers import BlipForConditionalGeneration, BlipProcessor
        except ImportError:
            raise InputError(
                "BLIP needs transformers: pip install transformers, or use the attribute captioner"
            ) from None
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.processor = BlipProcessor.from_pretrained(model)
            net = BlipForConditionalGeneration.from_pretrained(model, use_safetensors=True)
        except Exception as error:  # the client of the hub raises nearly anything
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise InputError(
                f"{model}: not found, or no network ({reason}); wanted the folder of a BLIP "
                "captioner, or its name on the hub and a connection"
            ) from None
        self.net = net.to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, paths: list[Path]) -> list[str]:
        """One caption for each image."""
        if not paths:
            return []
        images = [to_pil(read_image(path)) for path in paths]
        inputs = self.processor(images=images, return_tensors="pt").to(self.device)
        tokens = self.net.generate(**inputs, max_new_tokens=LONGEST)
        return [
            text.strip() for text in self.processor.batch_decode(tokens, skip_special_tokens=True)
        ]
