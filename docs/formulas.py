"""LaTeX to MathML, which browsers show without a script: for the site and for the slides."""

import re
from html import escape
from importlib.resources import files

from latex2mathml.converter import convert

# Without a font for formulas, braces and brackets would not grow. Few Linux machines have one, so one is included.
FONT = files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf"

# What latex2mathml does not know, or displays badly, in commands that it knows.
REWRITE = {
    r"\\arg\s*\\(max|min)(?![a-zA-Z])": r"\\arg\1 ",
    r"\\arg(?![a-zA-Z])": r"\\operatorname{arg}\\,",
    r"\\operatorname\*?\{": r"\\,\\mathrm{",
    r"(?<!\\left)(?<!\\right)\\[lr]Vert(?![a-zA-Z])": r"\\|",  # or the left bar of a norm grows and the right one does not
    r"(?<!\\left)(?<!\\right)\\[lr]vert(?![a-zA-Z])": "|",
    r"\\(log|ln|exp)\s+(?=[a-zA-Z0-9])": r"\\\1\\, ",
    r"\{aligned\}": "{align*}",
}


def mathml(tex: str, block: bool = False) -> str:
    """The formula as <math> that keeps its LaTeX as alternative text; ValueError if a command is not understood."""
    if not block:
        return element(tex, "inline")
    parts = tex.split(r"\qquad")  # separate elements, so that a narrow window can stack them ...
    for opening, closing in (r"\{", r"\}"), (r"\\left\b", r"\\right\b"), (r"\\begin\b", r"\\end\b"):
        if any(len(re.findall(opening, part)) != len(re.findall(closing, part)) for part in parts):
            parts = [tex]  # ... unless the space is inside something
    return f'<div class="formula">{"".join(element(part, "block") for part in parts)}</div>'


def element(tex: str, display: str) -> str:
    known = tex
    for pattern, words in REWRITE.items():
        known = re.sub(pattern, words, known)
    html = convert(known, display=display)
    html = html.replace("<mo>&#x02202;</mo>", "<mi>&#x02202;</mi>")  # as an operator, ∂ would stand apart
    if left_over := re.search(r">[^<]*(\\|&amp;)[^<]*<", html):
        raise ValueError(f"cannot turn into MathML: {left_over[0][1:-1]} in {tex}")
    return html.replace("<math ", f'<math alttext="{escape(" ".join(tex.split()))}" ', 1)


def glue(html: str) -> str:
    """Keep a comma or bracket on the same line as the formula before it."""
    return re.sub(r"<math (?:(?!</math>).)*</math>[^\s<]+", r'<span class="glued">\g<0></span>', html)
