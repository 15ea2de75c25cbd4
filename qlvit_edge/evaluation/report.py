"""Building blocks of a self-contained HTML page: no script, nothing fetched, all text escaped.

Pictures are inside the page as data URIs, so it can be mailed, kept, and opened on a
microscope without a network.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light; --ink: #1b2733; --soft: #5b6b7a; --line: #dfe5ea; --blue: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 .8rem; }
.lead { color: var(--soft); margin: 0 0 1rem; overflow-wrap: anywhere; }
.notice { border-left: 4px solid #d55e00; background: #fff4ec; padding: .6rem .9rem;
  border-radius: 0 6px 6px 0; margin: 0 0 1rem; }
.verdict { border-radius: 8px; padding: .9rem 1.1rem; margin: 0 0 1rem; color: #fff;
  overflow-wrap: anywhere; }
.verdict b { display: block; font-size: 1.35rem; line-height: 1.3; }
.verdict.good { background: #00704f; } .verdict.bad { background: #a8390a; }
.verdict.less { background: #7a5200; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .7rem;
  margin-bottom: 1rem; }
.tile { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.4rem; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; }
.tile.good b { color: #00704f; } .tile.bad b { color: #b34700; }
section { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 1rem;
  margin-bottom: 1rem; }
section p { margin: 0 0 .7rem; } section p:last-child { margin-bottom: 0; }
table.checks td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.checks td:first-child { width: 8.5rem; min-width: 0; font-weight: 600; white-space: nowrap; }
table.checks td:nth-child(2) { width: 12rem; overflow-wrap: normal; }
.good td:first-child { color: #00704f; } .bad td:first-child { color: #b34700; }
.less td:first-child { color: #7a5200; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; font-size: .85rem; }
td, th { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 6.5rem; }
.scroll, table.pairs { margin-bottom: .8rem; }
table.boxed { background: #fff; border: 1px solid var(--line); border-radius: 8px;
  border-collapse: separate; border-spacing: 0; margin-bottom: 1rem; }
table.pairs td { text-align: left; overflow-wrap: anywhere; white-space: normal; }
table.pairs td:first-child { color: var(--soft); width: 12rem; overflow-wrap: normal; }
tr:last-child td { border-bottom: 0; }
.drawings { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: 1.6rem 1.2rem; align-items: start; margin: 1rem 0 1.2rem; }
.drawings svg { width: 100%; height: auto; display: block; margin: 0 auto; font-family: inherit;
  font-variant-numeric: tabular-nums; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .8rem; }
.strips { display: grid; gap: 1.2rem .9rem; margin-bottom: .4rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); }
.strip > div { display: flex; gap: .4rem; } .strip span { flex: 1 1 0; min-width: 0; }
.strip span small { display: block; color: var(--soft); font-size: .75rem; text-align: center; }
figure { margin: 0; } figure img { width: 100%; aspect-ratio: 1; object-fit: contain;
  background: #eef1f4; border-radius: 6px; display: block; }
figcaption { font-size: .85rem; margin-top: .3rem; overflow-wrap: anywhere; }
figcaption small { color: var(--soft); display: block; }
footer { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
@media (max-width: 30rem) { main { padding: 1rem .6rem 2rem; } section { padding: .8rem .7rem; }
  th, td { padding: .3rem .4rem; } table.pairs td:first-child { width: 7.5rem; }
  table.checks tr { display: block; border-bottom: 1px solid var(--line); padding: .4rem 0; }
  table.checks td { border: 0; display: inline; padding: 0 .4rem 0 0; }
  table.checks td:nth-child(3) { display: block; } }
@media print { .verdict { color: #000; border: 2px solid #000; } body { background: #fff; }
  section, .tile { break-inside: avoid; } }
"""


def page(title: str, lead: str, blocks: Sequence[str]) -> str:
    """Return a whole HTML document; `blocks` come from the other functions here."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n'
        + "\n".join(blocks)
        + "\n</main>\n</body>\n</html>\n"
    )


def verdict(outcome: str, sentence: str, mood: str) -> str:
    """Return the first thing to read: an outcome and its reason.

    Args:
        outcome: in a word or two.
        sentence: the reason.
        mood: `good`, `bad` or `less`, which colours it.
    """
    word = f"{outcome[:1].upper()}{outcome[1:]}"
    return f'<p class="verdict {escape(mood)}"><b>{escape(word)}</b>{escape(sentence)}</p>'


def notice(text: str) -> str:
    """Return a paragraph that must not be overlooked."""
    return f'<p class="notice">{escape(text)}</p>'


def tiles(entries: Sequence[tuple[str, str, str]]) -> str:
    """Return figures in large print: (figure, what it is, `good`, `bad` or empty)."""
    boxes = "".join(
        f'<div class="tile {escape(mood)}"><b>{escape(figure)}</b><span>{escape(name)}</span></div>'
        for figure, name, mood in entries
    )
    return f'<div class="tiles">{boxes}</div>'


def section(title: str, *blocks: str) -> str:
    """Return a titled box around blocks."""
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(blocks) + "\n</section>"


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is text, the others are figures."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def pairs(entries: Sequence[tuple[str, str]], *, boxed: bool = False) -> str:
    """Return a table of names and their values in words, in a box of its own if asked."""
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in entries
    )
    kind = "pairs boxed" if boxed else "pairs"
    return f'<table class="{kind}">{body}</table>'


def checks(entries: Sequence[tuple[str, str, str, str]]) -> str:
    """Return what was examined: (mood as of `verdict`, how it came out, what, the finding)."""
    body = "".join(
        f'<tr class="{escape(mood)}">{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for mood, *cells in entries
    )
    return f'<table class="checks">{body}</table>'


def drawings(entries: Sequence[str]) -> str:
    """Return drawings side by side: `<svg>` elements of `qlvit_edge.evaluation.svg`."""
    return f'<div class="drawings">{"".join(entries)}</div>'


def cards(entries: Sequence[tuple[bytes, str, str]]) -> str:
    """Return small JPEG pictures with two lines below each: (JPEG, line, smaller line)."""
    figures = "".join(
        f'<figure><img src="{_data_uri(content, "jpeg")}" alt="{escape(line)}">'
        f"<figcaption>{escape(line)}<small>{escape(small)}</small></figcaption></figure>"
        for content, line, small in entries
    )
    return f'<div class="cards">{figures}</div>'


def strips(entries: Sequence[tuple[Sequence[tuple[bytes, str]], str, str]]) -> str:
    """Return several JPEG pictures in a row, with two lines below each row.

    Args:
        entries: of each row its pictures with what each shows, a line, and a smaller line.
    """
    figures = "".join(
        '<figure class="strip"><div>'
        + "".join(
            f'<span><img src="{_data_uri(content, "jpeg")}" alt="{escape(what)}, {escape(line)}">'
            f"<small>{escape(what)}</small></span>"
            for content, what in pictures
        )
        + f"</div><figcaption>{escape(line)}<small>{escape(small)}</small></figcaption></figure>"
        for pictures, line, small in entries
    )
    return f'<div class="strips">{figures}</div>'


def footer(text: str) -> str:
    """Return the last line of the page."""
    return f"<footer>{escape(text)}</footer>"


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
