"""Fine-tune the fifth controller on new pool items (soft and dark clean scenes among them). args: OUT MINUTES LR"""
import os, sys, time, math, copy
sys.path.insert(0, "."); sys.path.insert(0, "."); sys.path.insert(0, "trial"); os.chdir(".")
import numpy as np, torch; from torch.nn import functional as F; from pathlib import Path
torch.set_num_threads(int(os.environ.get("TH", "1")))
from maker import open_ring, SLOTS
from train_all import shrunk, covering, cut, Words, Tokens, VISIBLE, embed_views, half
from daclip_lab import pipeline, folders; from daclip_lab.checkpoints import write_tensors
from daclip_lab.data.datasets import LABELS
import train_all
src = "".join(open("train_all.py")); i = src.index("def targets"); 
from train_all import targets
out, minutes, lr = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]); out.mkdir(exist_ok=True, parents=True)
cpu = torch.device("cpu"); pipe = pipeline.load("RUN"); D = pipe.daclip; clip = D.clip
if len(sys.argv) > 4:
    from daclip_lab.checkpoints import read_tensors
    folders._Controller(D).load_state_dict({k: v.float() for k, v in read_tensors(Path(sys.argv[4])).items()})
words = Words(Tokens(pipe.settings.clip), cpu); words.encode(clip)
D.train(); D.controller.requires_grad_(True); D.logit_scale.requires_grad_(False)
params = list(D.controller.parameters()); ema = copy.deepcopy(D.controller).requires_grad_(False)
opt = torch.optim.AdamW([{"params": [p for p in params if p.dim() > 1], "weight_decay": 0.05}, {"params": [p for p in params if p.dim() <= 1], "weight_decay": 0}], lr=lr, betas=(.9, .98), fused=True)
T = {s: {k: torch.from_numpy(v) for k, v in open_ring(s, "r").items()} for s in SLOTS}
def fresh(s): return torch.nonzero(T[s]["new"])[:, 0]
V = torch.load("trial/val.pt")
def log(m):
    line = f"[{(time.time() - t0) / 60:5.1f} min] {m}"; print(line, flush=True); open(out / "log.txt", "a").write(line + "\n")
def save():
    t = {f"controller.{k}": v for k, v in ema.state_dict().items()} | {"logit_scale": D.logit_scale.detach()}
    write_tensors(out / "controller.safetensors", half(t))
H = torch.load("trial/hard.pt"); sel = [0] + list(range(1, 26, 3)); H["views"] = H["views"][:, sel]; H["soft"] = H["soft"][:, sel]
@torch.no_grad()
def examine():
    W = words.means; keep = D.controller; D.controller = ema; out = []
    for i in range(0, len(H["views"]), 8):
        out.append(embed_views(D, H["views"][i:i + 8].float() / 255, cpu)[1] @ W.T)
    L = torch.cat(out); y = H["kind"]; ten = y < 10
    cr = torch.cat([F.normalize(D.encode_image(x.float() / 255, normalize=False).degradation, dim=-1) @ W.T for x in H["crops"].split(64)]) if True else None
    yc = H["crop_kind"]; t2 = yc < 10
    D.controller = keep
    def ten_way(L, y): return (L[:, :10].argmax(1) == y)[y < 10].float().mean().item()
    def clean_at(L, y, miss=0.03):
        m = L[:, 10] - L[:, :10].amax(1); th = m[y < 10].quantile(1 - miss); return (m[y == 10] > th).float().mean().item()
    hard = H["hard"]
    LH = torch.cat([embed_views(D, H["soft"][i:i + 8].float() / 255, cpu)[1] @ W.T for i in range(0, len(H["soft"]), 8)]) if len(H["soft"]) else None
    return f"whole {ten_way(L, y):.3f} clean@3% {clean_at(L, y):.3f} | crops {ten_way(cr, yc):.3f} clean@3% {clean_at(cr, yc):.3f} | polyu {[LABELS[i][:6] for i in LH.argmax(1).tolist()]}"
t0 = time.time(); log("start " + examine()); save(); t0 = time.time(); step = 0; last = time.time(); acc = []
while True:
    done = (time.time() - t0) / (60 * minutes)
    if done >= 1: break
    for g in opt.param_groups: g["lr"] = lr * min(1, (step + 1) / 30) * (1 + math.cos(math.pi * done)) / 2
    m, k = 40, (4, 8)[step % 2]; b = 60 // (k + 1); s = (192, 256, 320)[step % 3]
    R = T[64]; fr = fresh(64); r64 = fr[torch.randint(len(fr), (m,))]
    fr = fresh(s); rows = fr[torch.randint(len(fr), (b,))]; many = torch.arange(b).repeat_interleave(k)
    y, x = torch.randint(s - 63, (b * k,)), torch.randint(s - 63, (b * k,))
    P = T[s]["pixels"][rows]; maps = T[s]["maps"][rows]; labels = T[s]["labels"][rows]
    native = cut(P, many, y, x, 64).view(b, k, 2, 3, 64, 64)
    whole = (shrunk(P.flatten(0, 1)) * 255).round().to(torch.uint8).view(b, 2, 3, 64, 64)
    seen = covering(maps, many, y, x).view(b, k, 2) > VISIBLE
    shown = ((whole[:, 0].float() - whole[:, 1].float()) / 255).square().mean((1, 2, 3)) > 10**-4.2
    seen = torch.cat([shown[:, None, None].expand(b, 1, 2), seen], 1)
    images = torch.cat([R["pixels"][r64], torch.cat([whole[:, None], native], 1).flatten(0, 1)]).float() / 255
    flip = torch.rand(len(images)) < 0.5; images[flip] = images[flip].flip(-1)
    target = torch.cat([targets(R["labels"][r64]), targets(labels[:, None].expand(b, k + 1, 2), seen).flatten(0, 1)])
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad(): clean = clip.encode_image(images[:, 0])
        found = D.encode_image(images[:, 1], normalize=False)
    content, degradation = (F.normalize(f.float(), dim=-1) for f in found)
    pooled = D.controller.pooling(found.degradation[m:].float().view(b, k + 1, -1))
    sets = words.embeddings[words.draw(8)].transpose(0, 1); sets = torch.cat([sets[:4], words.means.expand(4, -1, -1)])
    group = torch.arange(len(images)) % 8
    logits = D.scale * torch.einsum("nd,gld->ngl", degradation, sets)
    per = -(target * logits[torch.arange(len(group)), group].log_softmax(1)).sum(1)
    bags = -(targets(labels) * (D.scale * pooled @ words.means.T).log_softmax(1)).sum(1).mean()
    apart = 1 - (content * clean).sum(1).mean()
    loss = per[:m].mean() + 0.5 * per[m:].mean() + bags + 10 * apart
    loss.backward(); torch.nn.utils.clip_grad_norm_(params, 1.0); opt.step(); opt.zero_grad(); step += 1
    acc.append([per[:m].mean().item(), per[m:].mean().item(), bags.item(), apart.item()])
    with torch.no_grad(): torch._foreach_lerp_(list(ema.parameters()), [p.detach() for p in params], 1 - min(0.995, (1 + step) / (10 + step)))
    if time.time() - last > 480:
        log(f"step {step} parts {np.round(np.mean(acc[-100:], 0), 3)} " + examine()); save(); last = time.time()
save(); log(f"end step {step} " + examine())
