"""Does a restorer that is trained with conditioning restore better, and with whose?"""

from daclip_lab.ablation.conditioners import KINDS
from daclip_lab.ablation.study import Study, Variant
from daclip_lab.ablation.tasks.restorer import RestorerTrial

TRAINED = (
    "CLIP's embedding",
    "CLIP's word",
    "DA-CLIP's word",
    "DA-CLIP's degradation",
    "DA-CLIP's content",
    "DA-CLIP's embeddings",
    "true word",
    "true word and clean content",
)
DROPOUT = "DA-CLIP's embeddings, dropout 0.1"

STUDY = Study(
    name="conditioning",
    question="Does a restorer restore better when it is trained with an embedding, and with whose?",
    trial=RestorerTrial(),
    variants=(
        Variant(
            name="nothing",
            change={"conditioning": "nothing"},
            about="a network without embeddings: its layers for them get zeros throughout",
        ),
        *(Variant(name=kind, change={"conditioning": kind}, about=KINDS[kind]) for kind in TRAINED),
        Variant(
            name=DROPOUT,
            change={"recipe.conditioning_dropout": 0.1, "guidance": (0.5, 1.0, 1.5, 2.0, 3.0)},
            about="both of DA-CLIP's embeddings, left out for a tenth of the training examples",
        ),
    ),
    baseline="nothing",
    metric="gain at 64 px",
    comparisons=(
        ("DA-CLIP's embeddings", "CLIP's embedding"),
        ("DA-CLIP's word", "CLIP's word"),
        ("DA-CLIP's embeddings", "true word"),
        (DROPOUT, "DA-CLIP's embeddings"),
    ),
)
