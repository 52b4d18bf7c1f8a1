"""Columns of an embedding table as arrays, checked."""

import numpy as np

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.errors import InputError


def photos_of(table: EmbeddingTable) -> np.ndarray:
    """The photo (n,) that each row comes from."""
    return table.rows.photo.to_numpy()


def labels_of(table: EmbeddingTable, target: str = "degradation") -> np.ndarray:
    """One label per row (n,) from a column of the table, None where it is unknown.

    Raises InputError where there is no such column, or fewer than two labels among the rows.
    """
    if target not in table.rows:
        raise InputError(f"the table has no column {target!r}: it has {', '.join(table.rows)}")
    column = table.rows[target]
    labels = np.where(column.notna(), column.astype(str), None)
    known = sorted(set(labels) - {None})
    if len(known) < 2:
        found = f"every row is {known[0]!r}" if known else "no row has a label"
        raise InputError(f"{found} in the column {target!r}: wanted at least 2 classes")
    return labels


def with_partners(table: EmbeddingTable) -> np.ndarray:
    """CLIP's embeddings (n, d) of the clean partners; an InputError where the table has none."""
    if table.clean is None:
        raise InputError(
            "this measure compares with clean partners, and the table has none: embed pairs, or give `clean`"
        )
    return table.clean
