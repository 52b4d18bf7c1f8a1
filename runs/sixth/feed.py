"""Worker processes that degrade photos into shared rings; a bank on the device copies what is new."""
import mmap, os, time, traceback
import numpy as np, torch
from dataclasses import dataclass
from PIL import Image, ImageFilter
import daclip_lab as lab
from daclip_lab.data.canvases.source import WholePhotos
from daclip_lab.data.training_pairs import Synthetic
from daclip_lab.data.seeding import seeded, uniform, choose
from daclip_lab.data.image_io import read_image, to_pil
from daclip_lab.models.clip import views
from daclip_lab.training.photos import PHOTO_CROPS

SIDES = (192, 256, 320)
VIEWS = {192: 1 + 8, 256: 1 + 8, 320: 1 + 8}

def shared(shape, dtype):
    n = int(np.prod(shape))
    return np.frombuffer(mmap.mmap(-1, max(1, n * np.dtype(dtype).itemsize)), dtype=dtype, count=n).reshape(shape)

class Ring:
    def __init__(self, workers, seg, fields):
        self.workers, self.seg, self.fields = workers, seg, fields
        self.data = {k: shared((workers * seg, *s), d) for k, (s, d) in fields.items()}
        self.counts = shared((workers,), np.int64)
    def put(self, w, **item):
        slot = w * self.seg + int(self.counts[w]) % self.seg
        for k, v in item.items():
            self.data[k][slot] = v
        self.counts[w] += 1

@dataclass(frozen=True, kw_only=True)
class Photographed(Synthetic):
    """Clean images that are sometimes dark or soft, as real clean photos are."""
    def clean(self, generator, size, *, captions=True):
        image, text = super().clean(generator, size, captions=captions)
        u = uniform(generator)
        if u < 0.08:
            g, s = uniform(generator, 1.3, 2.8), uniform(generator, 0.5, 1.0)
            image = s * image.clamp(0, 1) ** g
        elif u < 0.16:
            r = uniform(generator, 0.6, 2.2)
            image = read_image(to_pil(image).filter(ImageFilter.GaussianBlur(r)))
        return image, text

def count_views(side):
    return len(views(torch.zeros(3, side, side), 64, "both", PHOTO_CROPS))

class Feed:
    def __init__(self, workers, seg, labels):
        self.labels = list(labels)
        self.workers = workers
        self.nviews = {s: count_views(s) for s in SIDES}
        self.rings = {s: Ring(workers, seg, {"pixels": ((2, 3, s, s), np.uint8), "views": ((self.nviews[s], 3, 64, 64), np.uint8), "labels": ((2,), np.int64)}) for s in SIDES}
        self.crops = Ring(workers, seg * 8, {"pixels": ((2, 3, 64, 64), np.uint8), "labels": ((2,), np.int64)})
        self.stop = shared((1,), np.int64)

def u8(x):
    return x.clamp(0, 1).mul(255).round().to(torch.uint8).numpy()

def canvas_item(source, feed, seed, index, side):
    c = source.canvas(seed, index, side)
    two = [feed.labels.index(l) for l in c.labels] + [-1]
    v = views(c.pixels[1].float() / 255, 64, "both", PHOTO_CROPS)
    return {"pixels": c.pixels.numpy(), "views": u8(v), "labels": two[:2]}

def work(w, feed, source, seed, nice):
    torch.set_num_threads(1)
    if nice: os.nice(nice)
    k = fails = 0
    turn = (192, 256, 320, 320)
    while not feed.stop[0]:
        try:
            side = turn[k % 4]
            feed.rings[side].put(w, **canvas_item(source, feed, seed + w, k, side))
            for j in range(6):
                g = seeded(seed + w, k * 6 + j, 9)
                e = source.crops.draw(g, 64, captions=False)
                feed.crops.put(w, pixels=np.stack([u8(e.clean), u8(e.degraded)]), labels=[feed.labels.index(e.label), -1])
        except Exception:
            fails += 1
            if fails < 4: traceback.print_exc()
        k += 1

class Bank:
    """The newest items of a ring on a device; the tensors keep their addresses."""
    def __init__(self, ring, capacity, device, chunk=192):
        self.ring, self.capacity, self.device, self.chunk = ring, capacity, device, min(chunk, capacity)
        kinds = {k: torch.from_numpy(a[:1]).dtype for k, a in ring.data.items()}
        keep = [k for k in ring.data if k != "views"]
        self.data = {k: torch.zeros((capacity, *ring.fields[k][0]), dtype=kinds[k], device=device) for k in keep}
        self.embeddings = torch.zeros(capacity, 2, 128, device=device)
        self.host = {k: torch.from_numpy(a) for k, a in ring.data.items()}
        pin = device.type == "cuda"
        self.stage = {k: torch.empty((self.chunk, *ring.fields[k][0]), dtype=kinds[k], pin_memory=pin) for k in ring.data}
        self.seen, self.position, self.filled, self.taken, self.first = [0] * ring.workers, 0, 0, 0, 0
        self.count = torch.zeros((), device=device)  # filled, as a float on the device

    def pump(self, embed, least):
        wanted, runs = self.chunk, []
        for i in range(self.ring.workers):
            w = (self.first + i) % self.ring.workers
            count = int(self.ring.counts[w])
            start = max(self.seen[w], count - self.ring.seg + max(2, self.ring.seg // 8), 0)
            n = min(count - start, wanted)
            if n > 0:
                runs.append((w, start, n)); wanted -= n
            if not wanted: break
        total = self.chunk - wanted
        if total < least: return 0
        at = 0
        for w, start, n in runs:
            self.seen[w] = start + n
            self.first = w
            while n:
                slot = start % self.ring.seg
                m = min(n, self.ring.seg - slot)
                for k, t in self.host.items():
                    self.stage[k][at:at + m].copy_(t[w * self.ring.seg + slot: w * self.ring.seg + slot + m])
                at, start, n = at + m, start + m, n - m
        moved = {k: t[:total].to(self.device, non_blocking=True) for k, t in self.stage.items()}
        found = embed(moved.pop("views") if "views" in moved else moved["pixels"][:, 1:2])
        done = 0
        while done < total:
            m = min(total - done, self.capacity - self.position)
            for k, t in moved.items():
                self.data[k][self.position:self.position + m] = t[done:done + m]
            self.embeddings[self.position:self.position + m] = found[done:done + m]
            self.position = (self.position + m) % self.capacity
            done += m
        self.filled = min(self.capacity, self.filled + total)
        self.count.fill_(self.filled)
        self.taken += total
        if self.device.type == "cuda": torch.cuda.synchronize()
        return total
