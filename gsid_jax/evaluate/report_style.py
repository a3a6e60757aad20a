"""The report's style sheet."""

CSS = """
:root {
  --ink: #1b2330; --muted: #667085; --line: #e4e7ec; --soft: #f5f7f9; --paper: #ffffff;
  --accent: #1f6f78; --accent-soft: #e3f0f1; --warn: #b42318; --warn-soft: #fdeceb;
  --mark: #fff1c2;
  --c1: #1f6f78; --c2: #d9822b; --c3: #6a5acd; --c4: #b83280; --c5: #4a7c2f; --c6: #8a6d3b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ef; --muted: #98a2b3; --line: #2c3440; --soft: #1b212b; --paper: #13181f;
    --accent: #5fb8c2; --accent-soft: #16323a; --warn: #f97066; --warn-soft: #3a1f1d;
    --mark: #5c4a12;
    --c1: #5fb8c2; --c2: #f0a65b; --c3: #a598f0; --c4: #ec7fbf; --c5: #8fc46f; --c6: #cdb27d;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 24px; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans",
    "Noto Sans CJK SC", sans-serif;
}
.layout { display: grid; grid-template-columns: 168px minmax(0, 1160px); gap: 40px;
  max-width: 1400px; margin: 0 auto; padding: 0 32px; }
nav { position: sticky; top: 0; align-self: start; padding: 40px 0; font-size: 14px; }
nav b { display: block; margin-bottom: 14px; letter-spacing: .02em; }
nav a { display: block; padding: 4px 0 4px 12px; border-left: 2px solid var(--line);
  color: var(--muted); text-decoration: none; }
nav a:hover { color: var(--accent); border-color: var(--accent); }
main { padding: 36px 0 96px; min-width: 0; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; font-weight: 650; }
h2 { font-size: 19px; margin: 56px 0 8px; font-weight: 620; }
h3 { font-size: 15px; margin: 28px 0 8px; font-weight: 620; }
p { margin: 6px 0; max-width: 78ch; }
.muted, .note { color: var(--muted); }
.note { font-size: 13px; max-width: 100ch; margin: 6px 0 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 12px;
  margin: 24px 0 8px; }
.tile { border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.tile b { display: block; font-size: 25px; line-height: 1.2; font-weight: 620;
  font-variant-numeric: tabular-nums; }
.tile span { color: var(--muted); font-size: 13px; }
.alert { background: var(--warn-soft); color: var(--warn); border-radius: 10px;
  padding: 12px 16px; margin: 16px 0; font-weight: 550; }
.scroll { overflow-x: auto; margin: 12px 0 4px; }
table { border-collapse: collapse; font-size: 13.5px; width: 100%; }
th, td { padding: 6px 9px; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--muted); font-weight: 550; white-space: nowrap; vertical-align: bottom; }
tbody th { font-weight: 500; min-width: 150px; }
td small { color: var(--muted); font-weight: 400; font-size: 11px; }
td.num, th.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.best { font-weight: 700; }
td.best::before { content: ""; display: inline-block; width: 6px; height: 6px;
  border-radius: 50%; background: var(--accent); margin-right: 6px; vertical-align: 2px; }
tr.reference > * { background: var(--accent-soft); }
tr.flagged > * { color: var(--muted); }
tr.flagged td { text-decoration: line-through; }
tr.section th { color: var(--muted); font-weight: 600; padding-top: 16px; font-size: 13px; }
sup.sure { font-size: 10px; color: var(--muted); margin-left: 2px; }
.badge { display: inline-block; background: var(--warn-soft); color: var(--warn);
  border-radius: 6px; padding: 1px 7px; font-size: 12px; font-weight: 600; white-space: nowrap; }
.hint { color: var(--muted); font-size: 12px; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 20px; }
figure { margin: 0; }
figcaption { font-size: 13.5px; font-weight: 550; margin-bottom: 4px; }
.chart svg { width: 100%; height: auto; display: block; }
.chart polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.grid { stroke: var(--line); stroke-width: 1; }
.tick { font-size: 10.5px; fill: var(--muted); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 14px; font-size: 12px; color: var(--muted); }
.legend i { display: inline-block; width: 12px; height: 3px; border-radius: 2px;
  margin-right: 5px; vertical-align: 3px; }
.intervals { margin: 0 0 22px; }
.intervals th { width: 260px; }
.intervals td.num { width: 64px; }
.intervals td.num + td.num { width: 120px; }
.track { position: relative; height: 20px; min-width: 180px;
  background: linear-gradient(var(--line), var(--line)) 50% 0 / 1px 100% no-repeat; }
.range { position: absolute; top: 8px; height: 4px; border-radius: 2px; background: var(--muted);
  opacity: .45; }
.point { position: absolute; top: 5px; width: 10px; height: 10px; margin-left: -5px;
  border-radius: 50%; background: var(--muted); }
.range.ahead, .point.ahead { background: var(--accent); }
.range.behind, .point.behind { background: var(--warn); }
.search { display: flex; gap: 10px; align-items: center; margin: 14px 0; }
.search input { flex: 1; max-width: 460px; font: inherit; color: inherit; padding: 9px 13px;
  background: var(--paper); border: 1px solid var(--line); border-radius: 8px; }
.search input:focus { outline: 2px solid var(--accent); outline-offset: -1px; }
.tree, .tree ul { list-style: none; margin: 0; padding: 0; }
.tree ul { margin-left: 20px; border-left: 1px solid var(--line); padding-left: 8px; }
.node { display: grid; grid-template-columns: 20px 104px 84px minmax(0, 1fr) 150px; gap: 10px;
  align-items: center; width: 100%; padding: 6px 8px; border: 0; border-radius: 8px;
  background: none; color: inherit; font: inherit; font-size: 14px; text-align: left;
  cursor: pointer; }
.tree ul .node { grid-template-columns: 20px 96px 84px minmax(0, 1fr) 150px; }
.node:hover { background: var(--soft); }
.node:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
.node .turn { color: var(--muted); transition: transform .12s; justify-self: center; }
.node[aria-expanded=true] .turn { transform: rotate(90deg); }
.node .path { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  font-size: 13px; }
.node .size { text-align: right; font-variant-numeric: tabular-nums; color: var(--muted); }
.node .what { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.node .what small { color: var(--muted); font-size: 13px; margin-left: 8px; }
.mixbar { display: flex; height: 8px; border-radius: 4px; overflow: hidden;
  background: var(--line); }
.mixbar i { display: block; height: 100%; }
.detail { display: grid; grid-template-columns: 1fr 1fr; gap: 4px 32px; margin: 2px 0 8px 38px;
  padding: 10px 14px; background: var(--soft); border-radius: 8px; font-size: 13.5px; }
.detail h4 { margin: 0 0 4px; font-size: 12px; color: var(--muted); font-weight: 600; }
.detail ul { margin: 0 0 6px; padding: 0; border: 0; list-style: none; }
.detail li { padding: 1px 0; overflow-wrap: anywhere; }
.detail .mix { grid-column: 1 / -1; color: var(--muted); }
.more { margin: 4px 0 8px 30px; }
.more button, .results button { font: inherit; font-size: 13.5px; border: 0; background: none;
  color: var(--accent); cursor: pointer; padding: 3px 0; text-align: left; }
.more button:hover, .results button:hover { text-decoration: underline; }
.results { margin: 0 0 14px; }
.results li { padding: 3px 0; }
.results ul { list-style: none; margin: 0; padding: 0; max-height: 300px; overflow-y: auto; }
mark { background: var(--mark); color: inherit; border-radius: 3px; }
.found > .node { background: var(--mark); }
.example { border: 1px solid var(--line); border-radius: 10px; padding: 10px 14px 4px;
  margin: 12px 0; }
.example h4 { margin: 0 0 4px; font-size: 13.5px; color: var(--muted); font-weight: 600; }
code, .id { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  font-size: 12.5px; overflow-wrap: anywhere; }
.columns { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 12px; }
.columns .example ul { margin: 4px 0 8px; padding-left: 18px; font-size: 13.5px; }
summary { cursor: pointer; color: var(--accent); font-size: 14px; margin: 10px 0; }
footer { margin-top: 64px; padding-top: 16px; border-top: 1px solid var(--line);
  color: var(--muted); font-size: 12.5px; overflow-wrap: anywhere; }
@media (max-width: 980px) {
  .layout { grid-template-columns: minmax(0, 1fr); gap: 0; padding: 0 18px; }
  nav { position: static; padding: 20px 0 0; }
  nav a { display: inline-block; border: 0; padding: 2px 12px 2px 0; }
  .detail { grid-template-columns: 1fr; margin-left: 20px; }
  .node, .tree ul .node { grid-template-columns: 16px 78px 60px minmax(0, 1fr); }
  .node .mixbar { display: none; }
}
"""
