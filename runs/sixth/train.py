"""Train the shipped restorer further on a GPU: data on the cores, the whole step as a CUDA graph."""
import argparse, copy, json, math, multiprocessing as mp, os, sys, time, traceback
from dataclasses import replace
from pathlib import Path
import numpy as np, torch
from torch.nn import functional as F
import daclip_lab as lab
from daclip_lab.data.photos import Photos
from daclip_lab.data.pairs import find_pairs
from daclip_lab.data.prompts import training_texts
from daclip_lab.degradations.registry import DEGRADATIONS, CLEAN
from daclip_lab.data.seeding import seeded, uniform
from daclip_lab.degradations.apply import camera, degrade
from daclip_lab.data.canvases.source import WholePhotos
from daclip_lab.models.clip import views
from daclip_lab.training.photos import PHOTO_CROPS
from feed import Bank, Feed, Photographed, SIDES, u8, work, shared

p = argparse.ArgumentParser()
p.add_argument("--photos", type=Path); p.add_argument("--out", type=Path)
p.add_argument("--seconds", type=float, default=60); p.add_argument("--workers", type=int, default=13)
p.add_argument("--seed", type=int, default=1000); p.add_argument("--rate", type=float, default=1.2e-3)
p.add_argument("--warm", type=int, default=300); p.add_argument("--start", default="lab")
p.add_argument("--small", action="store_true"); p.add_argument("--eager", action="store_true")
p.add_argument("--layout", default="auto"); p.add_argument("--val", type=int, default=62)
p.add_argument("--steps-per-second", type=float, default=0.0)
a = p.parse_args()
T0 = time.time()
def say(*x):
    print(f"[{time.time() - T0:6.1f}]", *x, flush=True)
    with open(a.out / "log.txt", "a") as f: print(f"[{time.time() - T0:6.1f}]", *x, file=f)
a.out.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(1)

names = json.load(open(a.photos / "photos.json"))
index = {q.stem: q for q in a.photos.rglob("*.webp")}
path = lambda n: a.photos / n if (a.photos / n).is_file() else index[Path(n).stem]
photos = Photos([path(n) for n in names["train"]], max_bytes=10**9)
val = Photos([path(n) for n in names["val"]][:a.val], max_bytes=10**9)
for i in range(len(photos)): photos._decode(i)
for i in range(len(val)): val._decode(i)
pairs = tuple(find_pairs(a.photos / "pairs")) if (a.photos / "pairs").is_dir() else ()
scale = lab.presets.lab()
pipe = lab.load(a.start)
labels = list(pipe.settings.labels)
crops = Photographed(photos=photos, scene_prob=0.05, clean_prob=scale.clean_prob, second_degradation_prob=scale.second_degradation_prob, severity=scale.severity)
source = WholePhotos(crops=crops, sides=SIDES, pairs=pairs, pair_prob=0.04 if pairs else 0.0)
feed = Feed(a.workers, 40 if a.small else 160, labels)
say("photos", len(photos), len(val), "pairs", len(pairs), "views", feed.nviews)

# Validation canvases: each held-out photo in each of the ten ways, 256 px.
VS = 256
nval = len(val) * len(DEGRADATIONS)
vpix, vview, vdone = shared((nval, 2, 3, VS, VS), np.uint8), shared((nval, feed.nviews[VS], 3, 64, 64), np.uint8), shared((a.workers,), np.int64)
def validation(w):
    for j in range(w, nval, a.workers):
        k, d = divmod(j, len(DEGRADATIONS))
        g = seeded(77, j)
        photo = val[k]
        h, ww = photo.shape[-2:]
        s = min(VS, h, ww)
        y, x = int(uniform(g, 0, h - s)), int(uniform(g, 0, ww - s))
        clean = photo[:, y:y + s, x:x + s]
        if s < VS: clean = F.interpolate(clean[None], (VS, VS), mode="bicubic", align_corners=False)[0].clamp(0, 1)
        bad = camera(degrade(clean, DEGRADATIONS[d], uniform(g, .3, 1.), g), g)
        vpix[j] = np.stack([u8(clean), u8(bad)])
        vview[j] = u8(views(bad, 64, "both", PHOTO_CROPS))
    vdone[w] = 1
def job(w):
    torch.set_num_threads(1)
    try: validation(w)
    except Exception: traceback.print_exc(); vdone[w] = 1
    work(w, feed, source, a.seed, 3)
context = mp.get_context("fork")
processes = [context.Process(target=job, args=(w,), daemon=True) for w in range(a.workers)]
for q in processes: q.start()

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
cuda = device.type == "cuda"
if cuda:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    say(torch.cuda.get_device_name(), torch.__version__)
daclip = copy.deepcopy(pipe.daclip).to(device).eval().requires_grad_(False)
sde = pipe.sde
alpha, sigma = sde.alpha.float().to(device), sde.sigma_bar.float().to(device)
T = sde.steps

@torch.no_grad()
def embed(v):
    """(n, views, 3, 64, 64) bytes -> (n, 2, d), as `photo_embeddings`; one view is a crop by itself."""
    n, k = v.shape[:2]
    parts = [daclip.encode_image(x.float() / 255, normalize=False) for x in v.flatten(0, 1).split(4096)]
    content = torch.cat([q.content for q in parts]).unflatten(0, (n, k))
    degradation = torch.cat([q.degradation for q in parts]).unflatten(0, (n, k))
    if k == 1:
        return torch.stack([F.normalize(content[:, 0], dim=-1), F.normalize(degradation[:, 0], dim=-1)], 1)
    content = F.normalize(F.normalize(content, dim=-1).mean(1), dim=-1)
    return torch.stack([content, daclip.controller.pooling(degradation)], 1)

with torch.no_grad():
    texts = [list(dict.fromkeys([l, l, l, *training_texts(l)])) for l in labels]
    table = torch.cat([daclip.encode_text(t) for t in texts])
    words = pipe.word_embeddings.to(device)
first = torch.tensor(np.cumsum([0] + [len(t) for t in texts])[:-1], device=device)
number = torch.tensor([len(t) for t in texts], device=device, dtype=torch.float)

cap = {192: 40, 256: 40, 320: 40, 64: 300} if a.small else {192: 8000, 256: 8000, 320: 10000, 64: 60000}
banks = {s: Bank(feed.rings[s], cap[s], device, 192) for s in SIDES} | {64: Bank(feed.crops, cap[64], device, 1536)}
def pump(least=96):
    return sum(b.pump(embed, min(least, b.chunk // 2)) for b in banks.values())

net = copy.deepcopy(pipe.restorer).to(device).train().requires_grad_(True)
params = list(net.parameters())
lr = torch.tensor(0.0, device=device) if cuda else 0.0
opt = torch.optim.AdamW(params, lr=lr, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0, fused=cuda, capturable=cuda)
average = [q.detach().clone() for q in params]
decay = 0.999

# (patch, bank side, patches): the lab's sizes, and larger ones.
KINDS = [(96, 256, 2), (128, 320, 1), (96, 192, 2), (64, 64, 3)] if a.small else [
    (96, 256, 64), (128, 320, 40), (64, 64, 96), (192, 320, 18), (96, 192, 64), (128, 256, 40)]
draw = torch.rand

def pick(bank, size, n):
    """Random patches and their conditioning, drawn on the device."""
    rows = (draw(n, device=device) * bank.count).long().clamp(max=bank.capacity - 1)
    side = bank.data["pixels"].shape[-1]
    y = (draw(n, device=device) * (side - size + 1)).long()
    x = (draw(n, device=device) * (side - size + 1)).long()
    ar = torch.arange(size, device=device)
    pix = bank.data["pixels"]
    if size < side:
        pix = pix[rows[:, None, None], :, :, (y[:, None] + ar)[:, :, None], (x[:, None] + ar)[:, None, :]]
        pix = pix.permute(0, 3, 4, 1, 2)  # n, 2, 3, s, s
    else:
        pix = pix[rows]
    pix = pix.float() / 255
    flip = (draw(n, device=device) < 0.5)[:, None, None, None, None]
    pix = torch.where(flip, pix.flip(-1), pix)
    clean, bad = pix[:, 0].contiguous(), pix[:, 1].contiguous()
    two = bank.data["labels"][rows]
    which = torch.where((two[:, 1] >= 0) & (draw(n, device=device) < .5), two[:, 1], two[:, 0])
    text = first[which] + (draw(n, device=device) * number[which]).long()
    plain = draw(n, device=device) < 0.5
    word = torch.where(plain[:, None], words[which], table[text])
    own = bank.embeddings[rows]
    content, degradation = own[:, 0], own[:, 1]
    r = draw(n, device=device)[:, None]
    zero = torch.zeros_like(content)
    is_word, word_alone = (r >= .20) & (r < .32), (r >= .32) & (r < .42)
    wrong = (r >= .42) & (r < .46)
    degradation = torch.where(is_word | word_alone, word, degradation)
    degradation = torch.where(wrong, own[:, 1].roll(1, 0), degradation)
    content = torch.where(wrong, own[:, 0].roll(1, 0), content)
    none, no_content, no_degradation = r < .10, (r >= .10) & (r < .15), (r >= .15) & (r < .20)
    content = torch.where(none | no_content | word_alone, zero, content)
    degradation = torch.where(none | no_degradation, zero, degradation)
    return clean, bad, content, degradation

def loss_of(clean, bad, content, degradation, t, noise):
    al, sg = alpha[t][:, None, None, None], sigma[t][:, None, None, None]
    state = bad + (clean - bad) * al + sg * noise
    with torch.autocast(device.type, torch.bfloat16, enabled=cuda, cache_enabled=False):
        guess = net(state, bad, t, net.prepare(content, degradation))
    return ((guess.float() - clean).square().mean((1, 2, 3)) + 1e-4).log().mean()

losses = {k: torch.zeros((), device=device) for k in range(len(KINDS))}
def step(k):
    size, side, n = KINDS[k]
    clean, bad, content, degradation = pick(banks[side], size, n)
    t = (draw(n, device=device) * T).long() + 1
    t = torch.where(draw(n, device=device) < 0.75, torch.full_like(t, T), t).clamp(1, T)
    noise = torch.randn(clean.shape, device=device)
    for q in params:
        if q.grad is not None: q.grad.zero_()
    value = loss_of(clean, bad, content, degradation, t, noise)
    value.backward()
    torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
    opt.step()
    with torch.no_grad():
        torch._foreach_lerp_(average, [q.detach() for q in params], 1 - decay)
        losses[k].copy_(losses[k] * .98 + .02 * value.detach())

def rate(done):
    """Learning rate by the share of the time that is done."""
    ramp = min(1.0, (steps_done + 1) / a.warm)
    return max(1e-6, ramp * a.rate * (1 + math.cos(math.pi * min(1, done))) / 2)

def set_rate(v):
    if cuda: lr.fill_(v)
    else:
        for g in opt.param_groups: g["lr"] = v

@torch.no_grad()
def gains(model, mode, batch=20):
    model.eval(); out = []
    gen = torch.Generator(device).manual_seed(0)
    for i in range(0, nval, batch):
        pix = torch.from_numpy(vpix[i:i + batch]).to(device).float() / 255
        clean, bad = pix[:, 0], pix[:, 1]
        e = vemb[i:i + batch]
        content, degradation = e[:, 0], e[:, 1]
        true = torch.tensor([labels.index(DEGRADATIONS[j % 10]) for j in range(i, min(i + batch, nval))], device=device)
        if mode == "none": content, degradation = torch.zeros_like(content), torch.zeros_like(degradation)
        if mode == "word": degradation = words[true]
        if mode == "word alone": content, degradation = torch.zeros_like(content), words[true]
        noise = torch.randn(bad.shape, device=device, generator=gen)
        t = torch.full((len(bad),), T, device=device)
        guess = model(bad + sigma[T] * noise, bad, t, model.prepare(content, degradation)).clamp(0, 1)
        mse = lambda x: (x - clean).square().mean((1, 2, 3)).clamp(min=1e-10)
        out.append(10 * (mse(bad) / mse(guess)).log10())
    model.train()
    return torch.cat(out).cpu().unflatten(0, (-1, 10))

def exam(model, name):
    own = gains(model, "own")
    say(name, "own %.3f" % own.mean(), "word %.3f" % gains(model, "word").mean(), "alone %.3f" % gains(model, "word alone").mean(), "none %.3f" % gains(model, "none").mean(),
        " ".join(f"{d[:6]} {g:.2f}" for d, g in zip(DEGRADATIONS, own.mean(0))))
    return float(own.mean())

def averaged():
    m = copy.deepcopy(net)
    with torch.no_grad():
        for q, v in zip(m.parameters(), average): q.copy_(v)
    return m.eval()

def save():
    m = averaged()
    if not all(bool(torch.isfinite(q).all()) for q in m.parameters()): say("NOT FINITE, not saved"); return
    from safetensors.torch import save_file
    tensors = {k: v.detach().half().cpu().contiguous() for k, v in m.state_dict().items()}
    save_file(tensors, a.out / "restorer.safetensors.tmp"); os.replace(a.out / "restorer.safetensors.tmp", a.out / "restorer.safetensors")

least = {64: 64} if a.small else {192: 400, 256: 400, 320: 400, 64: 2000}
while any(banks[s].filled < least.get(s, 8) for s in banks):
    if not pump(8): time.sleep(.05)
while vdone.sum() < a.workers: pump(); time.sleep(.05)
vemb = torch.cat([embed(torch.from_numpy(vview[i:i + 64]).to(device)) for i in range(0, nval, 64)])
say("filled", {s: b.filled for s, b in banks.items()})
exam(copy.deepcopy(net).eval(), "start")

steps_done = 0
graphs = [None] * len(KINDS)
def capture():
    """Every kind of step as a CUDA graph; weights and optimiser state are restored afterwards."""
    global graphs
    keep = [q.detach().clone() for q in params]
    side = torch.cuda.Stream(); side.wait_stream(torch.cuda.current_stream())
    set_rate(0.0)
    with torch.cuda.stream(side):
        for _ in range(3):
            for k in range(len(KINDS)): step(k)
    torch.cuda.current_stream().wait_stream(side); torch.cuda.synchronize()
    pool = None; made = []
    for k in range(len(KINDS)):
        g = torch.cuda.CUDAGraph()
        with torch.cuda.graph(g, pool=pool): step(k)
        pool = pool or g.pool(); made.append(g)
    torch.cuda.synchronize()
    reset(keep)
    graphs = made
def reset(keep):
    with torch.no_grad():
        for q, v in zip(params, keep): q.copy_(v)
        for q, v in zip(average, keep): q.copy_(v)
        for s in opt.state.values():
            for v in s.values():
                if torch.is_tensor(v): v.zero_()
def go(k):
    graphs[k].replay() if graphs[k] is not None else step(k)
def speed(name, rounds=5):
    if cuda: torch.cuda.synchronize()
    t = time.time()
    each = []
    for k in range(len(KINDS)):
        s = time.time()
        for _ in range(rounds): go(k)
        if cuda: torch.cuda.synchronize()
        each.append((time.time() - s) / rounds * 1e3)
    say("speed", name, " ".join(f"{KINDS[k][0]}px x{KINDS[k][2]} {m:.1f} ms" for k, m in enumerate(each)))
    return sum(each)

checked = False
start_weights = [q.detach().clone() for q in params]
if cuda and not a.eager:
    best = None
    for layout in ("channels_last", "contiguous") if a.layout == "auto" else (a.layout,):
        try:
            fmt = torch.channels_last if layout == "channels_last" else torch.contiguous_format
            for q in params: q.grad = None
            for q in params: q.data = q.data.contiguous(memory_format=fmt) if q.dim() == 4 else q.data
            opt.state.clear(); average[:] = [q.detach().clone() for q in params]
            set_rate(0.0); s = time.time(); [step(k) for k in range(len(KINDS))]; torch.cuda.synchronize(); first_time = time.time() - s
            eager = speed(layout + " eager", 3)
            capture()
            took = speed(layout + " graph", 5)
            if best is None or took < best[0]: best = (took, layout)
            elif best: # the first layout was better: capture it again
                fmt = torch.channels_last
                for q in params: q.grad = None
                for q in params: q.data = q.data.contiguous(memory_format=fmt) if q.dim() == 4 else q.data
                opt.state.clear(); average[:] = [q.detach().clone() for q in params]
                capture()
        except Exception as error:
            traceback.print_exc(); say("capture failed:", type(error).__name__, str(error)[:200]); graphs = [None] * len(KINDS)
    if all(g is None for g in graphs):
        say("no graphs: stop"); feed.stop[0] = 1; os._exit(3)
    say("best", best, f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GB")
    with torch.no_grad():
        for q, v in zip(params, start_weights): q.copy_(v)
    reset([q.detach().clone() for q in params])
    exam(copy.deepcopy(net).eval(), "after capture")
checked = False

began = time.time(); left = a.seconds - (began - T0) - (8 if not a.small else 2)
say(f"training for {left:.0f} s"); last_say = last_save = began; last = 0
order = [0, 1, 2, 3, 4, 5, 1, 3] if not a.small else [0, 1, 2, 3]
order = [k for k in order if k < len(KINDS)]
while True:
    now = time.time(); done = (now - began) / left
    if cuda and not checked and steps_done >= 800:
        checked = True
        if not exam(copy.deepcopy(net).eval(), "latest weights at 800") > 4:
            say("it does not learn: stop"); feed.stop[0] = 1; os._exit(4)
    if done >= 1: break
    set_rate(rate(done))
    for _ in range(8 if cuda else 1):
        go(order[steps_done % len(order)]); steps_done += 1
    if cuda and steps_done % 32 == 0: torch.cuda.synchronize()
    pump()
    if now - last_say > (15 if cuda else 5):
        say(f"{steps_done} steps, {(steps_done - last) / (now - last_say):.1f}/s, rate {float(lr if cuda else opt.param_groups[0]['lr']):.2e}", " ".join(f"{KINDS[k][0]}/{KINDS[k][1]} {float(v):.3f}" for k, v in losses.items()), "canvases", {s: b.taken for s, b in banks.items()})
        last_say, last = now, steps_done
    if now - last_save > 60:
        exam(averaged(), f"at {steps_done}"); save(); last_save = time.time()
feed.stop[0] = 1
exam(averaged(), f"end, {steps_done} steps"); save()
say("done")
os._exit(0)
