import sys, os, torch, numpy as np
torch.set_num_threads(2)
import daclip_lab as lab
from pathlib import Path
from torch.nn import functional as F
x, e5 = torch.load("trial/crops.pt"); D5 = F.normalize(e5[:, 1], dim=-1)
pipe = lab.load("final"); L = pipe.settings.labels; W = pipe.word_embeddings.clone()
V = torch.load("trial/val.pt"); kind = V["kind"]
# nearest word of each crop
near = (D5 @ W.T).argmax(1)
P = torch.stack([F.normalize(D5[near == k].mean(0), dim=0) if (near == k).any() else W[k] for k in range(11)])
print("cos of word and prototype", (P * W).sum(1).round(decimals=2).tolist(), "mean cos of crops to their word", (D5 * W[near]).sum(1).mean().item())
mu = float(sys.argv[1]) if len(sys.argv) > 1 else 50.0
lam = 1e-3 * len(D5) / 128
X = torch.cat([D5, W * mu ** 0.5]); Y = torch.cat([D5, P * mu ** 0.5])  # rows
# A = I + B, minimise |X (I + B) - Y|^2 + lam |B|^2
B = torch.linalg.solve(X.T @ X + lam * torch.eye(128), X.T @ (Y - X))
A = torch.eye(128) + B
print("error on crops", ((D5 @ A - D5).norm(dim=1)).mean().item(), "words: before", (W - P).norm(dim=1).mean().item(), "after", (W @ A - P).norm(dim=1).mean().item())
torch.save(A, "words.pt")
net = pipe.restorer
def gains(net, deg, content):
    g = torch.Generator().manual_seed(3); out = {}
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for i in range(0, len(kind), 6):
            c, d = (V["pixels"][i:i + 6, k].float() / 255 for k in (0, 1)); n = len(c); t = torch.full((n,), 100)
            s = d + 50 / 255 * torch.randn(d.shape, generator=g)
            r = net(s, d, t, net.prepare(content[i:i + 6], deg[i:i + 6])).float().clamp(0, 1); ps = lambda a, b: -10 * ((a - b).square().mean((1, 2, 3)) + 1e-10).log10()
            for k, v in zip(kind[i:i + 6].tolist(), (ps(r, c) - ps(d, c)).tolist()): out.setdefault(k, []).append(v)
    m = {k: sum(v) / len(v) for k, v in out.items()}
    return f"ten {sum(m[k] for k in range(10)) / 10:+.2f} two {m[11]:+.2f} " + " ".join(f"{L[k][:6]} {m[k]:+.2f}" for k in range(10)) + f" clean {m[10]:+.1f}"
sel = kind < 11
own, cont = V["emb"][:, 1], V["emb"][:, 0]
wd = W[kind.clamp(max=10)]; pr = P[kind.clamp(max=10)]
print("own   ", gains(net, own, cont), flush=True)
print("word  ", gains(net, wd, cont), flush=True)
print("proto ", gains(net, pr, cont), flush=True)
lin = net.degradation[0]
with torch.no_grad(): lin.weight.copy_(lin.weight @ A.T)
print("own'  ", gains(net, own, cont), flush=True)
print("word' ", gains(net, wd, cont), flush=True)
