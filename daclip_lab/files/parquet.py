"""Columns on disk: Parquet files with what is known about them."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from daclip_lab.errors import InputError, extra
from daclip_lab.files.storage import atomic_write, check_output

FORMAT = 1


@extra("analysis")
def check_parquet(path: str | Path) -> Path:
    """Refuse, before any work is done, a path that no Parquet file can be written to; see `check_output`."""
    import pyarrow.parquet  # noqa: F401

    return check_output(path)


@extra("analysis")
def write_parquet(path: str | Path, columns: Mapping[str, object], provenance: dict) -> None:
    """Write columns of equal length as Parquet: arrays (n, d) as fixed-size lists, `provenance` as JSON metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, arrays = check_output(path), {}
    for name, values in columns.items():
        values = np.asarray(values)
        if values.ndim == 2:
            arrays[name] = pa.FixedSizeListArray.from_arrays(
                pa.array(values.ravel()), values.shape[1]
            )
        else:
            # Objects are texts here; a column of None alone would otherwise lose its type.
            text = pa.string() if values.dtype == object else None
            arrays[name] = pa.array(values, type=text, from_pandas=True)
    metadata = json.dumps({"format": FORMAT, "provenance": provenance})
    table = pa.table(arrays).replace_schema_metadata({"daclip_lab": metadata})
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


@extra("analysis")
def read_parquet(path: str | Path) -> tuple[dict, dict]:
    """What `write_parquet` wrote: the columns, lists as float arrays (n, d), and `provenance`.

    Raises InputError, naming the file, where it is absent, broken, or not written by daclip_lab.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        table = pq.ParquetFile(path).read()
        metadata = json.loads((table.schema.metadata or {}).get(b"daclip_lab", b"{}"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {error}".split("\n")[0]) from None
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path} was not written by daclip_lab: wanted format {FORMAT}")
    columns = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_fixed_size_list(column.type):
            flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            columns[name] = flat.reshape(-1, column.type.list_size)
        else:
            columns[name] = column.to_pandas()
    return columns, metadata["provenance"]
