"""Fine-tune a restorer on the pool. args: START(four|five|path) OUT MINUTES LR THREADS [--caution c] [--pT 0.7]"""
import argparse, sys, time, math, copy, os, json
sys.path.insert(0, "."); sys.path.insert(0, "trial")
import numpy as np, torch
from torch.nn import functional as F
from pathlib import Path
from maker import open_ring, SLOTS
from daclip_lab import presets, pipeline
from daclip_lab.checkpoints import read_tensors, write_tensors
from daclip_lab.data.datasets import LABELS
from daclip_lab.data.degradations import NAMES
from daclip_lab.diffusion.sde import MeanRevertingSDE
A = argparse.ArgumentParser()
A.add_argument("start"); A.add_argument("out"); A.add_argument("--minutes", type=float); A.add_argument("--lr", type=float, default=5e-4)
A.add_argument("--threads", type=int, default=1); A.add_argument("--caution", type=float, default=0.0); A.add_argument("--pT", type=float, default=0.7)
A.add_argument("--every", type=float, default=4.0); A.add_argument("--resume", action="store_true"); A.add_argument("--final", type=float, default=0.0)
a = A.parse_args(); torch.set_num_threads(a.threads)
N5 = {"kind": "nafnet", "width": 32, "encoder": (2, 3, 4), "middle": 3, "decoder": (3, 3, 2), "steering": 128, "window": None}
N4 = {"kind": "nafnet", "width": 32, "encoder": (2, 2, 4), "middle": 2, "decoder": (2, 2, 2), "steering": 128, "window": None}
out = Path(a.out); out.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
R5 = Path("./RUN")
if a.start == "four":
    cfg = N4; net = presets.build_restorer(cfg, 128, 0)
    net.load_state_dict({k: v.float() for k, v in read_tensors(Path("./daclip_lab/weights/lab/restorer.safetensors")).items()})
    # Map the fifth controller's embeddings to the fourth's, by ridge regression on pool crops.
    M = torch.load("trial/map.pt")
    with torch.no_grad():
        net.content[0].weight.copy_(net.content[0].weight @ M["content"].T); net.degradation[0].weight.copy_(net.degradation[0].weight @ M["degradation"].T)
elif a.start == "five":
    cfg = N5; net = presets.build_restorer(cfg, 128, 0)
    net.load_state_dict({k: v.float() for k, v in read_tensors(R5 / "restorer.safetensors").items()})
else:
    st = torch.load(Path(a.start) / "state.pt"); cfg = st["cfg"]; net = presets.build_restorer(cfg, 128, 0); net.load_state_dict(st["ema"])
net = net.to(memory_format=torch.channels_last).train(); ema = copy.deepcopy(net).eval().requires_grad_(False)
sde = MeanRevertingSDE(steps=100, sigma_max=50/255, schedule="cosine", eps=0.005)
alpha, sigma, T = sde.alpha.float(), sde.sigma_bar.float(), sde.steps
params = list(net.parameters())
opt = torch.optim.AdamW([{"params": [p for p in params if p.dim() > 1], "weight_decay": 1e-4}, {"params": [p for p in params if p.dim() <= 1], "weight_decay": 0}], lr=a.lr, betas=(0.9, 0.99), fused=True)
rings = {s: open_ring(s, "r") for s in SLOTS}
tens = {s: {k: torch.from_numpy(v) for k, v in r.items()} for s, r in rings.items()}
V = torch.load("trial/val.pt")
used = 0.0; step = 0
if a.resume and (out / "state.pt").exists():
    st = torch.load(out / "state.pt"); net.load_state_dict(st["net"]); ema.load_state_dict(st["ema"]); opt.load_state_dict(st["opt"]); used, step = st["used"], st["step"]
def save():
    torch.save({"cfg": cfg, "net": net.state_dict(), "ema": ema.state_dict(), "opt": opt.state_dict(), "used": used + time.time() - t0, "step": step}, out / "state.tmp"); os.replace(out / "state.tmp", out / "state.pt")
    write_tensors(out / "restorer.safetensors", {k: v.half() for k, v in ema.state_dict().items()})
def log(s):
    line = f"[{(used + time.time() - t0) / 60:5.1f} min] {s}"; print(line, flush=True); open(out / "log.txt", "a").write(line + "\n")
PLAN = [96, 128, 96, 64, 96, 128, 192]; N = {64: 14, 96: 8, 128: 5, 192: 2}
def batch():
    size = PLAN[step % 7]; n = N[size]
    if size == 64:
        R = tens[64]; rows = torch.randint(0, min(int(R["count"][0]), SLOTS[64]), (n,)); px = R["pixels"][rows]
    else:
        s = (192, 256, 320)[step // 7 % 3]
        R = tens[s]; rows = torch.randint(0, min(int(R["count"][0]), SLOTS[s]), (n,))
        px = torch.stack([R["pixels"][i, :, :, y:y + size, x:x + size] for i, y, x in zip(rows.tolist(), torch.randint(0, s - size + 1, (n,)).tolist(), torch.randint(0, s - size + 1, (n,)).tolist())])
    e = R["emb"][rows]
    px = torch.stack([p.flip(-1) if f else p for p, f in zip(px, torch.rand(n) < 0.5)])
    keep = (torch.rand(n, 1) >= 0.1).float(); wrong = torch.rand(n) < 0.05; other = torch.randperm(n)
    c, d = e[:, 0].clone(), e[:, 1].clone(); c0, d0 = c.clone(), d.clone()
    c[wrong], d[wrong] = c0[other][wrong], d0[other][wrong]
    px = px.float() / 255
    return px[:, 0], px[:, 1], c * keep, d * keep
@torch.no_grad()
def examine():
    g = torch.Generator().manual_seed(3); gains = {}; outp = []
    for i in range(0, len(V["kind"]), 6):
        c, d = (V["pixels"][i:i + 6, k].float() / 255 for k in (0, 1)); n = len(c)
        e = V["emb"][i:i + 6]; t = torch.full((n,), T); state = d + sde.sigma_max * torch.randn(d.shape, generator=g)
        with torch.autocast("cpu", torch.bfloat16):
            r = ema(state, d, t, ema.prepare(e[:, 0], e[:, 1])).float().clamp(0, 1)
        ps = lambda x, y: -10 * ((x - y).square().mean((1, 2, 3)) + 1e-10).log10()
        for k, v, o in zip(V["kind"][i:i + 6].tolist(), (ps(r, c) - ps(d, c)).tolist(), ps(r, d).tolist()):
            gains.setdefault(k, []).append(v)
            if k == 10: outp.append(o)
    m = {k: sum(v) / len(v) for k, v in gains.items()}
    return f"gain {sum(m[k] for k in range(10)) / 10:+.2f}, two {m[11]:+.2f}, clean {np.mean(outp):.1f} dB (lowest {min(outp):.1f}) | " + " ".join(f"{nm[:6]} {m[i]:+.2f}" for i, nm in enumerate(NAMES))
t0 = time.time(); seen = time.time(); tot = []; log("start: " + examine()); t0 = time.time()
while True:
    el = used + time.time() - t0; done = el / (60 * a.minutes)
    if done >= 1: break
    lr = a.lr * min(1, (step + 1) / 100) * (a.final + (1 - a.final) * (1 + math.cos(math.pi * done)) / 2)
    for gr in opt.param_groups: gr["lr"] = lr
    clean, deg, c, d = batch(); n = len(clean)
    t = torch.where(torch.rand(n) < a.pT, T, torch.randint(1, T + 1, (n,)))
    al, si = (v[t].view(-1, 1, 1, 1) for v in (alpha, sigma)); state = deg + (clean - deg) * al + si * torch.randn_like(clean)
    with torch.autocast("cpu", torch.bfloat16):
        p = net(state.contiguous(memory_format=torch.channels_last), deg.contiguous(memory_format=torch.channels_last), t, net.prepare(c, d)).float()
    er = ((p - clean).square().mean((1, 2, 3)) + 1e-4).log(); loss = er
    if a.caution: loss = er + a.caution * (er - ((deg - clean).square().mean((1, 2, 3)) + 1e-4).log()).relu()
    loss.mean().backward(); torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=True); opt.step(); opt.zero_grad(); step += 1
    dc = min(0.999, (1 + step) / (10 + step))
    with torch.no_grad(): torch._foreach_lerp_(list(ema.parameters()), [p.detach() for p in params], 1 - dc)
    tot.append(er.mean().item())
    if time.time() - seen > 60 * a.every:
        log(f"step {step} loss {np.mean(tot[-400:]):.3f} lr {lr:.1e} " + examine()); save(); seen = time.time()
save(); log(f"end step {step} loss {np.mean(tot[-400:]):.3f} " + examine())
