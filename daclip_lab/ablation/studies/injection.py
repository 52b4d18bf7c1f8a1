"""How the degradation embedding should enter the network: as the paper's prompt, or otherwise."""

from daclip_lab.ablation.study import Study, Variant
from daclip_lab.ablation.tasks.restorer import RestorerTrial

STUDY = Study(
    name="injection",
    question="How should the degradation embedding enter the restorer?",
    trial=RestorerTrial(conditioning="DA-CLIP's degradation"),
    variants=(
        Variant(
            name="nothing",
            change={"conditioning": "nothing"},
            about="the network with scale and shift, without an embedding",
        ),
        Variant(
            name="scale and shift",
            about="a vector that scales and shifts the features of every block, as in the lab",
        ),
        Variant(
            name="prompt",
            change={"network.kind": "nafnet-prompt"},
            about="a learned prompt, weighted by the embedding, added to the time embedding, as in the paper",
        ),
        Variant(
            name="cross-attention",
            # With a narrower vector, so that all have some 156,000 parameters.
            change={"network.kind": "nafnet-cross-attention", "network.conditioning_dim": 36},
            about="the pixels of every block attend to four tokens made from the embedding",
        ),
        Variant(
            name="concatenation",
            change={"network.kind": "nafnet-concatenation"},
            about="sixteen constant maps made from the embedding, concatenated to the input",
        ),
    ),
    baseline="nothing",
    metric="gain at 64 px",
    comparisons=(
        ("scale and shift", "prompt"),
        ("cross-attention", "prompt"),
        ("concatenation", "prompt"),
    ),
)
