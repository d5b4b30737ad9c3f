"""The style sheet of the page."""

STYLE_SHEET = """
:root { --ink: #20242a; --soft: #5b6470; --line: #dfe3e8; --paper: #ffffff; --ground: #f5f6f8; --blue: #0b5c92; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1340px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 1.85rem; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 52px 0 14px; }
h3 { font-size: 1.06rem; line-height: 1.35; margin: 0; }
p { margin: 0; }
a { color: var(--blue); }
.lead, figcaption, footer { color: var(--soft); }
.card, .panel { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; }
.answers { display: grid; gap: 16px; }
.card { display: grid; grid-template-columns: 250px minmax(0, 1fr); gap: 8px 36px; padding: 22px 26px; border-left: 5px solid var(--tone); }
.badge { color: var(--tone); font-size: 0.85rem; font-weight: 600; margin-top: 6px; }
.links { margin-top: 6px; font-size: 0.88rem; color: var(--soft); }
.answer { font-size: 1.1rem; line-height: 1.5; max-width: 78ch; }
.card ul { margin: 12px 0 0; padding-left: 1.15em; color: #3c444e; font-size: 0.93rem; max-width: 95ch; }
.card li { margin: 4px 0; }
.card table { margin: 14px 0 0; font-size: 0.9rem; }
.card th, .card td { padding: 6px 12px; }
code { font: 0.92em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: #eef0f3; padding: 1px 4px; border-radius: 4px; }
.good { --tone: #00684c; } .bad { --tone: #b34700; } .open { --tone: #4b6584; } .missing { --tone: #70777f; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 380px), 1fr)); gap: 16px; align-items: start; }
.panel { margin: 0; padding: 12px 12px 10px; }
.panel img { display: block; width: 100%; max-width: 460px; height: auto; margin: 0 auto; }
.panel.wide { grid-column: 1 / -1; } .panel.wide img { max-width: 960px; }
figcaption { font-size: 0.87rem; line-height: 1.45; margin: 8px 6px 2px; }
table { border-collapse: collapse; width: 100%; background: var(--paper); border: 1px solid var(--line); font-size: 0.93rem; margin: 0 0 16px; }
th, td { text-align: left; padding: 9px 14px; border-bottom: 1px solid var(--line); vertical-align: top; min-width: 5.5em; font-variant-numeric: tabular-nums; }
th { font-weight: 600; color: var(--soft); font-size: 0.85rem; }
tbody tr:last-child > * { border-bottom: 0; }
tbody th { color: var(--ink); font-size: inherit; min-width: 8em; }
footer { margin-top: 56px; padding-top: 16px; border-top: 1px solid var(--line); font-size: 0.87rem; }
@media (max-width: 640px) {
  main { padding: 24px 14px 40px; }
  h1 { font-size: 1.5rem; }
  h2 { margin-top: 40px; }
  .card { display: block; padding: 16px; }
  .card .answer { margin-top: 12px; }
  .card tbody tr { padding: 8px 12px; }
  .card td, .card tbody th { padding: 2px 0; }
  .panel { padding: 8px 6px; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody, tr, th, td { display: block; }
  tbody tr { padding: 10px 14px; border-bottom: 1px solid var(--line); }
  tbody tr:last-child { border-bottom: 0; }
  td, tbody th { border: 0; padding: 2px 0; min-width: 0; }
  td { display: flex; justify-content: space-between; gap: 16px; text-align: right; }
  td::before { content: attr(data-label); color: var(--soft); text-align: left; flex: none; max-width: 45%; }
}
@media print {
  body { background: #fff; font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  h2 { break-after: avoid; margin-top: 28px; }
  .card, .panel, tr { break-inside: avoid; }
  .panels { grid-template-columns: 1fr 1fr; }
  a { color: inherit; text-decoration: none; }
}
"""
