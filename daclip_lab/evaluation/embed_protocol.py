"""The evaluation protocol as a table of embeddings: no pixels, so that it can be handed on with weights."""

from dataclasses import asdict, replace
from pathlib import Path

from daclip_lab.data.captions.attributes import caption
from daclip_lab.data.embedding_table import EmbeddingTable, gather
from daclip_lab.data.photos import Photos
from daclip_lab.degradations.registry import LABELS
from daclip_lab.evaluation.protocol import Protocol, degraded_crops
from daclip_lab.pipeline.pipeline import Pipeline


def embed_protocol(
    pipe: Pipeline,
    photos: Photos,
    protocol: Protocol | None = None,
    *,
    out: str | Path | None = None,
    half: bool = False,
) -> EmbeddingTable:
    """Embed all that the protocol makes of photos: each crop degraded in ten ways, and once left clean.

    `partner` names the crop that a row was made of, `clean` holds CLIP's embedding of it, and `caption` what it shows.
    `out` and `half` are those of `Pipeline.embed`; an interrupted run goes on where it was.
    """
    import pandas as pd

    protocol = (protocol or Protocol()).settled(pipe.settings)

    def make(which: range) -> EmbeddingTable:
        return EmbeddingTable.join([one(index) for index in which])

    def one(index: int) -> EmbeddingTable:
        clean, degraded, facts = degraded_crops(photos, index, protocol)
        rows = pd.DataFrame(facts)
        rows["partner"] = [f"{row.photo} {k // len(LABELS)}" for k, row in rows.iterrows()]
        rows["image"] = rows.partner + " " + rows.degradation
        # The same crop stands behind all labels in turn: it is described and embedded once.
        crops = clean[:: len(LABELS)]
        of = [k // len(LABELS) for k in range(len(rows))]
        said = [caption(crop) for crop in crops]
        rows["caption"] = [said[k] for k in of]
        part = pipe.embed_batch(list(degraded), rows)
        behind = pipe.encode_clip(list(crops)).numpy()[of]
        return replace(part, clean=behind)

    provenance = pipe.provenance | {
        "protocol": asdict(protocol),
        "hash": protocol.hash,
    }
    return gather(
        photos.names, make, provenance=provenance, out=out, half=half, at_a_time=1, unit="photo"
    )
