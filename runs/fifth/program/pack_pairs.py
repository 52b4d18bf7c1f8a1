import io, shutil
from pathlib import Path
import numpy as np
from PIL import Image
P=Path('../shared/pairs'); out=Path('photos/pairs'); shutil.rmtree(out,ignore_errors=True)
rng=np.random.default_rng(15)
for d in ('hazy','motion-blurry','noisy'):
    tot=[0,0]
    for s in ('LQ','GT'): (out/d/s).mkdir(parents=True)
    for f in sorted((P/d/'LQ').iterdir()):
        a=Image.open(f).convert('RGB'); b=Image.open(P/d/'GT'/f.name).convert('RGB')
        if d=='hazy':
            size=(414,308); a=a.resize(size,Image.LANCZOS); b=b.resize(size,Image.LANCZOS); kw=dict(quality=92,method=6)
        else:
            n=320 if d=='motion-blurry' else 240
            A,B=(np.asarray(x,np.float64)/255 for x in (a,b))
            if d=='motion-blurry':
                e=np.pad(((A-B)**2).sum(2).cumsum(0).cumsum(1),((1,0),(1,0)))
                s=e[n:,n:]-e[:-n,n:]-e[n:,:-n]+e[:-n,:-n]
                t,l=np.unravel_index(int(s.argmax()),s.shape); kw=dict(quality=96,method=6)
            else:
                t,l=int(rng.integers(0,A.shape[0]-n)),int(rng.integers(0,A.shape[1]-n)); kw=dict(lossless=True,quality=80,method=6)
            t,l=int(t),int(l); a,b=(x.crop((l,t,l+n,t+n)) for x in (a,b))
        for i,(s,x) in enumerate((('LQ',a),('GT',b))):
            x.save(out/d/s/f.name,**kw); tot[i]+=(out/d/s/f.name).stat().st_size
    print(d,tot)
