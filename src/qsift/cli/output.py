"""How results leave the command line: JSON lines, npy and tables, to stdout or to a file.

Vectors are written as they come, so memory stays bounded. A file gets its name only when it is
whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, Literal

import click
import numpy as np
from numpy.typing import NDArray

Format = Literal["jsonl", "npy", "table"]
TextAndRow = tuple[str, NDArray[Any]]

_SHOWN = 6
_NOT_BARE = re.compile("[\x85\u2028\u2029\ud800-\udfff]")
_SAID = {None: "–", True: "yes", False: "no"}


@contextmanager
def opened(path: str | None, *, seekable: bool = False) -> Iterator[IO[bytes]]:
    """Gives the place for results.

    Args:
        path: a file, which is replaced when the block succeeds and left alone when it does not;
            None means stdout. What is no regular file (a pipe, /dev/null) is written to directly.
        seekable: whether the block needs to go back and write again.
    """
    if path is not None and (not os.path.exists(path) or os.path.isfile(path)):
        with _replacing(Path(os.path.realpath(path))) as file:
            yield file
        return
    place: AbstractContextManager[IO[bytes]]
    place = nullcontext(sys.stdout.buffer) if path is None else open(path, "wb")  # noqa: SIM115
    with place as target:
        if not seekable:
            yield target
        else:
            with tempfile.TemporaryFile() as scratch:
                yield scratch
                scratch.seek(0)
                shutil.copyfileobj(scratch, target)


@contextmanager
def _replacing(target: Path) -> Iterator[IO[bytes]]:
    scratch = target.with_name(f".{target.name}.part-{os.getpid()}")
    try:
        with scratch.open("wb") as file:
            yield file
        os.replace(scratch, target)
    except OSError as error:
        raise click.ClickException(f"{str(target)!r} cannot be written: {error.strerror}.") from error
    finally:
        scratch.unlink(missing_ok=True)


def write_jsonl(rows: Iterable[TextAndRow], file: IO[bytes], *, with_text: bool) -> None:
    """Writes an object for each vector: index, text if wanted, vector."""
    for index, (text, row) in enumerate(rows):
        # As str, numpy gives the shortest digits that read back as the same float32.
        vector = ", ".join(row.astype(str).tolist())
        middle = f'"text": {_to_json(text)}, ' if with_text else ""
        file.write(f'{{"index": {index}, {middle}"vector": [{vector}]}}\n'.encode())


def write_npy(rows: Iterable[TextAndRow], file: IO[bytes], *, empty: NDArray[Any]) -> None:
    """Writes a matrix in numpy's format, without holding it.

    Args:
        rows: any number of them.
        file: can seek; the header, which says how many rows there are, is written twice.
        empty: (0, dim), of the type of the rows.
    """
    count = 0
    _write_npy_header(file, count, empty)
    start = file.tell()
    for _, row in rows:
        file.write(np.ascontiguousarray(row).tobytes())
        count += 1
    file.seek(0)
    _write_npy_header(file, count, empty)
    if file.tell() != start:  # numpy pads the header so that the first axis can grow
        raise RuntimeError("numpy's header changed its length.")
    file.seek(0, os.SEEK_END)


def _write_npy_header(file: IO[bytes], count: int, empty: NDArray[Any]) -> None:
    description = np.lib.format.dtype_to_descr(empty.dtype)
    header = {"descr": description, "fortran_order": False, "shape": (count, empty.shape[1])}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type, unused-ignore]


def write_table(rows: Iterable[TextAndRow], file: IO[bytes]) -> None:
    """Writes a line for each vector: index, first numbers, text."""
    for index, (text, row) in enumerate(rows):
        form = "{:8.4f}" if row.dtype.kind == "f" else "{:4d}"
        numbers = " ".join(form.format(value) for value in row[:_SHOWN].tolist())
        start = f"{index:>5}  {numbers} {'…' if len(row) > _SHOWN else ' '}  "
        file.write(f"{start}{one_line(text, console_width() - len(start))}\n".encode())


def print_hits(hits: Sequence[Mapping[str, Any]], *, as_table: bool) -> None:
    """Prints ranked hits, each with the fields of `reranker.Hit`: a table cut to the terminal, or JSON lines."""
    if as_table:
        click.echo(f"{'rank':>4}  {'score':>8}  {'id':>6}  text")
    for rank, hit in enumerate(hits, 1):
        if as_table:
            start = f"{rank:>4}  {hit['score']:8.4f}  {hit['corpus_id']:>6}  "
            click.echo(start + one_line(hit["text"], console_width() - len(start)))
        else:
            print_json({"rank": rank, **hit})


def print_compared(rows: Iterable[Mapping[str, Any]], *, as_table: bool) -> None:
    """Prints texts behind their numbers, all rows with the same fields: a table cut to the terminal, or JSON lines."""
    for place, row in enumerate(rows):
        if not as_table:
            print_json(row)
            continue
        *names, _ = row
        if place == 0:
            click.echo("".join(f"{name:>10}  " for name in names) + "text")
        start = "".join(
            f"{row[name]:>10.4f}  " if isinstance(row[name], float) else f"{row[name]:>10}  " for name in names
        )
        click.echo(start + one_line(row["text"], console_width() - len(start)))


def print_found(hits: Sequence[Mapping[str, Any]]) -> None:
    """Prints passages for people: rank, scores and place in a line, then the passage as it stands, indented."""
    for place, hit in enumerate(hits, 1):
        lines = f"{hit['line']}" if hit["line"] == hit["end_line"] else f"{hit['line']}-{hit['end_line']}"
        where = f"{click.style(hit['source'], fg='green')} {hit['place']}".rstrip() + f":{lines}"
        score = "" if hit["score"] is None else click.style(f"{hit['score']:.3f}", bold=True) + "  "
        first = click.style(f"(cosine {hit['similarity']:.3f}, rank {hit['rank']})", dim=True)
        click.echo(f"{'' if place == 1 else chr(10)}{place:>3}  {score}{where}  {first}")
        for line in hit["text"].splitlines():
            click.echo("     " + "".join(c if c.isprintable() or c == chr(9) else " " for c in line))


def print_places(hits: Sequence[Mapping[str, Any]]) -> None:
    """Prints passages as grep prints lines: path, first line and the text on one line, without control characters."""
    for hit in hits:
        text = "".join(c if c.isprintable() else " " for c in hit["text"])
        click.echo(f"{hit['source']}:{hit['line']}:{' '.join(text.split())}")


def print_json(value: Any) -> None:
    """Prints one object on one line of stdout."""
    click.echo(_to_json(value))


def _to_json(value: Any) -> str:
    # Many readers of JSON lines take the first three for ends of lines; a path's odd bytes are no UTF-8.
    return _NOT_BARE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def print_facts(facts: Mapping[str, Any]) -> None:
    """Prints names and values in two columns; None as a dash."""
    width = max(map(len, facts))
    for name, value in facts.items():
        shown = _SAID.get(value, value) if value is None or isinstance(value, bool) else value
        click.echo(f"{name:<{width}}  {shown}")


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Prints rows of cells, indented, in columns as wide as their widest cell."""
    widths = [max(map(columns, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True))
        click.echo(("  " + "  ".join(cells)).rstrip())


def console_width() -> int:
    """Returns the width of the terminal in columns, 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def one_line(text: str, width: int) -> str:
    """Returns the start of a text that fits into ``width`` columns, at least 10, without control characters."""
    width = max(width, 10)
    # A column takes few characters; what lies far behind is not worth looking at.
    shown = " ".join("".join(c if c.isprintable() else " " for c in text[: 16 * width]).split())
    used, line = 0, list[str]()
    for character in shown:
        if used + columns(character) > width:
            while used > width - 1:
                used -= columns(line.pop())
            return "".join(line) + "…"
        line.append(character)
        used += columns(character)
    return "".join(line)


def columns(text: str) -> int:
    """Returns how many columns of a terminal a text takes."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
