"""The texts of `qsift verify`, and what is too long or too odd to hold a model against, written for these tests."""

from __future__ import annotations

from qsift.bench.texts import CODE, SCRIPTS, SENTENCES, UNUSUAL, random_texts

__all__ = ["HARD_TEXTS", "SCRIPTS", "SENTENCES"]

ODD = [
    "  ",
    "\n",
    "\t\t\n \r\n",
    "a" * 10_240,
    " " * 10_240,
    "\n" * 5_000,
    "1" * 3_000,
    "!?" * 2_000,
    "中" * 3_000,
    "ab " * 3_000,
    "é" * 2_000,
    "e\u0301" * 2_000,
    "\x00",
    "a\x00b\x00\x00c",
    "".join(map(chr, range(32))),
    "\x7f\x80\x85\x9f",
    "\u200b\u200c\u200d\u2060\ufeff zero\u200bwidth",
    "\ufeffstarts with a byte order mark",
    "\u202eright to left\u202c \u2066isolated\u2069",
    "soft\u00adhyphen no\u00a0break\u2009thin\u3000ideographic\u2028line\u2029paragraph\u1680ogham\u180emongolian",
    "\x1c\x1d\x1e\x1f separators",
    "👍👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇨🇳 ❤️ ☺︎ 1️⃣ 🫠🫨",
    "e\u0301 \u0041\u030a \u1e9b\u0323 \u212b \u2126 \ufb01 \u0344 \u0958",
    "\u1112\u1161\u11ab\u1100\u1173\u11af 한글",
    "a\u0327\u0301\u0323\u0302\u0301 z\u0351\u036b\u0343\u036a\u0302\u036b",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛 ①②③ ⅣⅤ ½¾ ²³ ₂ ٣٤ ໓",
    "it's It'S IT'S i'll I'LL we've WE'VE don't 'tis 'S's '\u017f \u017fs K\u212a",
    "'s't're've'm'll'd 'S'T'RE'VE'M'LL'D '\u017f",
    "\ue000\uf8ff\U000f0000 private \ufffe\uffff\U0010ffff nonchars \u0378\u0e5f unassigned",
    "...\n\n---\r\n***  \n",
    "<|not_a_token|> <| im_end |> < think > [PAD151669]",
    "MiXeD CaSe snake_case camelCase kebab-case SCREAMING_CASE",
    "\u0301starts with a mark \u0e33\u0e4d",
    "\u1c89 \u1c89's \u1c89(a \U00011392.b \U000105c0\n \n letters of Unicode 16",
    "a\u07fd\u0301 \u0915\u09fe\u0301 marks younger than Unicode 9",
    "x\u20ddy\u20de \u0488\u0489",
    "\u115f\u1160\u3164\uffa0 fillers",
    "\U000e0041\U000e0042 tags \ufe00\U000e0100 selectors",
    "0" * 31 + "a" * 31 + " " * 31 + "b",
    "ﷺ ﷽ ꧁꧂ ௵ ᚠᛇᚻ ☃ ♞ ⠓⠑⠇⠇⠕ ㍿ ㋿",
]

HARD_TEXTS = [*SCRIPTS.values(), *CODE, *UNUSUAL, *ODD, *random_texts(250)]
"""A few hundred texts; the random ones are the same in every run."""
