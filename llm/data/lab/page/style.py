"""How the page looks: at a desk, on a phone, in the dark, on paper."""

from __future__ import annotations

from llm.data.lab.page.html import Html

STYLE = Html("""
:root { color-scheme: light dark; --page: #fbfaf7; --card: #ffffff; --text: #23262d; --quiet: #626873; --line: #dcd9d0;
  --kept: #2a5a9c; --dropped: #d9622b; --dropped-text: #b34712; --ins: #fbe3d4; --del: #dbe7f6; }
@media (prefers-color-scheme: dark) { :root { --page: #16181c; --card: #1f2227; --text: #e6e4df; --quiet: #a2a6ae;
  --line: #383c44; --kept: #6f9fe0; --dropped: #ee8a58; --dropped-text: #ee8a58; --ins: #5a3220; --del: #23395a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 16px 0 0; letter-spacing: -0.02em; }
h2 { font-size: 22px; margin: 40px 0 12px; padding-top: 12px; border-top: 3px solid var(--text); }
h3 { font-size: 18px; margin: 36px 0 10px; }
h4 { font-size: 15px; margin: 0 0 4px; overflow-wrap: anywhere; }
small, .note, footer, .figure span, .legend { color: var(--quiet); font-size: 13px; font-weight: normal; }
h2 small, h4 small { margin-left: 6px; overflow-wrap: anywhere; }
.note { overflow-wrap: anywhere; margin: 6px 0; }
.about { font-size: 14px; margin: 2px 0; }
.figures { display: flex; flex-wrap: wrap; gap: 10px 44px; margin: 8px 0 14px; }
.figure b { display: block; font-size: 34px; line-height: 1.15; font-weight: 600; font-variant-numeric: tabular-nums; }
.figure span { display: block; }
.figure.kept b { color: var(--kept); }
.figure.dropped b { color: var(--dropped-text); }
.bar { display: flex; height: 12px; background: var(--line); border-radius: 3px; overflow: hidden; }
.bar.whole { height: 18px; }
.bar i { display: block; height: 100%; }
i.kept { background: var(--kept); }
i.dropped { background: var(--dropped); }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 5px 8px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap;
  font-variant-numeric: tabular-nums; }
th:first-child { text-align: left; padding-left: 0; white-space: normal; overflow-wrap: anywhere; }
tbody th { font-weight: 500; }
thead th { color: var(--quiet); font-weight: normal; font-size: 13px; }
thead th:nth-child(2) { text-align: left; }
td.wide { width: 45%; }
.columns { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 14px; margin: 12px 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(380px, 100%), 1fr)); gap: 16px;
  align-items: start; }
.card, .cluster { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px;
  min-width: 0; }
.cluster { margin: 12px 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
.card summary { color: var(--quiet); font-size: 14px; }
figure { margin: 8px 0; }
.card svg { max-width: 520px; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--quiet); }
svg .kept { fill: var(--kept); }
svg .dropped { fill: var(--dropped); }
svg polyline { fill: none; stroke: var(--kept); stroke-width: 2; }
svg .axis { stroke: var(--line); }
svg line.threshold { stroke: var(--text); stroke-dasharray: 4 3; }
svg text.threshold { fill: var(--text); font-weight: 600; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; }
blockquote { margin: 10px 0; padding: 10px 12px; background: var(--page); border: 1px solid var(--line);
  border-radius: 6px; min-width: 0; }
.columns > div > blockquote { background: var(--card); }
.columns > blockquote { margin: 0; }
blockquote p { margin: 0; font: 13px/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere;
  unicode-bidi: plaintext; }
footer { margin-top: 6px; overflow-wrap: anywhere; }
footer b { color: var(--dropped-text); }
ins, del { text-decoration: none; border-radius: 3px; padding: 1px 0; }
ins { background: var(--ins); box-shadow: 0 2px 0 var(--dropped); }
del { background: var(--del); box-shadow: 0 2px 0 var(--kept); }
.warning { color: var(--dropped-text); }
@media (max-width: 640px) {
  main { padding: 12px 12px 60px; }
  .columns { grid-template-columns: minmax(0, 1fr); }
  .figures { gap: 10px 28px; }
  .figure b { font-size: 27px; }
  figure { overflow-x: auto; }
  svg.wide { min-width: 760px; }
  .funnel thead { display: none; }
  .funnel tr { display: grid; grid-template-columns: 1fr auto auto auto; border-bottom: 1px solid var(--line); }
  .funnel th, .funnel td { border: 0; padding: 3px 6px 3px 0; }
  .funnel th { grid-column: 1 / -1; padding-top: 8px; }
  .funnel td.wide { width: auto; grid-column: 1 / -1; }
  .funnel td:nth-child(3)::after { content: " documents"; color: var(--quiet); }
}
@media print {
  :root { --page: #ffffff; --card: #ffffff; --text: #000000; --quiet: #444444; --line: #cccccc; --kept: #2a5a9c;
    --dropped: #d9622b; --dropped-text: #b34712; --ins: #fbe3d4; --del: #dbe7f6; }
  * { print-color-adjust: exact; }
  body { font-size: 11pt; }
  main { max-width: none; padding: 0; }
  .cards { display: block; }
  .card { margin-bottom: 12px; }
  .card, blockquote, tr, figure { break-inside: avoid; }
  h2, h3, h4 { break-after: avoid; }
  details::details-content { content-visibility: visible; height: auto; }
}
""")
