"""Which parts of the controller and of its training matter."""

from dataclasses import replace

from daclip_lab.ablation.study import Study, Variant
from daclip_lab.ablation.tasks.controller import ControllerTrial, recipe

STUDY = Study(
    name="controller",
    question="Which parts of the controller and of its training matter?",
    trial=ControllerTrial(recipe=replace(recipe(), steps=60), exam=40),
    variants=(
        Variant(name="the lab", about="all parts as in the lab's training, on crops alone"),
        Variant(
            name="one-hot loss",
            change={"recipe.multi_positive": False},
            about="the paper's loss, with one positive text for each image",
        ),
        Variant(
            name="without alignment",
            change={"recipe.alignment_weight": 0.0},
            about="the content embedding is trained against captions alone, as in the paper",
        ),
        Variant(
            name="straight order",
            change={"order": "straight"},
            about="the controller's block i controls the frozen block i",
        ),
        Variant(
            name="random layers",
            change={"initialisation": "random"},
            about="the control layers start at random values, not at zero",
        ),
        Variant(
            name="authors' initialisation",
            change={"initialisation": "authors"},
            about="the first control layer starts at ln_post, as in the authors' code",
        ),
        Variant(
            name="fresh convolutions",
            change={"front_end": "fresh convolutions"},
            about="the controller's convolutions start at random values; all behind them is a copy",
        ),
        Variant(
            name="fresh patch embedding",
            change={"front_end": "fresh patch embedding"},
            about="a linear patch embedding of random values, to tokens alike; all behind it is a copy",
        ),
    ),
    baseline="the lab",
    metric="accuracy",
    unit="%",
    comparisons=(("fresh patch embedding", "fresh convolutions"),),
)
