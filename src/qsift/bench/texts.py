"""Texts that tokenizers stumble over and models differ on: many scripts, code, and characters from all of Unicode."""

from __future__ import annotations

import random
import sys
import unicodedata
from itertools import pairwise

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
"""A sentence in each script."""

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
"""Source text, markup and addresses."""

SENTENCES = [*SCRIPTS.values(), *CODE]
"""Texts of ordinary length."""

UNUSUAL = [
    "",
    " ",
    " leading and trailing ",
    "👍👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇨🇳 ❤️ ☺︎ 1️⃣",
    "Zu\u0308rich Z\u00fcrich, \u1112\u1161\u11ab\u1100\u1173\u11af 한글",
    "soft\u00adhyphen no\u00a0break\u2009thin\u3000ideographic \u200b\u200c\u200d zero width",
    "1234567890 12,345.67 0x1f 1e-9 ½ ٣",
    "it's It'S IT'S i'll I'LL we've WE'VE don't",
    "word\n\nword\r\rword \n word\n ",
]
"""What an older tokenizer, or one without NFC, reads differently."""


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Returns strings drawn from all of Unicode, with letters, digits and spaces in between.

    They are the same in every run of one Python; which characters are assigned is its own version of Unicode.
    """
    draw = random.Random(seed)
    everything = [c for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    assigned = [c for c in everything if unicodedata.category(chr(c)) not in ("Cn", "Co")]
    common = [ord(c) for c in "abcXYZ012 \n'.-é中の"]

    def one() -> str:
        length = draw.randint(1, 60)
        pools = draw.choices((assigned, everything, common), (5, 1, 4), k=length)
        return "".join(chr(draw.choice(pool)) for pool in pools)

    return [one() for _ in range(count)]


def sample() -> list[str]:
    """Returns 240 texts: sentences, each joined to the next, each to its middle, unusual ones and random ones."""
    joined = [f"{a}\n{b}" for a, b in pairwise(SENTENCES)]
    halves = [text[: len(text) // 2] for text in SENTENCES]
    texts = [*SENTENCES, *joined, *halves, *UNUSUAL]
    return texts + random_texts(240 - len(texts))
