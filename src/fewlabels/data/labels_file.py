"""Labels that a person has given to images of a source: a CSV file that is only ever added to."""

from __future__ import annotations

import codecs
import csv
import errno
import io
import os
import re
import sys
import threading
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fewlabels.data.parts import class_name, is_no_label
from fewlabels.storage.atomic import located, sync
from fewlabels.storage.csv_quoting import quoting_for
from fewlabels.storage.errors import InputError
from fewlabels.storage.wording import first_line

COLUMNS = ("file", "class")
# What pandas makes of a whole number beside a gap, and what a person or `serve` adds to such a file.
_WHOLE, _NUMBER = re.compile(r"-?[0-9]+\.0"), re.compile(r"-?[0-9]+(\.0)?")
# What a Parquet file begins with.
_PARQUET = b"PAR1"
# A table of ten million images is about as large; what is larger is no such file.
_LARGEST = 1 << 30
# No path of any system, and no class, has as many bytes.
_LONGEST = 8 << 10
# Rows of a Parquet table at a time.
_BATCH = 16_384
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
# What spreadsheets put between columns, by the country.
_DELIMITERS = (",", ";", "\t")
_SIGNS = {mark: re.compile(rb'[\n"%b]' % mark.encode()) for mark in _DELIMITERS}


@dataclass(frozen=True)
class GivenLabels:
    """What a labels file says.

    Attributes
    ----------
    path : Path or None
        The file, where the labels are from one.
    classes : dict of str to str
        The class of each image that has one, by the image's name. Of several lines the last counts; one with an empty
        class takes the label back, and the image is not here.
    notes : tuple of str
        What was left out.
    lines : dict of str to str, optional
        The last line of each image in the file's order, those with an empty class included. None for a table with more
        columns: an empty class there is not filled in yet, and takes back no label of another line.
    class_names : tuple of str
        The classes that images have, in the order in which the file first names them: further lines do not change it.
    """

    path: Path | None
    classes: dict[str, str]
    notes: tuple[str, ...] = ()
    lines: dict[str, str] | None = None
    class_names: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """What to call them in a message."""
        return "labels" if self.path is None else str(self.path)

    @property
    def with_taken_back(self) -> dict[str, str]:
        """The class of each image, and an empty one where a line takes its label back."""
        return self.classes if self.lines is None else self.lines


def read_labels(path: str | Path) -> GivenLabels:
    r"""Read a CSV or Parquet file with the columns `file` and `class`; others are not looked at.

    Columns may stand apart by commas, semicolons or tabs, as spreadsheets of different countries write them.

    A last line without an end, as a process leaves it that is killed or a machine that loses power while writing, is
    left out and noted.

    Parameters
    ----------
    path : str or Path
        UTF-8, with a heading; or Parquet.

    Raises
    ------
    InputError
        If there is no such file, or it is no file with these columns.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels.csv"
    ...     written = path.write_text("file,class\na.jpg,cat\nb.jpg,dog\na.jpg,dog\nc.j")
    ...     found = read_labels(path)
    >>> found.classes
    {'b.jpg': 'dog', 'a.jpg': 'dog'}
    >>> len(found.notes)
    1
    """
    place = Path(path)
    if not place.is_file():
        raise InputError(f"there is no labels file {str(path)!r}; expected a CSV file with the columns file and class")
    if place.stat().st_size > _LARGEST:
        raise InputError(f"{path} is larger than {_LARGEST >> 20} MB, too large for a labels file")
    content = place.read_bytes()
    if content.startswith(_PARQUET):
        cells, has_more = _in_parquet(place)
        return _given(place, cells, has_more=has_more)
    _refuse_utf16(content, path)
    if b"\0" in content:
        raise InputError(f"{path} is no text file; expected a CSV file with the columns file and class")
    if _has_old_ends(content):
        content = content.replace(b"\r", b"\n")
    mark = delimiter_of(content)
    end = _end_of_last_line(content, place, mark)
    notes: tuple[str, ...] = ()
    if end < len(content):
        notes = (f"the last line of {path} was not finished and is left out (if it is whole, end it with a newline)",)
    text = content[:end].decode("utf-8-sig", "surrogateescape")
    rows = enumerate(_rows(text, mark, place), 1)
    heading = next((row for _, row in rows if row), [])
    columns = [_column(name, heading) for name in COLUMNS]
    if None in columns:
        has = f"the columns {', '.join(heading)[:80]}" if heading else "no heading"
        raise InputError(f"{path} has {has}; expected file and class")
    file, label = (heading.index(str(column)) for column in columns)
    has_more = len(heading) > len(COLUMNS)
    classes: dict[str, str] = {}
    first: dict[str, int] = {}
    for number, row in rows:
        if not row:
            continue
        if len(row) <= max(file, label):
            raise InputError(f"row {number} of {path} has {len(row)} columns; the heading has {len(heading)}")
        # Cells without anything in them are what a spreadsheet adds at the end.
        if any(row[len(heading) :]):
            raise InputError(
                f"row {number} of {path} has {len(row)} columns, more than the {len(heading)} of the heading; put "
                f"quotes around a name that has {mark!r} in it"
            )
        _take(classes, row[file], row[label], has_more=has_more)
        first.setdefault(row[label], number)
    given = _given(place, classes, notes, has_more=has_more)
    in_order = sorted(given.classes, key=lambda name: first[classes[name]])
    return replace(given, class_names=tuple(dict.fromkeys(given.classes[name] for name in in_order)))


def _given(path: Path, cells: dict[str, str], notes: tuple[str, ...] = (), *, has_more: bool) -> GivenLabels:
    meant = _classes_meant(cells)
    classes = {name: given for name, given in meant.items() if given}
    return GivenLabels(path, classes, notes, None if has_more else meant, tuple(dict.fromkeys(classes.values())))


def _take(classes: dict[str, str], file: str, cell: str, *, has_more: bool) -> None:
    """Let a line count in place of those before it, unless it is one of a table that is not filled in yet."""
    if has_more and file in classes and is_no_label(cell):
        return
    classes.pop(file, None)
    classes[file] = cell


def _has_old_ends(content: bytes) -> bool:
    """Say whether lines end as spreadsheets write them for a "CSV (Macintosh)"."""
    return b"\r" in content and b"\n" not in content


def _refuse_utf16(content: bytes, path: str | Path) -> None:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path} is UTF-16; save it as UTF-8 (a spreadsheet has it as 'CSV UTF-8')")


def _rows(text: str, mark: str, path: Path) -> Iterator[list[str]]:
    """Go through the rows of a CSV file, one at a time."""
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    except csv.Error as error:
        raise InputError(f"{path} is no CSV file with the columns file and class: {error}") from error


def _classes_meant(cells: dict[str, str]) -> dict[str, str]:
    """Return the class of each file by what its cell holds; empty where that means that it has none."""
    # Where all are whole numbers, it does not matter how each is written.
    if all(not cell.strip() or _NUMBER.fullmatch(cell.strip()) for cell in cells.values()):
        cells = {file: cell.strip().removesuffix(".0") for file, cell in cells.items()}
    # Else as it stands: a class may begin or end with a space.
    return {file: "" if is_no_label(cell) else cell for file, cell in cells.items()}


def _in_parquet(path: Path) -> tuple[dict[str, str], bool]:
    """Return the class of each file as a Parquet table has it, empty for none, and whether it has more columns."""
    classes: dict[str, str] = {}
    try:
        schema = pq.read_schema(path)
        names = schema.names
        columns = [_column(name, names) for name in COLUMNS]
        if None in columns:
            missing = COLUMNS[columns.index(None)]
            raise InputError(f"{path} has no column {missing!r} (its columns: {', '.join(names)[:80]})")
        wanted = [str(column) for column in columns]
        for column in wanted:
            if pa.types.is_nested(schema.types[names.index(column)]):
                raise InputError(f"{path} has lists in its column {column!r}; expected text or numbers")
        has_more = len(names) > len(COLUMNS)
        # A value that is repeated takes its room once: a small file may hold gigabytes of them.
        with pq.ParquetFile(path, read_dictionary=wanted) as file:
            _refuse_large(file, wanted, path)
            for batch in file.iter_batches(batch_size=_BATCH, columns=wanted):
                files, labels = (batch.column(batch.schema.names.index(column)) for column in wanted)
                for name, label in zip(_cells(files, path), _cells(labels, path), strict=True):
                    _take(classes, str(name), "" if is_no_label(label) else class_name(label), has_more=has_more)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {first_line(error)}") from error
    return classes, has_more


def _refuse_large(file: pq.ParquetFile, wanted: list[str], path: Path) -> None:
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    parts = [group.column(number) for group in groups for number in range(group.num_columns)]
    if sum(part.total_uncompressed_size for part in parts if part.path_in_schema in wanted) > _LARGEST:
        raise InputError(f"{path} holds more than {_LARGEST >> 20} MB of names, too much for a labels file")


def _cells(column: pa.Array, path: Path) -> list[Any]:
    """Return what the rows hold, refusing text that is no name of a file or class before each row gets a copy."""
    repeats = pa.types.is_dictionary(column.type)
    texts = column.dictionary if repeats else column
    if any(is_kind(texts.type) for is_kind in _TEXTS):
        longest = pc.max(pc.binary_length(texts)).as_py() or 0
        if longest > _LONGEST:
            raise InputError(f"{path} has a cell of {longest:,} bytes, which is no name of a file or class")
    cells: list[Any] = (column.dictionary_decode() if repeats else column).to_pylist()
    return cells


def _column(name: str, heading: list[str]) -> str | None:
    """Return what a heading calls a column, which a spreadsheet may begin with a large letter; None if it has none."""
    return next((one for one in (name, *heading) if one in heading and one.strip().lower() == name), None)


def class_called(given: str, known: Collection[str]) -> str:
    """Return the class that a person means, who may have typed spaces around it that none has.

    Nor does it matter whether an accent is a sign of its own, as macOS writes it, or whether a whole number is a float.

    Examples
    --------
    >>> class_called("cat ", ["cat", "dog"]), class_called(" dog", ["dog", " dog"])
    ('cat', ' dog')
    >>> class_called("3.0", ["3"]), class_called(" 3", ["3", "3.0"])
    ('3', '3')
    """
    if given in known:
        return given
    wanted = unicodedata.normalize("NFC", given.strip())
    alike = [name for name in known if unicodedata.normalize("NFC", name.strip()) == wanted]
    if not alike and _WHOLE.fullmatch(fraction := f"{wanted.removesuffix('.0')}.0"):
        alike = [name for name in (fraction, fraction.removesuffix(".0")) if name in known]
    return alike[0] if len(alike) == 1 else given.strip()


class LabelsFile:
    """Adds labels to a file, each on the disk before `append` returns.

    A process that is killed loses none of them: the line that it was writing is the only one that may be half there,
    and is moved to `PATH.unfinished` when the file is opened the next time.

    Several threads may add to one file, and a person may edit it meanwhile: what they save is what is added to.

    Parameters
    ----------
    path : str or Path
        Is made where it is missing.

    Attributes
    ----------
    unfinished : Path or None
        Where a last line without an end went.

    Raises
    ------
    InputError
        If the file has other columns than `file` and `class`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with LabelsFile(Path(folder) / "labels.csv") as labels:
    ...         labels.append("unlabeled/1.jpg", "cat")
    ...     read_labels(Path(folder) / "labels.csv").classes
    {'unlabeled/1.jpg': 'cat'}
    """

    unfinished: Path | None = None

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._one_at_a_time = threading.Lock()
        self._handle: int | None = self._opened()
        # Size and time after the last line of one's own.
        self._left = (0, 0)
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def append(self, file: str, class_name: str) -> None:
        """Add a label, and return when it is on the disk.

        Parameters
        ----------
        file : str
            The image, as `PoolDescription.names` or the source names it.
        class_name : str
            Its class; an empty one takes the label back.

        Raises
        ------
        OSError
            If there is no room for it; the file is left as it was.
        InputError
            If the file was edited meanwhile, and its columns or its last line are not what can be added to.
        """
        with self._one_at_a_time:
            self._follow()
            self._write((file, class_name))

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._one_at_a_time:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> int:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Every line in one call, at the end of the file wherever that is by then.
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            return os.open(self.path, flags, 0o666)
        except OSError as error:
            raise located(error, self.path) from error

    def _checked(self) -> tuple[bytes, int]:
        """Return the file's content and where its last finished line ends; refuse what is no labels file."""
        content = self.path.read_bytes()
        _refuse_utf16(content, self.path)
        if content.startswith(_PARQUET):
            raise InputError(f"{self.path} is a Parquet file, which labels cannot be added to; give a .csv file")
        if _has_old_ends(content):
            raise InputError(f"{self.path} has line ends of old Macintosh programs; save it as CSV UTF-8 first")
        mark = delimiter_of(content)
        end = _end_of_last_line(content, self.path, mark)
        text = content[: end or None].decode("utf-8-sig", "surrogateescape")
        heading = next(filter(None, _rows(text, mark, self.path)), [])
        has_columns = tuple(name.strip().lower() for name in heading) == COLUMNS
        if has_columns and mark != ",":
            raise InputError(f"{self.path} has {mark!r} between its columns; save it with commas, to add labels to it")
        if not (has_columns if end else ",".join(COLUMNS).startswith(text)):
            raise InputError(
                f"{self.path} has the columns {', '.join(heading)[:80]}; labels are added to a file with the columns "
                "file and class alone; give another file"
            )
        return content, end

    def _follow(self) -> None:
        """Go on with what somebody else has made of the file since the last line, if they have."""
        if self._handle is None:
            raise ValueError(f"{self.path} is closed")
        here = os.fstat(self._handle)
        if _size_and_time(here) == self._left and self.path.exists() and os.path.samestat(here, self.path.stat()):
            return
        # Many editors put a new file in the place of the old one, which then has no name any more.
        handle, before = self._opened(), self._handle
        try:
            content, end = self._checked()
            if end < len(content):
                raise InputError(f"the last line of {self.path} has no end; end it with a newline, or take it away")
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        os.close(before)
        if end == 0:
            self._write(COLUMNS)

    def _begin(self) -> None:
        assert self._handle is not None
        # Nothing is cut off or added before it is sure that this is a labels file.
        content, end = self._checked()
        if end < len(content):
            # Whoever wrote the line may have forgotten its end alone.
            self.unfinished = self.path.with_name(f"{self.path.name}.unfinished")
            try:
                with self.unfinished.open("ab") as file:
                    file.write(content[end:] + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise located(error, self.unfinished, len(content) - end) from error
            os.ftruncate(self._handle, end)
        self._left = _size_and_time(os.fstat(self._handle))
        if end == 0:
            self._write(COLUMNS)
            if sys.platform != "win32":
                # The new name is on the disk only when its folder is.
                sync(self.path.parent)

    def _write(self, row: tuple[str, ...]) -> None:
        assert self._handle is not None
        text = io.StringIO()
        csv.writer(text, lineterminator="\n", quoting=quoting_for(row)).writerow(row)
        line = text.getvalue().encode("utf-8", "surrogateescape")
        before = os.fstat(self._handle).st_size
        try:
            if os.write(self._handle, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._handle)
        except OSError as error:
            os.ftruncate(self._handle, before)
            raise located(error, self.path, len(line)) from error
        self._left = _size_and_time(os.fstat(self._handle))


def _size_and_time(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_size, facts.st_mtime_ns


def delimiter_of(content: bytes) -> str:
    r"""Return what stands between the columns of a CSV file, by its heading.

    Examples
    --------
    >>> delimiter_of(b"file;class\na, b.png;cat\n")
    ';'
    """
    heading = content.lstrip(b"\r\n").partition(b"\n")[0]
    return next((mark for mark in _DELIMITERS if mark.encode() in heading), ",")


def _end_of_last_line(content: bytes, path: Path, mark: str = ",") -> int:
    """Return where the last finished line ends; within quotes, a newline is part of a name and ends none."""
    end = _end_of_lines(content, mark) if b'"' in content else content.rfind(b"\n") + 1
    # A line that was cut off is one; what seems to be several is a quote that a person forgot.
    if content.count(b"\n", end) > 1:
        line = content.count(b"\n", 0, end) + 1
        raise InputError(f"line {line} of {path} has a quotation mark that is not closed; close it, or take it away")
    return end


def _end_of_lines(content: bytes, mark: str) -> int:
    # Not by a pattern for whole lines: before 3.11.5 Python took the possessive ones that it needs for longer ones.
    end = field = 0
    quoted, doubled = False, -1
    for found in _SIGNS[mark].finditer(content):
        sign, at = found.group(), found.start()
        if quoted:
            if sign == b'"' and at != doubled:
                # Two are one within the field, one is its end.
                doubled = at + 1
                quoted = content[doubled : doubled + 1] == sign
        elif sign == b"\n":
            end = field = at + 1
        elif sign == b'"':
            # One begins a quoted field only where the field begins; within one, it is a letter as any other.
            quoted = at == field
        else:
            field = at + 1
    return end
