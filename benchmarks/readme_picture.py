"""The picture of the README: python -m benchmarks.readme_picture, which writes docs/restored.webp.

Four sample photos, degraded and restored by the shipped weights, with what DA-CLIP predicts and the PSNR.
"""

import io
from pathlib import Path

import torch
from PIL import Image

import daclip_lab as lab
from daclip_lab.figures.primitives import figure_png, image_grid

SHOWN = {"otter": "rainy", "lake": "low-light", "spices": "uncompleted", "colosseum": "hazy"}
SEVERITY = 0.75
TARGET = Path(__file__).parents[1] / "docs" / "restored.webp"


def main() -> None:
    torch.set_num_threads(2)
    pipe, photos = lab.load("lab"), lab.sample_photos("test")
    columns = []
    for name, degradation in SHOWN.items():
        clean = photos[photos.names.index(name)]
        clean = torch.nn.functional.avg_pool2d(clean, 2)
        degraded = lab.degrade(clean, degradation, severity=SEVERITY, seed=1)
        restored = pipe.restore(degraded, seed=0)
        before, after = (
            lab.psnr(lab.read_image(x)[None], clean[None]) for x in (degraded, restored)
        )
        predicted = pipe.classify(degraded)
        titles = (
            f"{predicted.idxmax()} (p = {predicted.max():.2f}), {before.item():.1f} dB",
            f"restored, {after.item():.1f} dB",
            "clean",
        )
        columns.append(((degraded, restored, clean), titles))
        print(f"{name}: {'; '.join(titles)}")
    images, titles = zip(*columns, strict=True)
    figure = image_grid(
        [list(row) for row in zip(*images, strict=True)],
        titles=[list(row) for row in zip(*titles, strict=True)],
        gap=6,
    )
    with Image.open(io.BytesIO(figure_png(figure))) as picture:
        picture.convert("RGB").save(TARGET, quality=90)


if __name__ == "__main__":
    main()
