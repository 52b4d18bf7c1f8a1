"""What should a restorer be trained on: how many photos, scenes, mixtures, the camera?"""

from daclip_lab.ablation.study import Study, Variant
from daclip_lab.ablation.tasks.bank import BankSettings
from daclip_lab.ablation.tasks.restorer import RestorerTrial

LIMITS = (75, 150, 300)

STUDY = Study(
    name="data",
    question="How many photos does a restorer need, and do scenes, mixtures and a camera help?",
    trial=RestorerTrial(bank=BankSettings(scene_prob=0.0)),
    variants=(
        Variant(name="all photos", about="crops of all training photos, one degradation each"),
        *(
            Variant(
                name=f"{limit} photos",
                change={"bank.photo_limit": limit},
                about=f"as many crops, of {limit} photos",
            )
            for limit in LIMITS
        ),
        Variant(
            name="scenes",
            change={"bank.scene_prob": 1.0},
            about="procedural scenes instead of photos",
        ),
        Variant(
            name="photos and scenes",
            change={"bank.scene_prob": 0.5},
            about="one half of each",
        ),
        Variant(
            name="mixtures",
            change={"bank.second_degradation_prob": 0.5},
            about="half of the degraded examples have a second degradation",
        ),
        Variant(
            name="without camera",
            change={"bank.camera": False},
            about="without the mild noise and compression of a camera, which the test images have",
        ),
    ),
    baseline="all photos",
    metric="gain at 64 px",
    comparisons=(("photos and scenes", "scenes"), ("150 photos", "75 photos")),
)
