"""Pairs for the trainings: processes degrade photos into rings of shared memory, trainings copy them to their device.

Nothing here waits for anybody: a worker overwrites its oldest item, a reader takes what is new and skips what it missed.
The rings are anonymous shared memory (`mmap`), inherited by fork, so that /dev/shm may be as small as it likes.
"""

import json
import math
import mmap
import os
import time
import traceback
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from daclip_lab.data.captions import caption
from daclip_lab.data.datasets import LABELS
from daclip_lab.data.degradations import CLEAN, MIX_ORDER, NAMES, camera, degrade
from daclip_lab.data.random import choose, seeded, uniform
from daclip_lab.data.scenes import scene
from daclip_lab.data.words import describe

CROP = 64
SIZES = (192, 256, 320)  # the photos that travel have short sides of 256 to 321, and nothing clean is enlarged
CELL = 16  # pixels of a cell of the maps that say where damage can be seen
CLEAN_INDEX = LABELS.index(CLEAN)
CONTEXT = 36
SCENES = 0.15
SEVERITY = (0.2, 1.0)


def to_bytes(image: torch.Tensor) -> np.ndarray:
    return image.mul(255).round_().to(torch.uint8).numpy()


def shared(shape, dtype) -> np.ndarray:
    size = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return np.frombuffer(mmap.mmap(-1, size), dtype=dtype, count=int(np.prod(shape))).reshape(shape)


class Ring:
    """A segment of slots for each worker; `counts[w]` says how many items worker w has written in all."""

    def __init__(self, workers: int, seg: int, fields: dict):
        self.workers, self.seg, self.fields = workers, seg, fields
        self.data = {
            name: shared((workers * seg, *shape), dtype) for name, (shape, dtype) in fields.items()
        }
        self.counts = shared((workers,), np.int64)

    def put(self, w: int, **item) -> None:
        slot = w * self.seg + int(self.counts[w]) % self.seg
        for name, value in item.items():
            self.data[name][slot] = value
        self.counts[w] += 1


def crop_fields():
    return {
        "pixels": ((2, 3, CROP, CROP), np.uint8),  # clean, degraded
        "labels": ((2,), np.int64),  # of LABELS; the second is -1 where there is one alone
        "tokens": ((2, CONTEXT), np.int16),  # caption; caption that names what is wrong
        "same": ((2,), np.int64),  # equal where the texts are
    }


def canvas_fields(size: int):
    return {
        "pixels": ((2, 3, size, size), np.uint8),
        "labels": ((2,), np.int64),
        # Mean squared difference that the first and the second degradation made, before the camera.
        "maps": ((2, size // CELL, size // CELL), np.float32),
    }


class Feed:
    """Everything that workers and trainers share."""

    def __init__(self, *, workers: int, smoke: bool, val_photos: int, tokenize):
        self.workers, self.smoke = workers, smoke
        seg = {"crop": 512 if smoke else 3000, 192: 32 if smoke else 300, 256: 32 if smoke else 300,
               320: 32 if smoke else 300}  # fmt: skip
        self.crops = Ring(workers, seg["crop"], crop_fields())
        self.canvases = {s: Ring(workers, seg[s], canvas_fields(s)) for s in SIZES}
        self.share = shared((1,), np.float64)  # share of the workers' time for crops
        self.texts = shared((1,), np.int64)  # 1 while captions are read
        self.stop = shared((1,), np.int64)
        self.made = shared((workers, 2), np.float64)  # seconds spent on crops and on canvases
        self.share[0], self.texts[0] = 0.6, 1
        self.tokenize = tokenize
        # Validation: each photo in each of the eleven ways, as a crop (twice) and whole; and mixtures.
        self.val_photos = val_photos
        self.val_crops = {n: shared((val_photos * 22, *s), d) for n, (s, d) in crop_fields().items()}
        self.val_size = 320
        self.val_whole = {
            n: shared((val_photos * 13, *s), d) for n, (s, d) in canvas_fields(320).items()
        }
        self.val_done = shared((workers,), np.int64)


class Photos:
    """Decoded photos as PIL images, read by threads before the workers are forked."""

    def __init__(self, paths: list[Path]):
        def read(path):
            with Image.open(path) as image:
                return image.convert("RGB")

        with ThreadPoolExecutor(16) as pool:
            self.images = list(pool.map(read, paths))

    def large(self, size: int) -> "Photos":
        """Those alone that hold a square of that size, if they are enough."""
        found = [image for image in self.images if min(image.size) >= size]
        if len(found) >= 5:
            self.images = found
        return self

    def square(self, g, size: int, native: float = 0.5) -> Image.Image:
        """A random square of a random photo at a random scale, perhaps mirrored, never enlarged if it can be helped."""
        for _ in range(20):
            photo = self.images[choose(g, len(self.images))]
            if min(photo.size) >= size:
                break
        short = min(photo.size)
        plain = uniform(g) < native
        side = min(short, size) if plain else uniform(g, min(short, size), short)
        left, top = uniform(g, 0, photo.width - side), uniform(g, 0, photo.height - side)
        if plain:
            left, top = round(left), round(top)
        square = photo.resize((size, size), Image.Resampling.LANCZOS,
                              box=(left, top, left + side, top + side))  # fmt: skip
        return square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if uniform(g) < 0.5 else square


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).astype(np.float32) / 255)


def read_pairs(root: Path) -> dict[str, list[tuple[Image.Image, Image.Image]]]:
    """Real training pairs below root/<degradation>/{LQ,GT}."""
    found: dict[str, list] = {}
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if folder.name not in NAMES:
            continue
        gts = {p.stem: p for p in (folder / "GT").iterdir()}
        for lq in sorted((folder / "LQ").iterdir()):
            if lq.stem in gts:
                pair = [Image.open(p).convert("RGB") for p in (lq, gts[lq.stem])]
                if pair[0].size == pair[1].size:
                    found.setdefault(folder.name, []).append(tuple(pair))
    return found


def plan(g, *, clean: float, mixed: float) -> list[tuple[str, float]]:
    if uniform(g) < clean:
        return []
    first = NAMES[choose(g, len(NAMES))]
    steps = [(first, uniform(g, *SEVERITY))]
    if uniform(g) < mixed:
        others = [n for n in NAMES if n != first]
        steps.append((others[choose(g, len(others))], uniform(g, *SEVERITY)))
    return sorted(steps, key=lambda s: MIX_ORDER.index(s[0]))


def applied(clean: torch.Tensor, steps, g):
    """The degraded image as a camera took it, the labels, and the difference that each step made (h, w)."""
    labels, maps, now = [-1, -1], [None, None], clean
    for k, (name, severity) in enumerate(steps):
        after = degrade(now, name, severity, g)
        labels[k] = LABELS.index(name)
        maps[k] = (after - now).square_().mean(0)
        now = after
    if not steps:
        labels[0] = CLEAN_INDEX
    return camera(now, g), labels, maps


def cells(plane) -> np.ndarray | float:
    if plane is None:
        return 0.0
    h, w = plane.shape
    return plane.reshape(h // CELL, CELL, w // CELL, CELL).mean((1, 3)).numpy()


class Maker:
    """What one worker makes."""

    def __init__(self, feed: Feed, photos: Photos, pairs: dict):
        self.feed, self.photos, self.pairs = feed, photos, pairs
        self.scenes: list[torch.Tensor] = []  # the last ones made, of which crops are cut

    def real(self, g, size: int):
        """A square of a real pair: (degraded, clean, labels, map), or None where there is none of that size."""
        name = list(self.pairs)[choose(g, len(self.pairs))]
        lq, gt = self.pairs[name][choose(g, len(self.pairs[name]))]
        if min(lq.size) < size:
            return None
        x, y = choose(g, lq.width - size + 1), choose(g, lq.height - size + 1)
        flip = uniform(g) < 0.5
        cut = []
        for image in (lq, gt):
            part = image.crop((x, y, x + size, y + size))
            cut.append(tensor(part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else part))
        return cut[0], cut[1], [LABELS.index(name), -1], (cut[0] - cut[1]).square().mean(0)

    def crop(self, g) -> dict:
        text = None
        kind = uniform(g)
        if kind < SCENES / 3:
            drawn = scene(g, height=CROP, width=CROP)
            clean, text = drawn.image, drawn.caption
        elif kind < SCENES and self.scenes:
            whole = self.scenes[choose(g, len(self.scenes))]
            y, x = (choose(g, whole.shape[-1] - CROP + 1) for _ in range(2))
            clean = whole[:, y : y + CROP, x : x + CROP].clone()
        else:
            clean = tensor(self.photos.square(g, CROP))
        degraded, labels, _ = applied(clean, plan(g, clean=1 / 6, mixed=0.2), g)
        item = {"pixels": np.stack([to_bytes(clean), to_bytes(degraded)]), "labels": labels}
        if self.feed.texts[0]:
            text = text or caption(clean)
            says = text
            if labels[0] != CLEAN_INDEX or uniform(g) < 0.5:
                named = labels[0] if labels[1] < 0 or uniform(g) < 0.5 else labels[1]
                says = describe(text, LABELS[named], g)
            item["tokens"] = self.feed.tokenize([text, says])
            item["same"] = [zlib.crc32(text.encode()), zlib.crc32(says.encode())]
        return item

    def canvas(self, g, size: int) -> dict:
        if self.pairs and uniform(g) < 0.012:
            found = self.real(g, size)
            if found:
                degraded, clean, labels, plane = found
                return self._whole(clean, degraded, labels, [plane, None])
        if uniform(g) < SCENES:
            clean = scene(g, height=size, width=size).image
            self.scenes = [*self.scenes[-29:], clean]
        else:
            clean = tensor(self.photos.square(g, size, 0.4))
        return self._whole(clean, *applied(clean, plan(g, clean=0.2, mixed=0.25), g))

    @staticmethod
    def _whole(clean, degraded, labels, maps) -> dict:
        return {"pixels": np.stack([to_bytes(clean), to_bytes(degraded)]), "labels": labels,
                "maps": np.stack([np.broadcast_to(cells(m), (clean.shape[-1] // CELL,) * 2)
                                  for m in maps])}  # fmt: skip


def make_validation(feed: Feed, photos: Photos, w: int) -> None:
    """This worker's share of the validation set: a pure function of the photos."""
    severities = (0.3, 1.0)
    for p in range(w, feed.val_photos, feed.workers):
        image = photos.images[p % len(photos.images)]
        for k in range(22):
            g = seeded(77, p, k)
            x, y = choose(g, image.width - CROP + 1), choose(g, image.height - CROP + 1)
            clean = tensor(image.crop((x, y, x + CROP, y + CROP)))
            name = LABELS[k % 11]
            severity = 0.0 if name == CLEAN else uniform(g, *severities)
            degraded = camera(degrade(clean, name, severity, g), g)
            row = p * 22 + k
            feed.val_crops["pixels"][row] = np.stack([to_bytes(clean), to_bytes(degraded)])
            feed.val_crops["labels"][row] = [k % 11, -1]
            text = caption(clean)
            feed.val_crops["tokens"][row] = feed.tokenize([text, text])
            feed.val_crops["same"][row] = zlib.crc32(text.encode())
        size = feed.val_size
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.resize((size, size), Image.Resampling.LANCZOS,
                              box=(left, top, left + side, top + side))  # fmt: skip
        clean = tensor(square)
        for k in range(13):
            g = seeded(78, p, k)
            if k < 11:
                steps = [] if k == CLEAN_INDEX else [(LABELS[k], uniform(g, *severities))]
            else:
                two = torch.randperm(len(NAMES), generator=g)[:2].tolist()
                steps = sorted([(NAMES[i], uniform(g, *severities)) for i in two],
                               key=lambda s: MIX_ORDER.index(s[0]))  # fmt: skip
            degraded, labels, maps = applied(clean, steps, g)
            item = Maker._whole(clean, degraded, labels, maps)
            for name, value in item.items():
                feed.val_whole[name][p * 13 + k] = value


def work(w: int, feed: Feed, photos: Photos, val: Photos, pairs: dict, seed: int) -> None:
    """One worker process."""
    torch.set_num_threads(1)
    if not feed.smoke:
        os.nice(5)
    try:
        make_validation(feed, val, w)
    except Exception:
        traceback.print_exc()
    feed.val_done[w] = 1
    maker, failures, k = Maker(feed, photos, pairs), 0, 0
    spent = [0.0, 0.0]
    while not feed.stop[0]:
        share = float(feed.share[0])
        g, k = seeded(seed, w, k), k + 1
        started = time.perf_counter()
        crops = share > 0 and spent[0] * (1 - share) <= spent[1] * share
        try:
            if crops:
                for _ in range(8):
                    feed.crops.put(w, **maker.crop(g))
            else:
                size = SIZES[(0, 1, 1, 2, 2, 2)[choose(g, 6)]]
                feed.canvases[size].put(w, **maker.canvas(g, size))
        except Exception:
            failures += 1
            if failures <= 3:
                traceback.print_exc()
            if failures > 1000:
                raise
        took = time.perf_counter() - started
        spent[0 if crops else 1] += took
        feed.made[w, 0 if crops else 1] += took
        # The past is forgotten, so that a new share holds at once.
        spent = [s * 0.99 for s in spent]


class Bank:
    """The newest items of a ring on a device, copied there a few at a time."""

    def __init__(self, ring: Ring, capacity: int, chunk: int, device: torch.device):
        self.ring, self.capacity, self.device = ring, capacity, device
        self.chunk = min(chunk, capacity)
        cuda = device.type == "cuda"
        kinds = {name: torch.from_numpy(a[:1]).dtype for name, a in ring.data.items()}
        self.data = {
            name: torch.zeros((capacity, *ring.fields[name][0]), dtype=kinds[name], device=device)
            for name in ring.data
        }
        self.host = {name: torch.from_numpy(a) for name, a in ring.data.items()}
        self.stages = [
            {
                name: torch.empty((self.chunk, *ring.fields[name][0]), dtype=kinds[name], pin_memory=cuda)
                for name in ring.data
            }
            for _ in range(3 if cuda else 1)
        ]
        self.events = [torch.cuda.Event() if cuda else None for _ in self.stages]
        self.turn = 0
        self.seen = [0] * ring.workers
        self.position = self.filled = self.taken = 0
        self.first = 0  # where the next round over the workers begins

    def pump(self, rounds: int = 1) -> list[tuple[int, int]]:
        """Copy what is new, up to `rounds` chunks; returns the places (from, to) that were written."""
        written = []
        for _ in range(rounds):
            wanted, runs = self.chunk, []
            for i in range(self.ring.workers):
                w = (self.first + i) % self.ring.workers
                count = int(self.ring.counts[w])
                margin = max(2, self.ring.seg // 8)
                start = max(self.seen[w], count - self.ring.seg + margin, 0)
                n = min(count - start, wanted)
                if n > 0:
                    runs.append((w, start, n))
                    self.seen[w] = start + n
                    wanted -= n
                if not wanted:
                    self.first = w
                    break
            total = self.chunk - wanted
            # A few alone are not worth the trouble, unless there is nothing yet.
            if total == 0 or (total < self.chunk // 8 and self.filled):
                for w, start, _ in runs:
                    self.seen[w] = start
                return written
            stage, event = self.stages[self.turn], self.events[self.turn]
            self.turn = (self.turn + 1) % len(self.stages)
            if event is not None:
                event.synchronize()
            at = 0
            for w, start, n in runs:
                while n:
                    slot = start % self.ring.seg
                    m = min(n, self.ring.seg - slot)
                    for name, tensor in self.host.items():
                        stage[name][at : at + m].copy_(
                            tensor[w * self.ring.seg + slot : w * self.ring.seg + slot + m]
                        )
                    at, start, n = at + m, start + m, n - m
            done = 0
            while done < total:
                m = min(total - done, self.capacity - self.position)
                for name, tensor in self.data.items():
                    tensor[self.position : self.position + m].copy_(
                        stage[name][done : done + m], non_blocking=True
                    )
                written.append((self.position, self.position + m))
                self.position = (self.position + m) % self.capacity
                done += m
            if event is not None:
                event.record()
            self.filled = min(self.capacity, self.filled + total)
            self.taken += total
        return written


def read_manifest(folder: Path) -> tuple[list[Path], list[Path]]:
    manifest = json.loads((folder / "photos.json").read_text())
    return tuple([folder / name for name in manifest[kind]] for kind in ("train", "val"))


def rates(feed: Feed, before: dict | None = None) -> dict:
    """What the workers have made, and how long it took them."""
    now = {"crop": int(feed.crops.counts.sum()), "time": time.perf_counter(),
           **{s: int(feed.canvases[s].counts.sum()) for s in SIZES},
           "crop seconds": float(feed.made[:, 0].sum()),
           "canvas seconds": float(feed.made[:, 1].sum())}  # fmt: skip
    if before is None:
        return now
    dt = max(now["time"] - before["time"], 1e-9)
    now["text"] = (
        f"crops {now['crop']} ({(now['crop'] - before['crop']) / dt:.0f}/s), canvases "
        + ", ".join(f"{s}px {now[s]} ({(now[s] - before[s]) / dt:.1f}/s)" for s in SIZES)
        + f"; one worker needs {1e3 * (now['crop seconds'] - before['crop seconds']) / max(1, now['crop'] - before['crop']):.2f} ms a crop, "
        + f"{1e3 * (now['canvas seconds'] - before['canvas seconds']) / max(1, sum(now[s] - before[s] for s in SIZES)):.1f} ms a canvas"
    )
    return now
