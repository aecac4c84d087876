"""Word, OpenDocument, PowerPoint, Excel and EPUB to sections: what is read, where it stands, what is refused."""

from __future__ import annotations

import datetime
import io
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from file_formats import docx_file, epub, odt, pptx_file, xlsx_file, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from qsift import DocumentError, find_documents
from qsift.documents.document import Kind, UnreadableError
from qsift.documents.readers.formats import READERS
from qsift.documents.readers.package import Event
from qsift.documents.readers.paragraphs import paragraphs
from qsift.documents.readers.pptx import _MARKUP

OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
SHEET = f'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="{OFFICE}"'
ANY = {
    "docx": docx_file(),
    "odt": odt("<text:p>a</text:p>"),
    "pptx": pptx_file(),
    "xlsx": xlsx_file(),
    "epub": epub(""),
}


def read(kind: Kind, data: bytes) -> list[tuple[str, int, str]]:
    """Returns place, first line and text of each section."""
    return [(section.place, section.line, section.text) for section in READERS[kind](io.BytesIO(data))]


def relationships(**targets: str) -> str:
    """Returns the XML that relates a part to others, each named by its kind."""
    items = (f'<Relationship Id="{kind}" Type="{OFFICE}/{kind}" Target="{part}"/>' for kind, part in targets.items())
    return f"<Relationships>{''.join(items)}</Relationships>"


def word(document: str | bytes, **more: str) -> bytes:
    """Returns a Word file of this XML, and of further parts by their names with "/" for "__"."""
    parts = {name.replace("__", "/"): content for name, content in more.items()}
    return zipped(
        {"_rels/.rels": relationships(officeDocument="word/document.xml"), "word/document.xml": document} | parts
    )


def excel(sheet: str, shared: str = "<sst/>", styles: str = "<a/>", more: str = "") -> bytes:
    """Returns a workbook of one sheet."""
    sheets = '<sheets><sheet name="A" r:id="worksheet"/></sheets>'
    return zipped(
        {
            "_rels/.rels": relationships(officeDocument="xl/workbook.xml"),
            "xl/workbook.xml": f"<workbook {SHEET}>{more}{sheets}</workbook>",
            "xl/_rels/workbook.xml.rels": relationships(worksheet="s.xml", sharedStrings="t.xml", styles="/xl/y.xml"),
            "xl/s.xml": sheet,
            "xl/t.xml": shared,
            "xl/y.xml": styles,
        }
    )


def test_word_gives_the_text_under_each_heading_with_its_paragraphs() -> None:
    data = docx_file()
    assert read("docx", data) == [
        (
            "section Rooms",
            1,
            "# The computing centre\n\n# Rooms\n\nVisitors sign their names in the book at the door.",
        ),
        (
            "section Backups",
            4,
            "## Backups\n\nEvery night the database server copies its tables to a tape drive.\n\n"
            "Drive | Capacity\n\nLTO | 18 TB",
        ),
    ]
    theirs = [paragraph.text for paragraph in docx.Document(io.BytesIO(data)).paragraphs]
    ours = "\n".join(text for _, _, text in read("docx", data))
    assert all(text in ours for text in theirs)


def test_word_leaves_out_what_is_deleted_and_reads_boxes_and_notes_once() -> None:
    body = (
        f'<w:document {WORD} xmlns:mc="m"><w:body><w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr>'
        "<w:r><w:t>A</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r>"
        "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:moveFrom><w:r><w:t>moved</w:t></w:r></w:moveFrom>"
        "<w:r><w:instrText>PAGE</w:instrText></w:r>"
        "<mc:AlternateContent><mc:Choice><w:p><w:r><w:t>box</w:t></w:r></w:p></mc:Choice>"
        "<mc:Fallback><w:p><w:r><w:t>box</w:t></w:r></w:p></mc:Fallback></mc:AlternateContent></w:p></w:body></w:document>"
    )
    notes = f"<w:footnotes {WORD}><w:p/><w:p><w:r><w:t>a note</w:t></w:r></w:p></w:footnotes>"
    data = word(
        body,
        **{"word___rels__document.xml.rels": relationships(footnotes="footnotes.xml"), "word__footnotes.xml": notes},
    )
    assert read("docx", data) == [("", 1, "box\n\nA b\nc"), ("section footnotes", 1, "a note")]


def test_word_takes_the_style_that_a_paragraph_has_and_not_the_one_before_a_tracked_change() -> None:
    def paragraph(now: str, before: str, text: str) -> str:
        style = '<w:pStyle w:val="{}"/>'.format
        change = f"<w:pPrChange><w:pPr>{before and style(before)}<w:tabs/></w:pPr></w:pPrChange>"
        return f"<w:p><w:pPr>{now and style(now)}{change}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"

    body = paragraph("H1", "Text", "Tea") + paragraph("", "H1", "Steep it.") + paragraph("Text", "H1", "Drink it.")
    style = '<w:style w:styleId="H1"><w:name w:val="heading 1"/></w:style>'
    data = word(
        f"<w:document {WORD}><w:body>{body}</w:body></w:document>",
        **{
            "word___rels__document.xml.rels": relationships(styles="styles.xml"),
            "word__styles.xml": f"<w:styles {WORD}>{style}</w:styles>",
        },
    )
    assert read("docx", data) == [("section Tea", 1, "# Tea\n\nSteep it.\n\nDrink it.")]


def test_opendocument_gives_headings_tables_and_notes_and_leaves_out_tracked_changes() -> None:
    body = (
        "<text:tracked-changes><text:p>gone</text:p></text:tracked-changes><text:p>Before<text:s/>all</text:p>"
        '<text:h text:outline-level="2">One</text:h><text:p>A<text:note><text:note-citation>1</text:note-citation>'
        "<text:note-body><text:p>note</text:p></text:note-body></text:note> b<text:line-break/>c</text:p>"
        "<table:table><table:table-row><table:table-cell><text:p>x</text:p></table:table-cell>"
        "<table:table-cell><text:p>y</text:p><text:p>z</text:p></table:table-cell></table:table-row></table:table>"
    )
    assert read("odt", odt(body)) == [
        ("", 1, "Before all"),
        ("section One", 2, "## One\n\nnote\n\nA b\nc\n\nx | y z"),
    ]


def test_powerpoint_gives_the_slides_in_their_order_with_notes() -> None:
    data = pptx_file()
    assert read("pptx", data) == [
        ("slide 1", 1, "Our plans\nWhere we meet next year"),
        ("slide 2", 1, "A spell checker for Welsh\nWords\nand grammar\nThank the translators."),
    ]
    slides = pptx.Presentation(io.BytesIO(data))
    order = slides.slides._sldIdLst
    order.insert(0, order[1])
    moved = io.BytesIO()
    slides.save(moved)
    assert [(place, text[:5]) for place, _, text in read("pptx", moved.getvalue())] == [
        ("slide 1", "A spe"),
        ("slide 2", "Our p"),
    ]


def test_excel_gives_rows_with_the_names_of_their_columns() -> None:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.title = "Costs\tof it"
    day, moment = datetime.date(2026, 3, 4), datetime.datetime(2025, 1, 2, 3, 4, 5)
    for row in (
        ["A title"],
        ["Part", "Price", None, "Since"],
        ["bolt", 0.1 + 0.2, True, day],
        [],
        ["nut", -1e21, "=1", moment],
    ):
        sheet.append(row)
    sheet["D3"].number_format = "dd/mm/yyyy"
    sheet["E3"], sheet["E3"].number_format = datetime.time(14, 30), 'h:mm "o\'clock"'
    sheet["F3"], sheet["F3"].number_format = 7, '0.0 "days"'
    file = io.BytesIO()
    workbook.save(file)
    (section,) = READERS["xlsx"](io.BytesIO(file.getvalue()))
    assert section.place == "sheet Costs of it" and section.lines == [1, 2, 3, 5]
    assert section.text.split("\n") == [
        "A title",
        "Part; Price; Since",
        "Part: bolt; Price: 0.3; TRUE; Since: 2026-03-04; 14:30:00; 7",
        "Part: nut; Price: -1e+21; Since: 2025-01-02 03:04:05",
    ]


def test_excel_reads_what_other_writers_leave_out_or_do_otherwise() -> None:
    sheet = (
        '<s><row><c t="s"><v>0</v></c><c t="s"><v>9</v></c>'
        '<c t="inlineStr"><is><r><t>in</t></r><r><t>line</t></r></is></c>'
        '<c t="e"><v>#REF!</v></c><c t="str"><f>A1</f><v>result</v></c></row>'
        '<row r="7"><c r="B7" s="1"><v>1</v></c><c r="C7" s="99"><v>nan</v></c><c r="D7" s="1"><v>1e300</v></c></row>'
        '<row r="99999999"><c><v>3</v></c></row></s>'
    )
    shared = "<sst><si><r><t>sha</t></r><r><t>red</t></r><rPh><t>not read</t></rPh></si></sst>"
    formats = '<numFmts><numFmt numFmtId="164" formatCode="[Red]yyyy"/></numFmts>'
    styles = f'<a>{formats}<cellXfs><xf/><xf numFmtId="164"/></cellXfs></a>'
    (section,) = READERS["xlsx"](io.BytesIO(excel(sheet, shared, styles, '<workbookPr date1904="1"/>')))
    assert section.text == "shared; inline; result\n1904-01-02; inline: nan; 1e300\nshared: 3"
    assert section.lines == [1, 7, 8]


def test_a_book_gives_its_chapters_and_one_file_may_go_on_with_a_chapter() -> None:
    book = epub("<p>A cover</p>", "<h2>I. The\x1b[1m  Sea</h2><p>Water.</p>", "<p>More water.</p>", "<h1>II</h1>")
    assert read("epub", book) == [
        ("chapter 1", 1, "A cover"),
        ("chapter I. The [1m Sea", 1, "## I. The\x1b[1m Sea\n\nWater."),
        ("chapter I. The [1m Sea", 1, "More water."),
        ("chapter II", 1, "# II"),
    ]


def test_a_locked_book_is_refused_and_one_with_locked_fonts_is_read() -> None:
    listed = '<encryption><CipherReference URI="{}"/></encryption>'.format
    assert read("epub", epub("<p>a</p>", **{"META-INF__encryption.xml": listed("fonts/a.otf")}))
    with pytest.raises(UnreadableError, match=r"locked by its seller \(DRM\)"):
        read("epub", epub("<p>a</p>", **{"META-INF__encryption.xml": listed("text/0.xhtml")}))


def test_a_long_paragraph_and_a_long_row_come_in_sections_of_bounded_size() -> None:
    text = "word " * 200_000
    paragraph, row = (
        f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>",
        f"<w:tr><w:tc><w:p><w:t>{text}</w:t></w:p></w:tc></w:tr>",
    )
    for body in (paragraph, row):
        sections = read("docx", word(f"<w:document {WORD}>{body}</w:document>"))
        assert max(len(text) for _, _, text in sections) < 600_000
        assert sum(text.count("word") for _, _, text in sections) >= 199_990  # a few are cut in two


def test_cells_without_text_are_not_kept_until_their_row_ends() -> None:
    cells = [Event("start", "tc"), Event("end", "tc")] * 600_000
    assert len(list(paragraphs([Event("start", "tr"), *cells], _MARKUP))) == 2


def broken(data: bytes, **changes: int) -> bytes:
    """Returns a ZIP file whose parts say otherwise about themselves."""
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:
        archive._didModify = True  # type: ignore[attr-defined]
        for info in archive.infolist():
            for name, value in changes.items():
                setattr(info, name, value)
    return file.getvalue()


SENTENCES: list[tuple[Kind, bytes, str]] = [
    ("docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "encrypted with a password, or in an Office"),
    ("docx", b"no ZIP file", "It is damaged: File is not a zip file"),
    ("docx", b"", "It is damaged: File is not a zip file"),
    ("docx", zipped({}), "It is damaged, or no Office file: it names no document"),
    ("docx", zipped({"_rels/.rels": relationships(officeDocument="a.xml")}), "its part 'a.xml' is missing"),
    ("docx", word("<a>"), "its part 'word/document.xml' is no XML"),
    ("docx", broken(word("<a/>"), flag_bits=1), "encrypted with a password"),
    ("docx", broken(word("<a/>"), compress_type=zipfile.ZIP_BZIP2), "is compressed by method 12"),
    ("docx", broken(word("<a/>"), CRC=1), "It is damaged: Bad CRC-32"),
    ("docx", word(b"<a>" + bytes(2**26)), "unpacks to more than 33,554,432 bytes"),
    ("docx", broken(word("<a>" + "<b/>" * 10**6), file_size=9), "It is damaged"),
    ("docx", word("<a>" * 2000), "nested more than 1000 deep"),
    ("docx", word(f'<a b="{"x" * 2**22}"/>'), "a tag in 'word/document.xml' has no end"),
    ("docx", word('<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><a>&c;</a>'), "declares entities"),
    ("docx", word('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><a>&b;</a>'), "declares entities"),
    ("odt", zipped({"content.xml": "", "META-INF/manifest.xml": "<a><encryption-data/></a>"}), "is encrypted"),
    ("xlsx", excel("<s><row>" + "<c/>" * 20_000 + "</row></s>"), "row 1 of a sheet has more than 16,384 cells"),
    (
        "xlsx",
        excel(
            "<s>" + ("<row>" + '<c t="s"><v>0</v></c>' * 1000 + "</row>") * 2 + "</s>",
            f"<sst><si><t>{'x' * 40_000}</t></si></sst>",
        ),
        "unpacks to more than 33,554,432 bytes",
    ),
    ("epub", zipped({"META-INF/container.xml": "<a/>"}), "its part '' is missing"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "data", "reason"), SENTENCES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_is_damaged_encrypted_or_hostile_gets_a_sentence(kind: Kind, data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        read(kind, data)


@pytest.mark.parametrize("kind", ANY)
@settings(max_examples=40)
@given(cut=st.floats(0, 1), noise=st.binary(min_size=1, max_size=8))
def test_no_damage_gives_another_error(kind: Kind, cut: float, noise: bytes) -> None:
    data = ANY[kind]
    at = int(cut * len(data))
    for damaged in (data[:at], data[:at] + noise + data[at + len(noise) :], data[:at] + noise + data[at:]):
        try:
            read(kind, damaged)
        except UnreadableError as error:
            assert str(error)[0].isupper() and str(error).endswith(".")


def test_a_file_that_breaks_its_reader_is_named_as_damaged(tmp_path: Path) -> None:
    sheet = f'<sheetData><row><c t="s"><v>{"1" * 5000}</v></c></row></sheetData>'
    (tmp_path / "made.xlsx").write_bytes(excel(f"<worksheet>{sheet}</worksheet>"))
    (document,) = find_documents([tmp_path], on_skip=lambda *_: pytest.fail())
    with pytest.raises(DocumentError, match="It is damaged"):
        list(document.read())
