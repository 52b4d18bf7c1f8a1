"""CLIP, its degradation-aware controller, and the restorers that are conditioned on their embeddings."""

# The restorers register themselves when they are imported.
from daclip_lab.models import nafnet, unet  # noqa: F401
