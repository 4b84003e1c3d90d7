r"""One way to write a final answer, so that answers of any model and data set can be compared.

:func:`plain_notation` rewrites what has several spellings and one meaning. Each rule is a
line of :data:`_RULES`. What is left is LaTeX: ``\frac{1}{2}``, ``\text{cm}``, ``\ldots``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

_Replacement = str | Callable[[re.Match[str]], str]

_SIGNS = {
    "\u2212": "-", "\u2013": "-", "\u2010": "-", "\u2011": "-", "\ufe63": "-",
    "\u00d7": r"\times ", "\u00b7": r"\cdot ", "\u22c5": r"\cdot ", "\u2217": "*", "\u00f7": "/",
    "\u2044": "/", "\u2215": "/", "\u00b1": r"\pm ", "\u2213": r"\mp ", "\u221e": r"\infty ",
    "\u2264": r"\le ", "\u2265": r"\ge ", "\u2a7d": r"\le ", "\u2a7e": r"\ge ",
    "\u2260": r"\neq ", "\u2248": r"\approx ", "\u222a": r"\cup ", "\u2229": r"\cap ",
    "\u2208": r"\in ", "\u2205": r"\emptyset ", "\u00d8": r"\emptyset ", "\u2026": r"\ldots ",
    "\u22ef": r"\ldots ", "\u00b0": r"^\circ ", "\u00ba": r"^\circ ",
    "\u2032": "'", "\u2019": "'", "\u2018": "'",
    "\u201c": '"', "\u201d": '"', "\u211d": r"\mathbb{R}", "\u2124": r"\mathbb{Z}",
    "\u27e8": r"\langle ", "\u27e9": r"\rangle ", "\u2216": r"\setminus ",
    "\u066b": ".", "\u066c": ",", "\uff04": "$", "\u2228": r"\lor ",
    "\u2227": r"\land ", "\u2030": r"\permil ",
}  # fmt: skip
_GREEK = {
    unicodedata.lookup(f"GREEK SMALL LETTER {name}"): rf"\{name.lower()} "
    for name in (
        "ALPHA", "BETA", "GAMMA", "DELTA", "EPSILON", "ZETA", "ETA", "THETA", "IOTA", "KAPPA",
        "MU", "NU", "XI", "PI", "RHO", "SIGMA", "TAU", "PHI", "CHI", "PSI", "OMEGA",
    )
} | {"\u03bb": r"\lambda "}  # fmt: skip
_TABLE = str.maketrans({sign: text for sign, text in (_SIGNS | _GREEK).items() if len(sign) == 1})
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ", "0123456789+-ni")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉ₙ", "0123456789n")

_RULES: tuple[tuple[str, _Replacement], ...] = (
    # The solution of a system, but not a function by cases.
    (r"\\begin\{cases\}((?:(?!\\begin|\\text|\\mbox|&|\bif\b).)+)\\end\{cases\}",
     lambda match: re.sub(r"\s*,?\s*\\\\(?:\[[^\]]*\])?\s*", ", ", match[1].strip(" \\"))),
    # Marks that carry no meaning.
    (r"(?<!\\)(?:\\[()\[\]]|\$)", " "),
    (r"(?<=[\w)}\]])\*\*(?=[\w({\-\\])", "^"),  # a power in code, unlike **bold**
    (r"\*\*|`|\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|hfill)(?![A-Za-z])", ""),
    (r"\\(?:m?left|m?right|[bB]igg?[lrm]?)(?![A-Za-z])\s*\.?", ""),
    (r"\\(?:lvert|rvert|vert|mid)(?![A-Za-z])", "|"),
    (r"\\(?:lbrace)(?![A-Za-z])", r"\\{"),
    (r"\\(?:rbrace)(?![A-Za-z])", r"\\}"),
    (r"\\(?:lbrack)(?![A-Za-z])", "["),
    (r"\\(?:rbrack)(?![A-Za-z])", "]"),
    # White space of all kinds; a thin one between digits parts thousands.
    (r"\\!\s*", ""),
    (r"(?<=\d)(?:\\[,;:]|\{,\}|\\ |~|')(?=\d{3}(?!\d))", ","),
    (r"\\(?:quad|qquad|enspace|thinspace|medspace|newline)(?![A-Za-z])|(?<!\\)\\[,;: ]|~"
     r"|\\hspace\*?\{[^{}]*\}|\\(?=\n)", " "),
    (r"\\(?:text)?color\s*(?:\[[^\]]*\]\s*)?\{[^{}]*\}|\\(?:ensuremath|num)(?=\s*\{)", ""),
    (r"\\(?:SI|qty)\s*(?:\[[^\]]*\]\s*)?\{([^{}]*)\}\s*\{([^{}]*)\}"
     r"|\\(?:si|unit)\s*\{([^{}]*)\}",
     lambda match: (match[1] or "") + rf" \text{{{(match[2] or match[3]).replace(chr(92), ' ')}}}"),
    # Text commands are \text; a label's is part of its name.
    *[(r"(\\(?:text(?:rm)?|mathrm|rm)\s*\{[^{}]*)\^\s*\{\s*(-?\d)\s*\}", r"\1^\2")] * 3,
    (r"\\(?:text(?:bf|it|rm|normal|sf|tt|up|sc)?|mathrm|mathbf|mathit|mathsf|mathtt|mbox|hbox"
     r"|boldsymbol|bm|operatorname\*?|textup|emph|underline|pmb)\s*\{(?:\\(?:bf|rm|it)\s)?"
     r"\s*([^{}]*?)\s*\}", lambda match: rf"\text{{{match[1]}}}"),
    (r"\{?\\(?:rm|bf|it)\s+([^{}]*)\}", r"\\text{\1}"),
    (r"\\text\{\\text\{([^{}]*)\}\}", r"\\text{\1}"),
    (r"_\s*\{\s*\\text\{(\w+)\}\s*\}|_\s*\\text\{(\w+)\}",
     lambda match: f"_{{{match[1] or match[2]}}}"),
    (r"\\text\{\s*\}", ""),
    (r"\\text\{(\^?\s*\\circ|\\\$|[€£¥])\s*\}", r"\1 "),
    (r"\\text\{([^{}]*)\}\s*/\s*\\text\{", r"\\text{\1/"),
    (r"(?<=[\d})])\s*\\frac\s*\{\s*\\text\{([^{}]*)\}\s*\}\s*"
     r"\{\s*\\text\{([^{}]*)\}(?:\s*\^\s*\{?\s*(\d)\s*\}?)?\s*\}",
     lambda match: rf" \text{{{match[1]}/{match[2]}{match[3] or ''}}}"),
    (r"(?<=\d)\s*\\mu\s*\\text\{\s*([a-zA-Z]+)\s*\}|\\text\{\s*\\mu\s*([a-zA-Z]+)\s*\}",
     lambda match: rf" \text{{u{match[1] or match[2]}}}"),
    (r"(?<=\d)\s*(?:\\text\{\s*([kMG]?)\s*\}\s*)?\\Omega\s*$"
     r"|\\text\{\s*([kMG]?)\s*\\Omega\s*\}",
     lambda match: rf" \text{{{match[1] or match[2] or ''}ohm}}"),
    (r"\\text\{([\d.,]+)\}", r"\1"),
    (r"\\text\{(sin|cos|tan|cot|csc|log|ln|exp|arcsin|arccos|arctan|gcd|max|lcm)\}"
     r"|(?<![\d})])(?<![\d})] )\\text\{(sec|min)\}",  # but 15 minutes, 5 seconds
     lambda match: rf"\{match[1] or match[2]} "),
    (r"\\text\{([ied])\}", r"\1"),
    (r"\\imath(?![A-Za-z])", "i"),
    # Commands with several names.
    (r"\\(?:[dtcs]|nice)frac(?![A-Za-z])", r"\\frac"),
    (r"\\(?:dots[a-z]?|cdots|ldots)(?![A-Za-z])", r"\\ldots "),
    (r"\\(?:lt)(?![A-Za-z])", "<"),
    (r"\\(?:gt)(?![A-Za-z])", ">"),
    (r"\\(?:leqslant|leqq|leq)(?![A-Za-z])|<=", r"\\le "),
    (r"\\(?:geqslant|geqq|geq)(?![A-Za-z])|>=|=>(?=\s*[-\d])", r"\\ge "),
    (r"\\(?:ne|not\s*=)(?![A-Za-z])|!=|/=", r"\\neq "),
    (r"\\(?:simeq|approxeq|thickapprox)(?![A-Za-z])", r"\\approx "),
    (r"\\(?:varnothing|empty)(?![A-Za-z])|(?<!\S)\\\{\s*\\\}(?!\S)|\\text\{[Øø]\}",
     r"\\emptyset "),
    (r"\\(?:mathbf|mathds|Bbb)\s*\{?R\}?|\\text\{R\}(?=\s*(?:$|\\setminus))|\\mathbb\s+R"
     r"|\\R(?![A-Za-z])|\\Reals?(?![A-Za-z])", r"\\mathbb{R}"),
    (r"\\backslash(?![A-Za-z])", r"\\setminus "),
    (r"\\(?:vee)(?![A-Za-z])", r"\\lor "),
    (r"\\(?:wedge)(?![A-Za-z])", r"\\land "),
    (r"\\(?:var)(epsilon|phi|theta|rho)(?![A-Za-z])", r"\\\1"),
    (r"\\(?:ast)(?![A-Za-z])", "*"),
    (r"\^\s*\{\s*((?:(?:\\prime|')\s*)+)\}|\^\s*(\\prime)(?![A-Za-z])|\\prime(?![A-Za-z])",
     lambda match: "'" * len(re.findall(r"\\prime|'", match[0]))),
    (r"(\\(?:sin|cos|tan|cot|sec|csc)\s*[({]?\s*)(\d+(?:\.\d+)?)\s*\^?\s*\{?\s*\\(?:circ|degree)\s*\}?",
     r"\1\\frac{\2 \\pi }{180}"),
    (r"\^?\s*\{?\s*\^?\s*\\(?:circ|degree)(?![A-Za-z])\s*\}?(?:\s*(?:\\text\{([CFK])\}|([CFK])\b))?",
     lambda match: rf" \text{{degrees {match[1] or match[2] or ''}}}".replace(" }", "}")),
    (r"\\(?:mathdollar|textdollar)(?![A-Za-z])", r"\\$"),
    (r"\\(?:pounds|textsterling)(?![A-Za-z])", "£"),
    (r"\\(?:euro|texteuro)(?![A-Za-z])(?:\{\})?", "€"),
    (r"\\log\s*_\s*(?:e(?![A-Za-z])|\{\s*e\s*\})", r"\\ln "),
    (r"(?:\{\s*\})?\s*[_^]\s*\{?\s*(\w+)\s*\}?\s*(?:\\text\{C\}|C)\s*_\s*\{?\s*(\w+)\s*\}?",
     r"\\binom{\1}{\2}"),
    # Words around an answer: a choice, a ratio, an ordinal number, an estimate, any integer.
    (r"^(\\text\{\s*)?(?i:option|choice)\s*:?\s+(?=\(?[A-Z]\b)", lambda match: match[1] or ""),
    (r"^(\d+) to (\d+)$", r"\1:\2"),
    (r"^(?:the )?(\d+)\s*(?:\^\s*)?\{?\s*(?:\\text\{\s*)?(?:st|nd|rd|th)\s*\}?\s*\}?$", r"\1"),
    (r"^(?i:approximately|approx\.?|about|roughly|around)\s+(?=[-+\d.\\$€£¥])"
     r"|^\\text\{\s*(?i:approximately|approx\.?|about|roughly|around)\s*\}", ""),
    (r"[,;]\s*(?:\\text\{\s*(?:where|for|with)(?: all| any| some)?\s*\}\s*)?"
     r"\(?\s*[a-z]\s*\\in\s*\\(?:mathbb\s*\{?\s*)?Z\s*\}?\s*\)?$", ""),
    # Numbers, functions and products as code and plain text write them.
    (r"(?<![\w.}^])([-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+))[eE]\+?(-?\d+)(?![\w.])",
     r"\1 \\times 10^{\2}"),
    (r"\b(?:np|numpy|math)\.(?=[a-z])", r"\\"),
    (r"(?<![\\A-Za-z])(sin|cos|tan|cot|sec|csc|log|ln|exp|arcsin|arccos|arctan)(?=\s*\()", r"\\\1"),
    (r"\u221a\s*(?=\{)", r"\\sqrt"),
    (r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
    (r"\\sqrt\s*\(([^()]*)\)(?!\^)", r"\\sqrt{\1}"),
    (r"\u221a\s*\(([^()]*)\)|\u221a\s*(\d+(?:\.\d+)?|[A-Za-z])",
     lambda match: rf"\sqrt{{{match[1] or match[2]}}}"),
    (r"\u221b\s*\(([^()]*)\)|\u221b\s*(\d+|[A-Za-z])",
     lambda match: rf"\sqrt[3]{{{match[1] or match[2]}}}"),
    (r"\\sqrt\s*(\d|[A-Za-z])", r"\\sqrt{\1}"),
    (r"(?<![\\A-Za-z])(?:pi)(?![A-Za-z])", r"\\pi "),
    (r"(?<![\\A-Za-z])(?:infinity|inf|oo)(?![A-Za-z])|\\text\{infinity\}", r"\\infty "),
    (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
    (r"\\frac\s*(\d|[A-Za-z])\s*\{", r"\\frac{\1}{"),
    (r"(\\frac\s*\{[^{}]*\})\s*(\d|[A-Za-z])", r"\1{\2}"),
    (r"\{\s*([^{}]*?)\s*\\choose(?![A-Za-z])\s*([^{}]*?)\s*\}"
     r"|^([^{}]*?)\s*\\choose(?![A-Za-z])\s*([^{}]*)$|^(\w+) choose (\w+)$",
     lambda match: r"\binom" + "".join(
         rf"{{{part}}}" for part in match.groups() if part is not None)),
    (r"\\overline\s*(\d)|(?<=[\d.])\s*\\bar\s*\{?(\d+)\}?",
     lambda match: rf"\overline{{{match[1] or match[2]}}}"),
    (r"\{:\}", ":"),
    (r"(?<![\w.])(\d+)\.(?=\s*(?:/|$))", r"\1"),
    (r"(?<=[_^])\s*\{\s*(\w)\s*\}", r"\1"),
    # The imaginary unit stands apart: the parser takes the i of 5i for another symbol.
    (r"(?<=[\d})])i(?![A-Za-z])", " i"),
    (r"(?<=\d)i(?=[a-mo-z](?![A-Za-z]))", " i "),
    # "and", "or" in math are words like others.
    (r"\\text\{(and|or)\}|\\text\{,\s*(and|or)\}", lambda match: f" {match[1] or match[2]} "),
    (r"\\lor(?![A-Za-z])", " or "),
    (r"\\text\{,\}", ","),
    (r"\s+", " "),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern), replacement) for pattern, replacement in _RULES)
_DOTS = re.compile(r"(?<!\.)\.{3}(?!\.)")
_TRAILING = re.compile(r"(?:\s|\\[,;:]|\\$|[.,;:])+$")
_LEADING = re.compile(r"^(?:\s|[:=]|\\approx(?![A-Za-z]))+(?!$)")
_VULGAR = re.compile("[\u00bc-\u00be\u2150-\u215e]")
_RAISED, _LOWERED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ]+"), re.compile("[₀₁₂₃₄₅₆₇₈₉ₙ]+")
_LOOSE_SPACE = re.compile(r"\s+(?=\W|$)|(?<=\W)\s+|(?<=[A-Za-z])\s+(?=\d)")
_ITALIC = re.compile(r"([*_])([^\s*_](?:[^*_]*[^\s*_])?)\1")
_MICRO = re.compile(r"(?<=\d)\s*[\u03bc\u00b5](?=[A-Za-z])")
_WRAPPED = re.compile(r"\{([^{}]*)\}|\\text\{([^{}]*)\}")


@lru_cache(maxsize=4096)
def plain_notation(text: str) -> str:
    """An answer in the one notation of this module."""
    text = " ".join(text.split())  # the rules are slow on long runs of blanks
    text = _VULGAR.sub(_vulgar_fraction, text)
    text = _MICRO.sub(" u", text)
    text = _RAISED.sub(lambda run: f"^{{{run[0].translate(_SUPERSCRIPTS)}}}", text)
    text = _LOWERED.sub(lambda run: f"_{{{run[0].translate(_SUBSCRIPTS)}}}", text)
    text = unicodedata.normalize("NFKC", text.translate(_TABLE))
    if r"\begin" not in text:  # the & and \\ of a matrix have a meaning
        text = re.sub(r"(?<!\\)&|\\\\(?![A-Za-z])", " ", text)
        text = re.sub(r"\\\\(?=[A-Za-z])", r"\\", text)
    text = _trimmed(_DOTS.sub(r"\\ldots ", text))
    for pattern, replacement in _COMPILED:
        text = pattern.sub(replacement, text)
    return _trimmed(text)


def bare(text: str) -> str:
    """Plain notation without text commands and loose white space."""
    text = _WRAPPED.sub(lambda match: match[0] if match[2] is None else match[2], text)
    return _LOOSE_SPACE.sub("", text).strip()


def _trimmed(text: str) -> str:
    """Without the punctuation and the braces around all of it."""
    while True:
        before = text
        text = _LEADING.sub("", _TRAILING.sub("", text)).strip()
        if (match := _WRAPPED.fullmatch(text)) and match[1] is not None:
            text = match[1]
        if (match := _ITALIC.fullmatch(text)) is not None:
            text = match[2]
        if text == before:
            return text


def _vulgar_fraction(match: re.Match[str]) -> str:
    above, _, below = unicodedata.normalize("NFKC", match[0]).partition("\u2044")
    return rf"\frac{{{above}}}{{{below}}}"
