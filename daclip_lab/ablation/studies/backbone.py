"""Which network: NAFNet or U-Net, at equal parameters and at equal time; and one step or diffusion?"""

from daclip_lab.ablation.study import Study, Variant
from daclip_lab.ablation.tasks.restorer import NETWORK, RestorerTrial

SLOWDOWN = 3.0
"""About the time of a training step of the U-Net over that of the NAFNet on a CPU; to be measured where it is run."""
# 580,000 parameters, as the NAFNet has at width 40. Without content, whose attention needs all pairs of pixels.
UNET = {
    "kind": "unet-clean",
    "channels": 32,
    "multipliers": (1, 1),
    "use_content": False,
    "scale": 0.5,
}
STUDY = Study(
    name="backbone",
    question="Is a NAFNet or a U-Net the better restorer, and one step or a diffusion?",
    trial=RestorerTrial(
        network={**NETWORK, "width": 40},
        conditioning="DA-CLIP's degradation",
        exam=40,
        large_exam=0,
    ),
    variants=(
        Variant(name="NAFNet", about="the lab's network, in one step"),
        Variant(
            name="U-Net, equal parameters",
            change={"network": UNET},
            about="the paper's network, small, for as many steps of training",
        ),
        Variant(
            name="U-Net, equal time",
            change={"network": UNET, "budget": 1 / SLOWDOWN},
            about=f"the same for as much time: its steps take {SLOWDOWN:g} times as long",
        ),
        Variant(
            name="NAFNet, diffusion",
            change={"recipe.t_max_prob": 0.0, "steps": (20,)},
            about="trained at all times, and restoring in 20 steps",
        ),
    ),
    baseline="NAFNet",
    metric="gain at 64 px",
)
