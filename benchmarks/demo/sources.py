"""How each kind of source is read: apt's lists, .mo catalogues, dictionaries, handbooks, manual pages.

Every function takes files and yields `Pair` objects. This file knows neither where the files come from nor
what a pair is good for.
"""

from __future__ import annotations

import gettext
import gzip
import html.parser
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LONGEST = 400
"""Characters of a document that are kept, up to the last space before them."""

LANGUAGES = {
    **{name: name for name in ("en", "de", "fr", "es", "ja", "it", "ru", "ko", "pt", "nl", "pl")},
    **{"en_US": "en", "zh_CN": "zh", "zh_Hans": "zh", "zh_TW": "zh_TW", "zh_Hant": "zh_TW", "pt_BR": "pt"},
}
"""Our name of a language by that of a locale; a locale that is not here is not read."""


@dataclass(frozen=True)
class Pair:
    """Two texts that belong together.

    Attributes:
        kind: "package" (synopsis, description), "translation" (English, another language), "gloss" (word,
            explanation or translation), "section" (heading, paragraph), "review" (clause, its sentence)
            or "exchange" (clause with a Chinese word, the same with its English gloss).
        query: the shorter or the English one.
        document: the other one.
        query_language, document_language: names from `LANGUAGES`.
        key: what decides whether the pair is held out from training.
    """

    kind: str
    query: str
    document: str
    query_language: str
    document_language: str
    key: str


def shortened(text: str) -> str:
    """Returns the text in one line, cut at a space after `LONGEST` characters at most."""
    text = " ".join(text.split())
    if len(text) <= LONGEST:
        return text
    return text[:LONGEST].rsplit(" ", 1)[0] if " " in text[:LONGEST] else text[:LONGEST]


def paragraphs_of(path: Path) -> Iterator[dict[str, str]]:
    """Yields the fields of each paragraph of one of apt's lists; continued lines keep their breaks."""
    fields: dict[str, str] = {}
    name = ""
    for line in path.open(encoding="utf-8"):
        if line[:1] in " \t":
            fields[name] += line
        elif line.strip():
            name, _, value = line.partition(":")
            fields[name] = value.strip() + "\n"
        elif fields:
            yield fields
            fields = {}
    if fields:
        yield fields


def source_names(packages: Iterable[Path]) -> dict[str, str]:
    """Returns the source package of each binary package, from apt's Packages lists."""
    names = {}
    for path in packages:
        for fields in paragraphs_of(path):
            binary = fields["Package"].strip()
            names[binary] = fields.get("Source", binary).split()[0]
    return names


def package_descriptions(path: Path, language: str) -> Iterator[tuple[str, str, str]]:
    """Yields (package, synopsis, description) from one of apt's Translation lists."""
    for fields in paragraphs_of(path):
        text = next((value for name, value in fields.items() if re.fullmatch(r"Description-(?!md5)\w+", name)), "")
        synopsis, _, rest = text.partition("\n")
        space = "" if language in ("zh", "zh_TW", "ja") else " "
        blocks = re.split(r"\n \.\n", rest)
        body = " ".join(space.join(line.strip() for line in block.splitlines()) for block in blocks)
        if synopsis and body.strip():
            yield fields["Package"].strip(), synopsis, shortened(body)


def package_pairs(english: Path, translated: Mapping[str, Path], sources: Mapping[str, str]) -> Iterator[Pair]:
    """Yields synopsis and description of every package: in English, in other languages, and across."""
    described = {name: (synopsis, body) for name, synopsis, body in package_descriptions(english, "en")}
    for name, (synopsis, body) in described.items():
        yield Pair("package", synopsis, body, "en", "en", sources.get(name, name))
    for language, path in translated.items():
        for name, synopsis, body in package_descriptions(path, language):
            key = sources.get(name, name)
            yield Pair("package", synopsis, body, language, language, key)
            if name in described:
                yield Pair("package", synopsis, described[name][1], language, "en", key)


def catalogue_pairs(paths: Iterable[Path]) -> Iterator[Pair]:
    """Yields the English text and its translation for every entry of the .mo files among ``paths``."""
    for path in paths:
        language = next((LANGUAGES[part] for part in _locale_names(path) if part in LANGUAGES), None)
        if language in (None, "en"):
            continue
        try:
            catalogue = gettext.GNUTranslations(io.BytesIO(path.read_bytes()))._catalog  # type: ignore[attr-defined]
        except (OSError, UnicodeDecodeError):
            continue
        for key, translation in catalogue.items():
            english = (key[0] if isinstance(key, tuple) else key).split("\x04")[-1]
            english, translation = _plain(english), _plain(translation)
            if english and translation and english != translation:
                yield Pair("translation", english, translation, "en", language, english.lower())


def _locale_names(path: Path) -> Iterator[str]:
    """Yields what may be a locale in .../zh_CN/LC_MESSAGES/git.mo or .../languages/admin-zh_CN.mo."""
    yield path.parent.parent.name
    yield path.stem.rpartition("-")[2]


def _plain(text: str) -> str:
    """Returns a message without the mnemonics and the markup of its user interface."""
    text = re.sub(r"<[^<>]{1,200}>|\(_?&?\w\)|[_&](?=\w)|…|\.\.\.$", lambda m: " " if m[0][:1] == "<" else "", text)
    return shortened(text.replace("\\n", " "))


_REMARKS = ("Note", "see:", "Syn")


def dict_glosses(index: Path, query_language: str, document_language: str) -> Iterator[Pair]:
    """Yields headword and translation from a dictionary of the dict server (NAME.index beside NAME.dict.dz)."""
    text = gzip.decompress(index.with_suffix(".dict.dz").read_bytes())
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    def number(letters: str) -> int:
        value = 0
        for letter in letters:
            value = value * 64 + digits.index(letter)
        return value

    for line in index.open(encoding="utf-8"):
        headword, start, length = line.rstrip("\n").split("\t")[:3]
        if headword.startswith("00"):
            continue
        entry = text[number(start) : number(start) + number(length)].decode("utf-8", "replace")
        lines = [re.sub(r"/[^/]*/|<[^>]*>|\[[^\]]*\]|^\d+\. ", "", line).strip() for line in entry.splitlines()[1:]]
        gloss = shortened("; ".join(line for line in lines if line and not line.startswith(_REMARKS))[:90])
        if gloss:
            yield Pair("gloss", headword, gloss, query_language, document_language, headword.lower())


def edict_glosses(lines: Iterable[str], language: str) -> Iterator[Pair]:
    """Yields word and English gloss from lines of EDICT or CC-CEDICT."""
    for line in lines:
        match = re.match(r"(\S+) (?:(\S+) )?(?:\[[^\]]*\] )?/(.+)/", line)
        if not match:
            continue
        word = match[2] or match[1]
        glosses = [re.sub(r"\([^)]*\)|\{[^}]*\}|\[[^\]]*\]", "", part).strip() for part in match[3].split("/")]
        gloss = "; ".join(part for part in glosses if part and not part.startswith(("CL:", "EntL", "variant of")))
        if gloss:
            yield Pair("gloss", word, gloss[:120], language, "en", word)


def wordnet_glosses(paths: Iterable[Path]) -> Iterator[Pair]:
    """Yields the words of each synset of WordNet's data files and its gloss."""
    for path in paths:
        for line in path.open(encoding="utf-8"):
            if line.startswith("  ") or "|" not in line:
                continue
            fields, _, gloss = line.partition("|")
            parts = fields.split()
            words = [parts[4 + 2 * i].replace("_", " ") for i in range(int(parts[3], 16))]
            yield Pair("gloss", ", ".join(words), shortened(gloss), "en", "en", words[0].lower())


def review_clauses(reviews: Iterable[str], language: str) -> Iterator[Pair]:
    """Yields the first fitting clause and its sentence from each of the first sentences of Chinese reviews."""
    for review in reviews:
        for sentence in re.split(r"(?<=[。！？!?])\s*|\s{2,}", review.strip())[:3]:
            clauses = [clause.strip() for clause in re.split(r"[，,；;。！？!?~…]+", sentence)]
            clause = next((clause for clause in clauses if 5 <= len(clause) <= 24), None)
            if clause and len(sentence) > len(clause) + 4:
                yield Pair("review", clause, shortened(sentence), language, language, clause)


class _Sections(html.parser.HTMLParser):
    """Collects (heading, paragraph) from HTML or Mallard pages."""

    HEADINGS = ("h1", "h2", "h3", "h4", "title", "dt")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._heading = ""
        self._open: str | None = None
        self._text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in (*self.HEADINGS, "p"):
            self._open, self._text = tag, []

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag != self._open:
            return
        text = shortened("".join(self._text)).strip("¶ ")
        if tag != "p":
            self._heading = re.sub(r"^[\dA-Z.]+[.\s]\s*", "", text)
        elif self._heading and len(text) > 40 - 20 * (not text.isascii()):
            self.found.append((self._heading, text))
            self._heading = ""  # only the first paragraph says what the section is about
        self._open = None


def page_sections(paths: Iterable[Path], language: str) -> Iterator[Pair]:
    """Yields each heading and its first paragraph from HTML and Mallard pages."""
    for path in paths:
        parser = _Sections()
        parser.feed(path.read_text("utf-8", errors="replace"))
        for heading, paragraph in parser.found:
            yield Pair("section", heading, paragraph, language, language, heading)


def manual_sections(paths: Iterable[Path], language: str) -> Iterator[Pair]:
    """Yields the NAME line of a manual page and the first paragraph of its description."""
    for path in paths:
        try:
            text = gzip.decompress(path.read_bytes()).decode()
        except (OSError, EOFError, UnicodeDecodeError):
            continue
        text = re.sub(r"\\f.|\\&|\\\|", "", text).replace("\\-", "-").replace("\\(", "")
        parts = re.split(r"^\.S[hH] *(.+)$", text, flags=re.MULTILINE)
        bodies = [_first_paragraph(body) for body in parts[2::2]]
        if len(bodies) < 3 or " - " not in bodies[0]:
            continue
        name, _, summary = bodies[0].partition(" - ")
        longest = max(bodies[1:4], key=len)
        if len(summary) > 5 and len(longest) > 40:
            heading = f"{name}: {summary}" if len(name) < 20 else summary
            yield Pair("section", heading, longest, language, language, name)


def _first_paragraph(body: str) -> str:
    """Returns the text of a roff section up to its first break, without requests."""
    lines: list[str] = []
    for line in body.strip().splitlines():
        if re.match(r"\.(PP|P|LP|TP|IP|sp)\b", line) and lines:
            break
        request = re.match(r"\.(B|I|BR|BI|IR|RI|RB|IB) (.*)", line)
        if request or not line.startswith((".", "'")):
            lines.append(request[2].replace('"', "") if request else line)
    return shortened(" ".join(lines))
