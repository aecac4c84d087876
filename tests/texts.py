"""Texts that tokenizers stumble over, written for these tests."""

from __future__ import annotations

import random
import sys
import unicodedata

SCRIPTS = {
    "Latin": "The quick brown fox, naïve façade — it's 3 o'clock; WE'LL SEE, they'Re here, I'd say.",
    "German": "Größe, Straße, Übermut: fünf Äpfel für zwölf Öfen.",
    "Vietnamese": "Tiếng Việt có nhiều dấu: ngữ nghĩa, trường học, được.",
    "Turkish": "İstanbul'da ışık ılık ığdır.",
    "Greek": "Τι είναι ο κβαντικός υπολογισμός; Ἀρχὴ ἥμισυ παντός.",
    "Cyrillic": "Что такое квантовые вычисления? Ёжик, Київ, їжа.",
    "Hebrew": "מהו מחשוב קוונטי? שָׁלוֹם",
    "Arabic": "ما هي الحوسبة الكمومية؟ مُحَمَّد ١٢٣",
    "Persian": "می‌خواهم کتاب‌ها را بخوانم ۴۵۶",
    "Urdu": "کوانٹم کمپیوٹنگ کیا ہے؟",
    "Devanagari": "क्वांटम कंप्यूटिंग क्या है? १२३ हिन्दी",
    "Bengali": "কোয়ান্টাম কম্পিউটিং কী? ১২৩",
    "Gurmukhi": "ਕੁਆਂਟਮ ਕੰਪਿਊਟਿੰਗ ਕੀ ਹੈ?",
    "Gujarati": "ક્વોન્ટમ કમ્પ્યુટિંગ શું છે?",
    "Tamil": "குவாண்டம் கணினி என்றால் என்ன?",
    "Telugu": "క్వాంటం కంప్యూటింగ్ అంటే ఏమిటి?",
    "Kannada": "ಕ್ವಾಂಟಮ್ ಕಂಪ್ಯೂಟಿಂಗ್ ಎಂದರೇನು?",
    "Malayalam": "ക്വാണ്ടം കമ്പ്യൂട്ടിംഗ് എന്താണ്?",
    "Sinhala": "ක්වොන්ටම් පරිගණනය යනු කුමක්ද?",
    "Thai": "คอมพิวเตอร์ควอนตัมคืออะไร ๑๒๓",
    "Lao": "ຄອມພິວເຕີຄວັນຕັມແມ່ນຫຍັງ",
    "Khmer": "តើកុំព្យូទ័រកង់ទិចគឺជាអ្វី",
    "Burmese": "ကွမ်တမ်ကွန်ပျူတာဆိုတာဘာလဲ",
    "Tibetan": "ཀྭན་ཊམ་རྩིས་འཁོར་ཞེས་པ་ཅི་ཡིན།",
    "Georgian": "რა არის კვანტური გამოთვლა? ᲥᲐᲠᲗᲣᲚᲘ",
    "Armenian": "Ի՞նչ է քվանտային հաշվարկը",
    "Ethiopic": "የኳንተም ስሌት ምንድን ነው?",
    "Cherokee": "ᎣᏏᏲ ᏣᎳᎩ",
    "Mongolian": "ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ",
    "Hangul": "양자 컴퓨팅이란 무엇인가요?",
    "Japanese": "量子コンピューティングとは何ですか？ カタカナ ｶﾅ ひらがな",
    "Chinese": "什么是量子计算?量子计算的基本原理。",
    "Traditional": "甚麼是量子計算？繁體中文，標點「引號」。",
    "Rare Han": "𠀀𠮷𡃁𪚥 㐀 豈",
    "Egyptian": "𓀀𓂀𓃒 𐎀𐎁 𐌰𐌱",
}

CODE = [
    "def f(x):\n\treturn [i**2 for i in range(x) if i % 2 == 0]  # squares\n",
    '#include <stdio.h>\nint main(void) { printf("%d\\n", 0x1F); return 0; }\r\n',
    "SELECT a.*, COUNT(*) FROM t1 a LEFT JOIN t2 USING (id) WHERE a.x <> 'it''s' GROUP BY 1;",
    '{"key": [1, 2.5e-3, null, true], "ü": "\\u00e9"}',
    "<div class='a b'>&nbsp;<br/></div>\n\n\n   <p>x</p>",
    "    indented\n        more\n\t\ttabs\n \n  \n",
    "a=b+c;d-=e*f/g%h^i|j&k!~l<<m>>n",
    "https://example.org/a/b?c=d&e=%20f#g user@example.org C:\\Users\\x",
    "$\\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2}$",
    "import os,sys;print('x'*80)",
]

ODD = [
    "",
    " ",
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
    "word\n\nword\r\rword \n word\n ",
    "...\n\n---\r\n***  \n",
    " leading and trailing ",
    "<|not_a_token|> <| im_end |> < think > [PAD151669]",
    "MiXeD CaSe snake_case camelCase kebab-case SCREAMING_CASE",
    "1234567890 12,345.67 0x1f 1e-9 ½ ٣",
    "\u0301starts with a mark \u0e33\u0e4d",
    "\u1c89 \u1c89's \u1c89(a \U00011392.b \U000105c0\n \n letters of Unicode 16",
    "a\u07fd\u0301 \u0915\u09fe\u0301 marks younger than Unicode 9",
    "x\u20ddy\u20de \u0488\u0489",
    "\u115f\u1160\u3164\uffa0 fillers",
    "\U000e0041\U000e0042 tags \ufe00\U000e0100 selectors",
    "0" * 31 + "a" * 31 + " " * 31 + "b",
    "Zu\u0308rich Z\u00fcrich",
    "ﷺ ﷽ ꧁꧂ ௵ ᚠᛇᚻ ☃ ♞ ⠓⠑⠇⠇⠕ ㍿ ㋿",
]


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Returns strings drawn from all of Unicode, with letters, digits and spaces in between."""
    draw = random.Random(seed)
    everything = [c for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    assigned = [c for c in everything if unicodedata.category(chr(c)) not in ("Cn", "Co")]
    common = [ord(c) for c in "abcXYZ012 \n'.-é中の"]

    def one() -> str:
        length = draw.randint(1, 60)
        pools = draw.choices((assigned, everything, common), (5, 1, 4), k=length)
        return "".join(chr(draw.choice(pool)) for pool in pools)

    return [one() for _ in range(count)]


HARD_TEXTS = [*SCRIPTS.values(), *CODE, *ODD, *random_texts(250)]
"""A few hundred texts; the random ones are the same in every run."""

SENTENCES = [*SCRIPTS.values(), *CODE]
"""Texts of ordinary length, for comparing vectors."""
