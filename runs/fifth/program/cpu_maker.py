"""Makes degraded canvases with the fifth controller's embeddings into memory-mapped rings."""
import os, sys, time
sys.path.insert(0, "."); sys.path.insert(0, ".")
os.chdir(".")
import numpy as np, torch
from pathlib import Path
import feed
from feed import *
from train_all import embed_views, shrunk
from daclip_lab import pipeline
from daclip_lab.data.degradations import NAMES, MIX_ORDER

SLOTS = {64: 16000, 192: 2500, 256: 2500, 320: 1500}
ROOT = Path("pool")
def open_ring(s, mode):
    n = SLOTS[s]; r = {}
    for name, shape, dt in (("pixels", (n, 2, 3, s, s), np.uint8), ("emb", (n, 2, 128), np.float32), ("labels", (n, 2), np.int64), ("count", (1,), np.int64), ("maps", (n, 2, s // 16, s // 16), np.float32), ("new", (n,), np.uint8)):
        p = ROOT / f"{s}_{name}.bin"
        r[name] = np.memmap(p, dt, "r+" if p.exists() and mode != "w" else "w+", shape=shape)
    return r
if __name__ == "__main__":
    seed = int(sys.argv[1]); torch.set_num_threads(1); os.nice(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    W = np.array([1.5 if n in ("raindrop", "shadowed") else 1.3 if n in ("motion-blurry", "jpeg-compressed") else 1.0 for n in NAMES]); W = W / W.sum()
    def plan(g, *, clean, mixed):
        if uniform(g) < clean * 1.5: return []
        first = NAMES[int(np.searchsorted(np.cumsum(W), uniform(g)).clip(0, 9))]
        steps = [(first, uniform(g, *SEVERITY))]
        if uniform(g) < mixed:
            others = [n for n in NAMES if n != first]
            steps.append((others[choose(g, len(others))], uniform(g, *SEVERITY)))
        return sorted(steps, key=lambda s: MIX_ORDER.index(s[0]))
    feed.plan = plan
    pipe = pipeline.load("RUN"); D = pipe.daclip
    from daclip_lab import folders; from daclip_lab.checkpoints import read_tensors
    folders._Controller(D).load_state_dict({k: v.float() for k, v in read_tensors(Path("trial/C/first.safetensors")).items()})
    train, _ = read_manifest(Path("photos"))
    photos = Photos(train); pairs = read_pairs(Path("photos/pairs"))
    plain_square = photos.square
    def square(g, size, native=0.5):
        im = plain_square(g, size, native); r = uniform(g)
        if r < 0.18:  # out of focus
            f = uniform(g, 1.3, 3.5); small = max(8, round(size / f))
            im = im.resize((small, small), Image.Resampling.LANCZOS).resize((size, size), Image.Resampling.BICUBIC)
        elif r < 0.26:  # a dark scene, well exposed
            p = uniform(g, 1.5, 3.0); im = im.point([round(255 * (i / 255) ** p) for i in range(256)] * 3)
        return im
    photos.square = square
    class F0: texts = [0]
    maker = Maker(F0, photos, pairs)
    rings = {s: open_ring(s, "a") for s in SLOTS}
    fills = {s: int(rings[s]["count"][0]) for s in SLOTS}
    k = 0; t0 = time.time(); made = 0
    cpu = torch.device("cpu")
    while True:
        g = seeded(1000 + seed, k); k += 1
        s = (64, 192, 256, 320, 256, 192, 320)[k % 7]
        items = [maker.crop(g) if s == 64 else maker.canvas(g, s) for _ in range(24 if s == 64 else 4)]
        px = torch.from_numpy(np.stack([i["pixels"] for i in items])); n = len(px)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            if s == 64:
                views = (px[:, 1].float() / 255)[:, None]
            else:
                y = torch.randint(0, s - 63, (n, 8)); x = torch.randint(0, s - 63, (n, 8))
                native = torch.stack([torch.stack([px[i, 1, :, y[i, j]:y[i, j] + 64, x[i, j]:x[i, j] + 64] for j in range(8)]) for i in range(n)]).float() / 255
                views = torch.cat([shrunk(px[:, 1])[:, None], native], 1)
            if s == 64:
                e = D.encode_image(views[:, 0]); c, d = e.content, e.degradation
            else: c, d = embed_views(D, views, cpu)
        emb = torch.stack([c.float(), d.float()], 1).numpy()
        r = rings[s]; at = (fills[s] + np.arange(n)) % SLOTS[s]
        r["pixels"][at] = px.numpy(); r["emb"][at] = emb; r["labels"][at] = np.stack([i["labels"] for i in items])
        fills[s] += n; r["count"][0] = fills[s]; made += n
        r["new"][at] = 1
        if s != 64: r["maps"][at] = np.stack([i["maps"] for i in items])
        if k % 70 == 0: print(f"{time.time()-t0:.0f} s", fills, flush=True)
