"""Chinese clauses with a word exchanged for another one, in Chinese and by its English gloss.

This file knows neither where clauses and glosses come from nor what the pairs are good for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from random import Random

from .sources import Pair


def exchanged_clauses(clauses: Iterable[str], glosses: Mapping[str, str], random: Random) -> Iterator[Pair]:
    """Yields two pairs for each clause that holds a known word.

    Mixed sentences such as these are common in Chinese, and the other sources have none. Only words that the
    clauses themselves use take part.
    """
    split = [segmented(clause, glosses) for clause in clauses]
    words = sorted({part for parts in split for part in parts if part in glosses})
    for parts in split:
        places = [place for place, part in enumerate(parts) if part in glosses]
        for _ in range(2 if places else 0):
            place, word = random.choice(places), random.choice(words)
            left, right = "".join(parts[:place]), "".join(parts[place + 1 :])
            yield Pair("exchange", left + word + right, f"{left} {glosses[word]} {right}".strip(), "zh", "zh", word)


def plain_gloss(gloss: str) -> str | None:
    """Returns the first meaning of a gloss if it can stand for the word in a sentence, else None."""
    first = gloss.partition(";")[0].strip()
    fits = re.fullmatch(r"[A-Za-z][A-Za-z -]{1,24}", first) and not first.startswith(("to ", "surname ", "see "))
    return first if fits and first.count(" ") < 3 else None


def segmented(text: str, words: Mapping[str, str], longest: int = 6) -> list[str]:
    """Returns the parts of a text: the longest words at each place, and single characters between them."""
    parts, start = [], 0
    while start < len(text):
        lengths = range(min(longest, len(text) - start), 1, -1)
        length = next((length for length in lengths if text[start : start + length] in words), 1)
        parts.append(text[start : start + length])
        start += length
    return parts
