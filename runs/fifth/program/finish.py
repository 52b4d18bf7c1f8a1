"""After the training, on a CPU: choose temperature and the bias of "clean" on the validation photos, and measure.

    python finish.py RUN --photos photos [--test ../shared/photos/bsds500/test --real ../shared/real]
        [--number 40] [--limit 12] [--save FOLDER] [--threads 2]

RUN is what train_all.py wrote: pipeline.json, clip, controller and restorer. The chosen numbers go into RUN/pipeline.json
(or into FOLDER, a whole pipeline). Everything else is printed.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from daclip_lab import pipeline
from daclip_lab.analysis.calibration import fit_temperature
from daclip_lab.analysis.evaluation import evaluate
from daclip_lab.analysis.protocol import Protocol, degraded_crops, mixed_crops
from daclip_lab.data.datasets import LABELS
from daclip_lab.data.degradations import CLEAN, NAMES
from daclip_lab.data.image_io import find_images, read_image
from daclip_lab.data.photos import Photos
from daclip_lab.models.daclip import Embeddings
from feed import read_manifest

CLEAN_AT = LABELS.index(CLEAN)


def psnr(a, b) -> float:
    return -10 * ((a - b).square().mean() + 1e-10).log10().item()


def logits_of(pipe, photos, protocol):
    """Logits (n, 11) in the order of LABELS of every photo in the eleven ways, and which way (n,)."""
    order = [pipe.settings.labels.index(name) for name in LABELS]
    logits, kinds = [], []
    for index in range(len(photos)):
        _, degraded, facts = degraded_crops(photos, index, protocol)
        logits.append(pipe.logits(pipe.encode(list(degraded)).degradation)[:, order])
        kinds += [LABELS.index(fact["degradation"]) for fact in facts]
    return torch.cat(logits).clone(), torch.tensor(kinds)


def naming(logits, kinds, title) -> None:
    ten = kinds < CLEAN_AT
    right = (logits[:, :10].argmax(1) == kinds)[ten]
    called = logits.argmax(1)
    print(f"{title}: ten-way {right.float().mean():.3f}, clean called clean {(called == CLEAN_AT)[~ten].float().mean():.3f} "
          f"at {(called == CLEAN_AT)[ten].float().mean():.3f} misses; "
          + " ".join(f"{n} {100 * (logits[kinds == i][:, :10].argmax(1) == i).float().mean():.0f}" for i, n in enumerate(NAMES))
          + "; clean taken for " + str({LABELS[i]: int((called[~ten] == i).sum()) for i in called[~ten].unique().tolist()}), flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--photos", required=True)
    parser.add_argument("--test", default="../shared/photos/bsds500/test")
    parser.add_argument("--real", default="../shared/real")
    parser.add_argument("--number", type=int, default=40, help="photos of the test set that are measured whole")
    parser.add_argument("--crops", type=int, default=200, help="photos of the test set of which a crop is measured")
    parser.add_argument("--validation", type=int, default=30, help="photos on which the numbers are chosen")
    parser.add_argument("--limit", type=int, default=12, help="images of each real folder")
    parser.add_argument("--misses", type=float, default=0.025, help="share of degraded validation photos that may be called clean")
    parser.add_argument("--most", type=int, nargs="*", default=[], help="also try so many native crops")
    parser.add_argument("--save", help="write the whole pipeline into this folder")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pipe = pipeline.load(args.run)
    run = Path(args.run)
    pipe.settings = replace(pipe.settings, temperature=1.0, clean_bias=0.0)
    count = {p: sum(t.numel() for t in m.state_dict().values()) / 1e6 for p, m in (("DA-CLIP", pipe.daclip), ("restorer", pipe.restorer)) if m is not None}  # fmt: skip
    print(f"millions of numbers: {count}; the whole view weighs {pipe.daclip.controller.pooling.whole.item():+.2f}")

    _, val_paths = read_manifest(Path(args.photos))
    val = Photos(val_paths[: args.validation])
    whole, crop = Protocol(crop=None, seed=11), Protocol(crop=64, crops=2, seed=11)
    for most in args.most:
        pipe.settings = replace(pipe.settings, most=most)
        naming(*logits_of(pipe, val, whole), f"validation photos, {most} native crops")
    pipe.settings = replace(pipe.settings, most=48)
    logits, kinds = logits_of(pipe, val, whole)
    naming(logits, kinds, "validation photos, no bias")
    margin = logits[:, CLEAN_AT] - logits[:, :CLEAN_AT].amax(1)
    missed = margin[kinds < CLEAN_AT]
    bias = -missed.quantile(1 - args.misses).item()
    pipe.settings = replace(pipe.settings, clean_bias=bias)
    logits[:, CLEAN_AT] += bias
    naming(logits, kinds, f"validation photos, bias {bias:+.2f}")
    of_crops, kinds_of_crops = logits_of(pipe, val, crop)
    naming(of_crops, kinds_of_crops, "validation crops")
    temperature = fit_temperature(torch.cat([logits, of_crops]), torch.cat([kinds, kinds_of_crops]))
    pipe.settings = replace(pipe.settings, temperature=temperature)
    print(f"temperature {temperature:.3f}")
    if args.save:
        pipe.save(args.save, half=True)
    else:
        pipe.save_settings(run)

    image = torch.rand(3, 321, 481)
    pipe.classify(image)
    t = time.time()
    pipe.classify(image)
    print(f"481x321 on {args.threads} threads: named in {time.time() - t:.2f} s")
    if pipe.restorer is not None:
        pipe.restore(image)
        t = time.time()
        pipe.restore(image)
        print(f"restored in {time.time() - t:.2f} s", flush=True)

    if args.real:
        real(pipe, Path(args.real), args.limit)
    if args.test:
        paths = find_images(Path(args.test))
        step = max(1, len(paths) // max(1, args.crops))
        if args.crops:
            print("\n===== crops of", args.test, "\n", evaluate(pipe, Photos(paths[::step][: args.crops]), Protocol(crop=64)), flush=True)
        step = max(1, len(paths) // max(1, args.number))
        if args.number:
            print("\n===== whole photos of", args.test, "\n", evaluate(pipe, Photos(paths[::step][: args.number]), Protocol(crop=None)), flush=True)


def real(pipe, root: Path, limit: int) -> None:
    """Every folder of real pictures: what they are called, and what restoring gains."""
    ten = [pipe.settings.labels.index(name) for name in NAMES]
    right = total = 0
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        name = folder.name.split("_")[0]
        lq = sorted((folder / "LQ").iterdir())
        lq = lq[:: max(1, len(lq) // limit)][:limit]
        gts = {p.stem: p for p in (folder / "GT").iterdir()} if (folder / "GT").is_dir() else {}
        called, first, gains, losses = [], [], [], []
        for path in lq:
            image = read_image(path)
            embedding = pipe.encode([image])
            logits = pipe.logits(embedding.degradation)[0]
            first.append(NAMES[logits[ten].argmax()])
            called.append(pipe.settings.labels[logits.argmax()])
            if path.stem in gts and pipe.restorer is not None:
                clean = read_image(gts[path.stem])
                restored = read_image(pipe.restore(image, embeddings=Embeddings(*embedding)))

                def score(x, clean=clean):
                    if name == "low-light":
                        x = (x * ((x * clean).sum() / x.square().sum())).clamp(0, 1)
                    return psnr(x, clean)

                gains.append(score(restored) - score(image))
                losses.append((round(gains[-1], 2), path.stem))
        right += sum(f == name for f in first)
        total += len(first)
        counts = {n: first.count(n) for n in sorted(set(first), key=first.count, reverse=True)}
        of_all = {n: called.count(n) for n in sorted(set(called), key=called.count, reverse=True)}
        gain = f"; gain {sum(gains) / len(gains):+.2f} dB, lowest {sorted(losses)[:3]}" if gains else ""
        print(f"real {folder.name}: {first.count(name)}/{len(first)} right; of the ten {counts}; of all {of_all}{gain}", flush=True)
    print(f"real: {right}/{total} = {right / max(1, total):.3f} with their own degradation first", flush=True)


if __name__ == "__main__":
    main()
