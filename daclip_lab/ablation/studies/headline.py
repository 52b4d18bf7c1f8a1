"""Does conditioning help the shipped restorer, and whose? The answer at inference, without any training.

There is nothing to train, and the noise is all that a seed decides. Each image has noise of its own, the same for all
variants: so the intervals over photos include it, and one seed serves.
"""

from daclip_lab.ablation.conditioners import KINDS
from daclip_lab.ablation.study import Study, Variant
from daclip_lab.ablation.tasks.inference import InferenceTrial

STUDY = Study(
    name="headline",
    question="Does conditioning help the shipped restorer, and whose?",
    trial=InferenceTrial(),
    variants=tuple(
        Variant(name=kind, change={"conditioning": kind}, about=about)
        for kind, about in KINDS.items()
    ),
    baseline="nothing",
    metric="gain at 256 px",
    seeds=1,
    comparisons=(
        ("DA-CLIP's embeddings", "CLIP's embedding"),
        ("DA-CLIP's word", "CLIP's word"),
        ("DA-CLIP's embeddings", "true word"),
        ("DA-CLIP's embeddings", "another photo's content"),
    ),
)
