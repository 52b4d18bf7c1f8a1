"""What should a diffusion network predict, and be trained towards?"""

from dataclasses import replace

from daclip_lab.ablation.study import Study, Variant
from daclip_lab.ablation.tasks.restorer import RestorerTrial, recipe

STUDY = Study(
    name="target",
    question="What should a restorer of one or many steps predict, and be trained towards?",
    trial=RestorerTrial(
        # All times of the diffusion. In bfloat16, noise near t = T is too coarse: it is multiplied by 200.
        recipe=replace(recipe(), t_max_prob=0.3, bf16=False),
        large_exam=5,
        steps=(1, 20),
    ),
    variants=(
        Variant(
            name="clean image",
            about="predicts the clean image x0, towards the log of its squared error, as in the lab",
        ),
        Variant(
            name="noise",
            change={"network.kind": "nafnet-noise"},
            # The error of x0 is that of the noise times a number for each time, which the log makes a constant.
            about="predicts the noise, towards the log of its squared error",
        ),
        Variant(
            name="velocity",
            change={"network.kind": "nafnet-velocity"},
            about="predicts v, between noise and clean image, towards the log of its squared error",
        ),
        Variant(
            name="matching",
            change={"network.kind": "nafnet-noise", "recipe.objective": "matching"},
            about="predicts the noise, towards the best next state x of t - 1, as in the paper",
        ),
    ),
    baseline="clean image",
    metric="gain at 64 px, 20 steps",
    comparisons=(("velocity", "matching"), ("noise", "matching")),
)
