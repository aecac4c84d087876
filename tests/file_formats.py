"""A folder with a file of each format: office files by well-known writers, the others by hand."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import docx
import openpyxl
import pptx
from pdf import pdf


class Wanted(NamedTuple):
    """A question whose answer is in one file, and where it stands there."""

    question: str
    source: str
    place: str
    line: int


WANTED = [
    Wanted("nightly backup of the database to tape", "report.docx", "section Backups", 4),
    Wanted("when are the tomatoes watered", "garden.odt", "section Irrigation", 4),
    Wanted("spell checker for Welsh", "talk.pptx", "slide 2", 1),
    Wanted("video player", "shop.xlsx", "sheet Prices 2026", 4),
    Wanted("who polished the lamp of the lighthouse", "novel.epub", "chapter The Lighthouse", 1),
    Wanted("compute the Fourier transform of a signal", "signals.ipynb", "cell 2", 1),
    Wanted("appointment with the dentist", "dentist.eml", "", 1),
    Wanted("from which platform does the train to Vienna leave", "archive.mbox", "message 2", 1),
    Wanted("height of Mount Everest", "mountains.csv", "", 3),
    Wanted("chemical symbol of potassium", "elements.tsv", "", 2),
    Wanted("how to feed a sourdough starter", "recipes.jsonl", "", 2),
    Wanted("opening moves of a chess engine", "chess.rst", "", 1),
    Wanted("parser generator for compilers", "grammar.tex", "", 4),
    Wanted("a submarine dives under the ice", "film.srt", "", 3),
    Wanted("emulator of old game consoles", "manual.pdf", "page 2", 1),
]


def zipped(parts: Mapping[str, str | bytes]) -> bytes:
    """Returns a ZIP file of parts by their names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def odt(body: str) -> bytes:
    """Returns an OpenDocument text with this XML as its body."""
    office = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
    text = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
    table = "urn:oasis:names:tc:opendocument:xmlns:table:1.0"
    root = f'<office:document-content xmlns:office="{office}" xmlns:text="{text}" xmlns:table="{table}">'
    content = f"{root}<office:body><office:text>{body}</office:text></office:body></office:document-content>"
    return zipped({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content})


def epub(*chapters: str, **more: str) -> bytes:
    """Returns a book of XHTML bodies, and of further parts by their names with "/" for "__"."""
    names = [f"{i}.xhtml" for i in range(len(chapters))]
    items = "".join(f'<item id="c{name}" href="{name}" media-type="application/xhtml+xml"/>' for name in names)
    spine = "".join(f'<itemref idref="c{name}"/>' for name in names)
    head = '<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><body>'
    parts = {
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="text/book.opf"/></rootfiles></container>',
        "text/book.opf": f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>",
        **{f"text/{name}": f"{head}{body}</body></html>" for name, body in zip(names, chapters, strict=True)},
        **{name.replace("__", "/"): content for name, content in more.items()},
    }
    return zipped(parts)


def docx_file() -> bytes:
    """Returns a Word document with headings, a table and a note of what is no text."""
    document = docx.Document()
    document.add_heading("The computing centre", 0)
    document.add_heading("Rooms", 1)
    document.add_paragraph("Visitors sign their names in the book at the door.")
    document.add_heading("Backups", 2)
    document.add_paragraph("Every night the database server copies its tables to a tape drive.")
    table = document.add_table(2, 2)
    for row, texts in zip(table.rows, (("Drive", "Capacity"), ("LTO", "18 TB")), strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
    return _saved(document)


def pptx_file() -> bytes:
    """Returns two slides, the second with notes."""
    slides = pptx.Presentation()
    for title, body in (("Our plans", "Where we meet next year"), ("A spell checker for Welsh", "Words\nand grammar")):
        slide = slides.slides.add_slide(slides.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
    slide.notes_slide.notes_text_frame.text = "Thank the translators."
    return _saved(slides)


def xlsx_file() -> bytes:
    """Returns a workbook of two sheets; row 3 of the first is blank."""
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.title = "Prices 2026"
    for row in (("Program", "Price"), ("Text editor", 89), (), ("Video player", 24.5)):
        sheet.append(row)
    workbook.create_sheet("Staff").append(("Who", "Room"))
    return _saved(workbook)


def _saved(document: object) -> bytes:
    file = io.BytesIO()
    document.save(file)  # type: ignore[attr-defined]
    return file.getvalue()


def write_each(folder: Path) -> None:
    """Writes the files that `WANTED` asks for."""
    cells = [
        {"cell_type": "markdown", "source": ["# Signals\n", "Notes of a course."]},
        {"cell_type": "code", "source": "def fourier_transform(signal):\n    return dft(signal)", "outputs": []},
    ]
    mail = "From: a@example.org\nTo: b@example.org\nSubject: {}\n\n{}\n"
    files: dict[str, str | bytes] = {
        "report.docx": docx_file(),
        "garden.odt": odt(
            '<text:h text:outline-level="1">Soil</text:h><text:p>Compost makes it loose.</text:p>'
            '<text:h text:outline-level="1">Irrigation</text:h>'
            "<text:p>A timer opens the valve, so the tomatoes are watered at dawn.</text:p>"
        ),
        "talk.pptx": pptx_file(),
        "shop.xlsx": xlsx_file(),
        "novel.epub": epub(
            "<h1>The Harbour</h1><p>Ships came in with the tide.</p>",
            "<h1>The Lighthouse</h1><p>The keeper polished the lamp of the lighthouse every evening.</p>",
        ),
        "signals.ipynb": json.dumps({"cells": cells, "nbformat": 4}),
        "dentist.eml": mail.format("Dentist", "Your appointment with the dentist is on Monday at ten."),
        "archive.mbox": "From a Mon Jan  5 10:00:00 2026\n"
        + mail.format("Lunch", "Shall we have soup?")
        + "\nFrom b Mon Jan  5 11:00:00 2026\n"
        + mail.format("Journey", "The train to Vienna leaves from platform nine."),
        "mountains.csv": 'Mountain,Height\n"Mont Blanc",4806 m\nMount Everest,8849 m\n',
        "elements.tsv": "Element\tSymbol\npotassium\tK\niron\tFe\n",
        "recipes.jsonl": '{"dish": "Pancakes", "how": "Fry them."}\n'
        '{"dish": "Sourdough", "how": "Feed the starter with flour and water each day."}\n',
        "chess.rst": "Chess\n=====\n\nThe engine knows the *opening moves* of chess from a book.\n",
        "grammar.tex": "\\documentclass{article}\n\\begin{document}\n\n\\section{Compilers}\n\n"
        "A parser generator makes the parser of a compiler from its grammar.\n\n\\end{document}\n",
        "film.srt": "1\n00:00:01,000 --> 00:00:03,500\n<i>The submarine dives\nunder the ice.</i>\n",
        "manual.pdf": pdf("Contents and index", "An emulator of old game consoles"),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
