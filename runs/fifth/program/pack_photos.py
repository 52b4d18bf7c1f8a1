import json, io, sys, random, shutil
from pathlib import Path
import numpy as np
from PIL import Image
S=Path('../shared'); out=Path('photos')
J=json.load(open('work/survey2.json'))
drop={r['path'] for r in J if '/more/' in r['path'] and (r['sharp']<0.141 or r['sat']<0.02 or 'raindrops' in r['path'] or r['short']<200)}
LIM,SIDE,Q=int(sys.argv[1]),int(sys.argv[2]),int(sys.argv[3]); write=len(sys.argv)>4
tot={'bsds':[], 'more':[]}; sz=0; L=J if write else J[::8]
if write:
    for d in ('bsds500','more'): shutil.rmtree(out/d,ignore_errors=True); (out/d).mkdir(parents=True)
for r in L:
    if r['path'] in drop: continue
    p=Path(r['path']); part='more' if '/more/' in r['path'] else 'bsds500'
    im=Image.open(p).convert('RGB'); s=min(im.size)
    if s>LIM:
        f=SIDE/s; im=im.resize((round(im.width*f),round(im.height*f)),Image.LANCZOS)
    b=io.BytesIO(); im.save(b,'WEBP',quality=Q-1 if 'imagenet' in r['path'] else Q,method=6 if write else 4); sz+=b.tell()
    rel=f'{part}/{p.stem}.webp'; tot['bsds' if part!='more' else 'more'].append((rel,b.tell(),p))
    if write: (out/rel).write_bytes(b.getvalue())
print(LIM,SIDE,Q,{k:(len(v),sum(x[1] for x in v)/1e6) for k,v in tot.items()}, sz/1e6*(len(J)/len(L)), len(drop))
if write:
    rng=random.Random(20260); val=[]
    for k,v in tot.items():
        names=sorted(x[0] for x in v); val+=sorted(rng.sample(names,round(len(names)/10)))
    allv=sorted(x[0] for v in tot.values() for x in v)
    train=[a for a in allv if a not in set(val)]
    json.dump({'train':train,'val':sorted(val)},open('photos.json.tmp','w') if 0 else open(out/'photos.json','w'),indent=0)
    print(len(train),len(val),sum(a.startswith('bsds') for a in val))
