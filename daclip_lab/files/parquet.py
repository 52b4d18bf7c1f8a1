"""Columns on disk: Parquet files with what is known about them, written whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from daclip_lab.errors import InputError

FORMAT = 1


def check_folder(path: str | Path) -> None:
    """Refuse, before any work is done, a file whose folder does not exist, or that is a folder itself."""
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; name a file in it")


def write_parquet(path: str | Path, columns: Mapping[str, object], provenance: dict) -> None:
    """Write columns of equal length as Parquet: arrays (n, d) as fixed-size lists, `provenance` as JSON metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_folder(path)
    path = Path(path)
    arrays = {}
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
    told = json.dumps({"format": FORMAT, "provenance": provenance})
    table = pa.table(arrays).replace_schema_metadata({"daclip_lab": told})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        pq.write_table(table, temporary, compression="zstd")
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


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
        told = json.loads((table.schema.metadata or {}).get(b"daclip_lab", b"{}"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {error}".split("\n")[0]) from None
    if told.get("format") != FORMAT:
        raise InputError(f"{path} was not written by daclip_lab: wanted format {FORMAT}")
    columns = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_fixed_size_list(column.type):
            flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            columns[name] = flat.reshape(-1, column.type.list_size)
        else:
            columns[name] = column.to_pandas()
    return columns, told["provenance"]
