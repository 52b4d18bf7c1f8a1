import torch, daclip_lab as lab
torch.set_num_threads(1); x,e5=torch.load("trial/crops.pt"); p4=lab.load("lab"); print(lab.__file__)
with torch.inference_mode():
    e4 = [p4.daclip.encode_image(b) for b in x.split(128)]
    c4, d4 = torch.cat([e.content for e in e4]).clone(), torch.cat([e.degradation for e in e4]).clone()
M = {}
for name, old, new in (("content", c4, e5[:, 0]), ("degradation", d4, e5[:, 1])):
    A = new.T @ new + 1e-3 * len(new) / 128 * torch.eye(128); B = torch.linalg.solve(A, new.T @ old)  # new @ B = old
    M[name] = B; print(name, "R2", 1 - ((new @ B - old).square().mean() / (old - old.mean(0)).square().mean()).item())
torch.save(M, "trial/map.pt")
