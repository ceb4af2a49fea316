"""How the report looks, beside what it has from the page of llm.data (llm/data/lab/page/style.py)."""

from __future__ import annotations

from llm.data.lab.page.html import Html

MORE_STYLE = Html("""
.columns > div { min-width: 0; }
.columns h3 { margin: 0 0 10px; overflow-wrap: anywhere; }
.cards { margin: 12px 0; }
.heads { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; }
.heads figure { margin: 0; } figcaption { font-size: 12px; color: var(--quiet); }
.pixels { width: 100%; image-rendering: pixelated; background: #fff; border: 1px solid var(--line); }
.scroll { overflow-x: auto; } td b { color: var(--kept); } code { overflow-wrap: anywhere; }
.ignored { color: var(--quiet); }
h1 { overflow-wrap: anywhere; }
.facts thead th:nth-child(2) { text-align: right; }
.legend span { display: inline-block; margin-right: 6px; }
.facts td { white-space: normal; overflow-wrap: anywhere; }
""")
