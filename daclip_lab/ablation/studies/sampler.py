"""Samplers, numbers of steps and guidance with the shipped restorer: fidelity against perception."""

from daclip_lab.ablation.study import Study, Variant
from daclip_lab.ablation.tasks.inference import InferenceTrial

STEPS = (2, 5, 10, 20)
GUIDANCE = (0.0, 0.5, 1.5, 2.0, 3.0)
ONE = "one step"

STUDY = Study(
    name="sampler",
    question="What do more steps, other samplers and guidance win and lose?",
    trial=InferenceTrial(exam=0, large_exam=12, large_side=128, distance=True),
    variants=(
        Variant(name=ONE, about="one call of the network; all samplers agree"),
        *(
            Variant(
                name=f"{sampler}, {steps} steps",
                change={"sampler": sampler, "steps": steps},
                about=f"{steps} calls of the network",
            )
            for sampler in ("posterior", "ddim", "dpmpp-2m")
            for steps in STEPS
        ),
        *(
            Variant(name=f"guidance {w:g}", change={"guidance": w}, about="one step, two calls")
            for w in GUIDANCE
        ),
    ),
    baseline=ONE,
    metric="gain at 128 px",
    seeds=1,
)
