"""A chapter in the terminal: Markdown as plain text of some width, formulas as text."""

from __future__ import annotations

import re
import textwrap
import unicodedata

# fmt: off
SYMBOLS = {
    "cdot": "·", "times": "×", "sum": "Σ", "prod": "Π", "partial": "∂", "infty": "∞", "to": "→", "mapsto": "↦",
    "leftarrow": "←", "rightarrow": "→", "Rightarrow": "⇒", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠",
    "neq": "≠", "approx": "≈", "sim": "~", "propto": "∝", "pm": "±", "in": "∈", "dots": "...", "ldots": "...",
    "cdots": "...", "odot": "⊙", "top": "⊤", "prime": "′", "ell": "l", "mid": "|", "lVert": "‖", "rVert": "‖",
    "|": "‖", "quad": "   ", "qquad": "      ", "equiv": "≡", "ll": "≪", "gg": "≫", "lfloor": "⌊", "rfloor": "⌋",
    "lceil": "⌈", "rceil": "⌉", "langle": "⟨", "rangle": "⟩", "circ": "∘", "forall": "∀", "otimes": "⊗", "min": "min",
    "max": "max", "log": "log", "ln": "ln", "exp": "exp", "lim": "lim", "sin": "sin", "cos": "cos", "tanh": "tanh",
    ",": " ", ";": " ", ":": " ", "!": "", "left": "", "right": "", "big": "", "Big": "", "bigl": "", "bigr": "",
    "displaystyle": "", "{": "⦃", "}": "⦄", "%": "%", "_": "_", "#": "#", "&": "&", "$": "$", " ": " ",
    "varepsilon": "ε", "nabla": "∇", "lambda": "λ", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Sigma": "Σ", "Phi": "Φ",
} | {name: unicodedata.lookup(f"GREEK SMALL LETTER {name}") for name in [
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "mu", "nu", "xi", "pi", "rho",
    "sigma", "tau", "phi", "chi", "psi", "omega"]}
ABOVE = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "dot": "\u0307", "widehat": "\u0302", "vec": "\u20d7"}
SUB = str.maketrans("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
SUPER = str.maketrans("0123456789+-=()niT⊤′", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱᵀᵀ′")
SMALL = {*map(chr, SUB.values()), *map(chr, SUPER.values()), *ABOVE.values()}  # what may follow a letter
# fmt: on
WRITTEN = {"\2": "_", "\3": "^"}  # scripts that have no small letters: done, not to be looked at again
ARGUMENT = r"(?:\{([^{}]*)\}|\s*([^\s{}\\]))"  # {...} without braces in it, or one character


def formula(tex: str) -> str:
    r"""A formula as text: \frac{a+b}{2} is (a+b)/2."""
    tex = re.sub(r"\\(?:begin|end)\{\w+\*?\}", "", tex).replace("\\\\", "\n")
    tex = re.sub(r"(?<!\\)&\s*", "", tex)
    tex = re.sub(r"\\([A-Za-z]+|[^A-Za-z\s\\])", lambda m: SYMBOLS.get(m[1], m[0]), tex)
    tex = re.sub(r"\\[dt]frac", r"\\frac", tex)
    before = None
    while tex != before:  # from the innermost braces outwards
        before = tex
        tex = re.sub(r"\\(?:text|mathrm|operatorname|mathbf|mathit|boldsymbol|texttt|mathcal)\{([^{}]*)\}", r"\1", tex)
        tex = re.sub(rf"\\(\w+){ARGUMENT}", lambda m: _argument(m, 2) + ABOVE[m[1]] if m[1] in ABOVE else m[0], tex)
        tex = re.sub(rf"([_^]){ARGUMENT}", _script, tex)
        tex = re.sub(rf"\\sqrt{ARGUMENT}", lambda m: "√" + _group(_argument(m, 1)), tex)
        tex = re.sub(rf"\\frac{ARGUMENT}{ARGUMENT}", _fraction, tex)
    for mark, text in {"{": "", "}": "", "⦃": "{", "⦄": "}", **WRITTEN}.items():
        tex = tex.replace(mark, text)
    lines = tex.split("\n")
    return "\n".join(re.sub(r"(?<=\S)\s{4,}", "    ", " ".join(line.split(" "))).strip() for line in lines).strip()


def _argument(found: re.Match, first: int) -> str:
    return found[first] if found[first] is not None else found[first + 1]


def _group(text: str) -> str:
    """In parentheses, unless it is one word."""
    whole = re.fullmatch(r"[^\s+\-·×/=]+", text) or re.fullmatch(r"\([^()]*\)", text)
    return text if whole else f"({text.strip()})"


def _fraction(found: re.Match) -> str:
    above, below = _argument(found, 1), _argument(found, 3)
    # 1/2h would be half of h. A number, a letter with what belongs to it, or a root needs no parentheses.
    single = re.fullmatch(r"√?\([^()]*\)|[\d.]+", below) or SMALL.issuperset(below[1:])
    return f"{_group(above)}/{below if single else f'({below.strip()})'}"


def _script(found: re.Match) -> str:
    inside, table = _argument(found, 2), SUB if found[1] == "_" else SUPER
    if "\\" in inside:
        return found[0]
    text = re.sub(rf"([_^]){ARGUMENT}", _script, inside)
    if all(ord(c) in table for c in text.replace(" ", "")):
        return text.replace(" ", "").translate(table)
    mark = next(mark for mark, written in WRITTEN.items() if written == found[1])
    return f"{mark}{text if len(text) == 1 else f'({text})'}"


def page(markdown: str, width: int = 80) -> str:
    """The whole page. Code stays as it is."""
    shown = []
    for number, part in enumerate(re.split(r"^```\w*\n(.*?)^```\n", markdown, flags=re.MULTILINE | re.DOTALL)):
        if number % 2:
            shown.append(textwrap.indent(part.rstrip(), "    "))
        else:
            part = re.sub(r"\$\$(.+?)\$\$", lambda m: f"\n\n\0{formula(m[1])}\n\n", part, flags=re.DOTALL)
            shown += [_block(block, width) for block in re.split(r"\n\s*\n", part.strip("\n")) if block.strip()]
    return "\n\n".join(block for block in shown if block) + "\n"


def _block(block: str, width: int) -> str:
    """A paragraph, a list, a heading, a picture, a formula, a table, or code that is indented."""
    if block.startswith("\0"):
        return textwrap.indent(block[1:], "        ")
    if block.startswith(("    ", "|")):
        return block if block.startswith("    ") else inline(block)
    if source := re.fullmatch(r"<!-- source: (\S+) (.+?) -->", block.strip()):
        return f"--- {source[1]}: {source[2]}"
    if heading := re.match(r"(#+) (.*)", block):
        line = inline(heading[2])
        return f"{line}\n{('=' if len(heading[1]) == 1 else '-') * len(line)}"
    if picture := re.match(r"!\[(.*?)\]\((.*?)\)", block):
        return textwrap.fill(f"[{picture[1]}: docs/course/{picture[2]}]", width)
    items = re.split(r"\n(?=(?:[-*]|\d+\.) )", block)
    return "\n".join(_item(item, width) for item in items)


def _item(text: str, width: int) -> str:
    marker = re.match(r"(?:[-*]|\d+\.) +", text)
    indent = " " * len(marker[0]) if marker else ""
    return textwrap.fill(inline(" ".join(text.split())), width, subsequent_indent=indent, break_on_hyphens=False)


def _link(found: re.Match) -> str:
    """What is shown, and where it leads, if that is not the same."""
    return found[1] if found[2].endswith(found[1].strip("`")) else f"{found[1]} ({found[2]})"


def inline(text: str) -> str:
    """Without the marks of Markdown: `code` and links keep what a reader needs."""
    text = re.sub(r"(?<![\\$])\$([^$]+)\$", lambda m: formula(m[1]).replace("*", "\1"), text)
    text = re.sub(r"\[([^\]]+)\]\(([^)]+)\)", _link, text)
    text = re.sub(r"(?<![\w*])\*\*?([^*\s][^*]*?)\*\*?(?![\w*])", r"\1", text)
    return text.replace("`", "").replace("\1", "*")
