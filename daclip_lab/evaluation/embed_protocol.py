"""The images of an evaluation protocol as a table of embeddings, which holds no pixels."""

from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from daclip_lab.data.captions.attributes import caption
from daclip_lab.data.embedding_table import EmbeddingTable, gather
from daclip_lab.data.photos import Photos
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
    """Embed each crop of a protocol with each degradation, and once left clean.

    `partner` names the crop that a row was made of, `clean` holds CLIP's embedding of it, and `caption` describes it.
    `out` and `half` are those of `Pipeline.embed`; an interrupted run is resumed.
    """
    protocol = (protocol or Protocol()).resolve(pipe.settings)
    labels = protocol.labels

    def embed_photos(which: range) -> EmbeddingTable:
        return EmbeddingTable.join([embed_photo(index) for index in which])

    def embed_photo(index: int) -> EmbeddingTable:
        clean, degraded, facts = degraded_crops(photos, index, protocol)
        rows = pd.DataFrame(facts)
        rows["partner"] = rows.photo + " " + rows.crop.astype(str)
        rows["image"] = rows.partner + " " + rows.degradation
        # A crop has a row for each label in turn: it is described and embedded once.
        crops = clean[:: len(labels)]
        rows["caption"] = rows.crop.map([caption(crop) for crop in crops].__getitem__)
        table = pipe.embed_batch(list(degraded), rows)
        return replace(table, clean=pipe.encode_clip(crops).numpy()[rows.crop])

    provenance = pipe.provenance | {"protocol": asdict(protocol), "hash": protocol.hash}
    options: dict = {"out": out, "half": half, "at_a_time": 1, "unit": "photo"}
    return gather(photos.paths, embed_photos, provenance=provenance, **options)
