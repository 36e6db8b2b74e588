"""The page's style sheet."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  --bg: #f6f6f4; --card: #ffffff; --ink: #1d1f21; --mute: #6b7075; --line: #e4e5e2;
  --track: #eef0ed; --ok: #2f9461; --bad: #d1433a; --lease: #e0a526; --delay: #c9b072;
  --wait: #dfe2de; --blue: #4a7fc1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #131516; --card: #1c1f21; --ink: #e7e9ea; --mute: #949a9f; --line: #2d3134;
    --track: #25292b; --ok: #46b57f; --bad: #ec6a5f; --lease: #e6b54a; --delay: #97834c;
    --wait: #363b3e; --blue: #6c9fdf;
  }
}
* { box-sizing: border-box; margin: 0; }
body {
  background: var(--bg); color: var(--ink);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 40px; display: grid; gap: 14px; }
main > *, .pair > * { min-width: 0; }
header { display: flex; justify-content: space-between; align-items: baseline; gap: 16px; }
header p, .note, .card h2 span, .tile p:last-child { color: var(--mute); font-size: 12.5px; }
h1 { font-size: 20px; font-weight: 650; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h1 span { color: var(--mute); font-weight: 400; }
code { font: 12.5px/1.4 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.card, .tile {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px;
}
.card h2 {
  font-size: 14px; font-weight: 600; margin-bottom: 10px;
  display: flex; justify-content: space-between; align-items: baseline; gap: 12px;
}
.card h2 span { font-weight: 400; text-align: right; }
.card h2 code { overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 14px; }
.tile h2 { font-size: 12.5px; font-weight: 500; color: var(--mute); }
.figure { font-size: 23px; font-weight: 600; line-height: 1.35; white-space: nowrap; }
.figure.ok { color: var(--ok); }
.figure.bad, .failed { color: var(--bad); }
.pair {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr));
  gap: 14px;
}
@media (min-width: 960px) { .pair.uneven { grid-template-columns: 2fr 3fr; } }
.progress { display: flex; gap: 2px; height: 14px; border-radius: 4px; overflow: hidden; }
.progress span { flex-basis: 3px; min-width: 3px; }
.legend {
  list-style: none; padding: 0; margin-top: 10px; display: flex; flex-wrap: wrap;
  gap: 4px 18px;
}
.legend i { display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 6px; }
span.ok, i.ok { background: var(--ok); }
span.bad, i.bad { background: var(--bad); }
span.lease, i.lease { background: var(--lease); }
span.delay, i.delay { background: var(--delay); }
span.wait, i.wait { background: var(--wait); }
svg { display: block; width: 100%; height: auto; }
svg .ok { fill: var(--ok); }
svg .bad { fill: var(--bad); }
svg .blue { fill: var(--blue); }
svg .heat { fill: var(--ok); shape-rendering: crispEdges; }
svg .track { fill: var(--track); }
svg .grid { stroke: var(--line); }
svg .ground { stroke: var(--mute); stroke-opacity: 0.6; }
svg .mark { stroke: var(--ink); stroke-dasharray: 2 3; stroke-opacity: 0.7; }
svg .axis { fill: var(--mute); font-size: 11px; }
svg g:hover rect, svg .heat:hover { filter: brightness(1.15); }
.figures {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(60px, 1fr)); gap: 4px 10px;
  margin-top: 8px;
}
.figures dt { color: var(--mute); font-size: 12px; }
.figures dd { font-weight: 600; white-space: nowrap; }
.note { margin-top: 8px; }
.note b { color: var(--ink); font-weight: 500; white-space: nowrap; }
.scroll { overflow: auto; max-height: 420px; }
table { border-collapse: collapse; width: 100%; }
th {
  color: var(--mute); font-size: 12px; font-weight: 500; text-align: right;
  padding: 0 0 6px 14px; white-space: nowrap;
}
td {
  border-top: 1px solid var(--line); padding: 6px 0 6px 14px; text-align: right;
  white-space: nowrap;
}
thead + tbody tr:first-child td, tr + tr td { border-top: 1px solid var(--line); }
tbody:first-child tr:first-child td { border-top: 0; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td:first-child { overflow: hidden; text-overflow: ellipsis; max-width: 420px; }
table.failures td {
  text-align: left; vertical-align: top; white-space: normal; overflow-wrap: anywhere;
}
table.failures td:first-child { color: var(--mute); white-space: nowrap; }
table.failures td:nth-child(2) { min-width: 210px; }
table.failures td:last-child { color: var(--bad); }
.meter {
  display: inline-block; width: 56px; height: 8px; margin-right: 8px; border-radius: 4px;
  overflow: hidden; background: var(--track); vertical-align: 0;
}
.meter.wide { width: 130px; margin: 0; }
.meter i { display: block; height: 100%; border-radius: 4px; }
.empty { color: var(--mute); padding: 24px 0; text-align: center; }
"""
