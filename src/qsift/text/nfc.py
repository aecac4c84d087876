"""NFC as Hugging Face's tokenizers apply it, and where llama.cpp must not join two words.

Qwen's tokenizer normalises to NFC and then splits by a regular expression over Unicode classes.
Three Unicode versions meet there: tokenizers normalise by Unicode 9 and classify by Unicode 16,
llama.cpp classifies by Unicode 15, and Python normalises by its own, from 13 to 17. The two tables
below are the whole difference; they were found by running every code point through both in 45 contexts.
"""

from __future__ import annotations

import re
from unicodedata import is_normalized, normalize


def _character_class(ranges: str) -> str:
    """Returns a regular expression for "0041-005A 00AA …"."""
    ends = (part.split("-") for part in ranges.split())
    return "[" + "".join(f"{chr(int(pair[0], 16))}-{chr(int(pair[-1], 16))}" for pair in ends) + "]"


# Marks and compositions younger than Unicode 9: Hugging Face neither reorders nor composes them.
_YOUNG = re.compile(
    "("
    + _character_class(
        "05C8-05C9 07FD 0897-08D3 09FE 0C3C 0D3B-0D3C 0EBA 1715 1ABF-1AF0 1DF6-1DFA A82C 105C9-105E4 10D24-10F85 "
        "11070 1133B 11383-113D0 1145E 11839-11A99 11D42-11F42 1611E-1612F 16D67-16FF1 1D127-1D128 1D250-1D281 "
        "1E08F-1E6F5"
    )
    + ")"
)

# Letters and digits of Unicode 16, which llama.cpp takes for symbols.
_NEW_LETTER = _character_class(
    "1C89-1C8A A7CB-A7CD A7DA-A7DC 105C0-105F3 10D40-10D65 10D6F-10D85 10EC2-10EC4 11380-11389 1138B 1138E "
    "11390-113B5 113B7 113D1 113D3 116D0-116E3 11BC0-11BE0 11BF0-11BF9 13460-143FA 16100-1611D 16130-16139 "
    "16D40-16D6C 16D70-16D79 18CFF 1CCF0-1CCF9 1E5D0-1E5ED 1E5F0-1E5FA"
)
_HAS_NEW_LETTER = re.compile(_NEW_LETTER)
_END_OF_NEW_WORD = re.compile(rf"(?<={_NEW_LETTER})(?![^\W\d_]|{_NEW_LETTER})")


def nfc(text: str) -> str:
    """Returns the text in NFC as Hugging Face's tokenizers compute it, in every version of Python."""
    if is_normalized("NFC", text):
        return text
    return "".join(normalize("NFC", piece) for piece in _YOUNG.split(text))


def pieces(text: str) -> list[str]:
    """Returns the normalised text cut where llama.cpp would otherwise join two words; mostly one piece."""
    text = nfc(text)
    return _END_OF_NEW_WORD.split(text) if _HAS_NEW_LETTER.search(text) else [text]
