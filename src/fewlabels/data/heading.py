"""What a table that is to be replaced holds."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fewlabels.data.labels_file import delimiter_of
from fewlabels.storage.errors import InputError

# What tables are written as.
TABLE_SUFFIXES = (".csv", ".parquet", ".pq")


def heading_of(path: Path) -> list[str] | None:
    r"""Return the columns of a table; None where there is no file, or nothing in it.

    Parameters
    ----------
    path : Path
        CSV where it ends so, else Parquet; of a file of another kind the columns are none that anyone asks for.

    Raises
    ------
    InputError
        If it is a folder: what is to be written would be lost after all the work.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Path(folder) / "a.csv"
    ...     before, written = heading_of(table), table.write_text("file;class\na.png;cat\n")
    ...     before, heading_of(table)
    (None, ['file', 'class'])
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    if not path.is_file() or not path.stat().st_size:
        return None
    if path.suffix.lower() == ".csv":
        with path.open("rb") as file:
            line = next((line for line in file if line.strip()), b"")
        text = line.decode("utf-8-sig", "surrogateescape")
        try:
            return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(line)), [])
        except csv.Error:  # a line of more than csv takes: no heading of a table
            return []
    try:
        return list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException):
        return []
