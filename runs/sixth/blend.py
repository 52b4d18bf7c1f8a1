import json, sys, copy, torch
from pathlib import Path
from safetensors.torch import load_file
import daclip_lab as lab
from daclip_lab.data.photos import Photos
from daclip_lab.data.seeding import seeded, uniform
from daclip_lab.degradations.apply import camera, degrade
from daclip_lab.degradations.registry import DEGRADATIONS
torch.set_num_threads(1)
home = Path("photos"); names = json.load(open(home / "photos.json"))["val"]
index = {q.stem: q for q in home.rglob("*.webp")}
paths = [home / n if (home / n).is_file() else index[Path(n).stem] for n in names][::4][:14]
photos = Photos(paths)
pipe = lab.load("lab")
old = {k: v.clone() for k, v in pipe.restorer.state_dict().items()}
new = load_file("runs/sixth/restorer.safetensors")
clean, bad, rows = [], [], []
S = 256
for k in range(len(photos)):
    for d, name in enumerate(DEGRADATIONS):
        g = seeded(99, k * 10 + d); p = photos[k]; h, w = p.shape[-2:]
        if min(h, w) < S: continue
        y, x = int(uniform(g, 0, h - S)), int(uniform(g, 0, w - S)); c = p[:, y:y + S, x:x + S]
        clean.append(c); bad.append(camera(degrade(c, name, uniform(g, .3, 1.), g), g)); rows.append(d)
clean, bad = torch.stack(clean), torch.stack(bad); rows = torch.tensor(rows)
own = pipe.encode(list(bad)); labels = list(pipe.settings.labels)
words = pipe.word_embeddings[[labels.index(DEGRADATIONS[d]) for d in rows]]
net = pipe.restorer.eval(); sde = pipe.sde
psnr = lambda x, y: -10 * (x.clamp(0, 1) - y).square().mean((1, 2, 3)).clamp(min=1e-10).log10()
base = psnr(bad, clean)
def run(content, degradation):
    out = []
    g = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for i in range(0, len(bad), 10):
            b = bad[i:i + 10]; t = torch.full((len(b),), 100)
            c = net.prepare(content[i:i + 10], degradation[i:i + 10])
            out.append(net(sde.prior(b, torch.randn(b.shape, generator=g)), b, t, c))
    return psnr(torch.cat(out), clean) - base
for a in map(float, sys.argv[1:]):
    net.load_state_dict({k: (1 - a) * old[k] + a * new[k].float() for k in old})
    o = run(own.content, own.degradation); w = run(torch.zeros_like(words), words)
    print(a, f"own {o.mean():.3f} word {w.mean():.3f}", " ".join(f"{DEGRADATIONS[d][:5]} {o[rows == d].mean():.2f}" for d in range(10)), flush=True)
    # clean photos, also dark ones
