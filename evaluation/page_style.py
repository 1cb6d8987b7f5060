"""How a report looks: the system's fonts, light and dark, nothing wider than the screen."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f7f6f3; --card: #ffffff; --ink: #23252b; --quiet: #676b75; --line: #e3e1db;
  --good: #2b7a4b; --good-back: #e9f5ee; --note: #3366a8; --note-back: #eaf1fa;
  --warning: #96600a; --warning-back: #fcf3df; --error: #b3312c; --error-back: #fbeae8;
  --c0: #4f7cac; --c1: #d08c45; --c2: #5b9a6f; --c3: #a66396; --c4: #b9534f; --c5: #6a9fa8;
  --c6: #8b7fc0; --c7: #8a8577;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #17181c; --card: #202228; --ink: #e7e6e3; --quiet: #a0a3ad; --line: #343740;
    --good: #7fcf9f; --good-back: #1b2e24; --note: #8fb8ee; --note-back: #1d2838;
    --warning: #e8b55c; --warning-back: #33291a; --error: #f0918a; --error-back: #3a2222;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 96px; }
h1, h2, h3, p, td, th, figcaption, summary, li, .label { overflow-wrap: anywhere; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -0.01em; margin: 0; }
h2 { font-size: 21px; line-height: 1.3; margin: 0 0 14px; }
h3 { font-size: 17px; line-height: 1.4; margin: 0; display: flex; gap: 10px; align-items: flex-start; }
h3 > span:last-child { min-width: 0; }
p { margin: 8px 0 0; max-width: 78ch; white-space: pre-line; }
small { color: var(--quiet); font-size: 14px; font-weight: 400; margin-left: 9px; }
header { margin-bottom: 22px; }
.subtitle { color: var(--quiet); margin-top: 4px; }
section { margin-top: 44px; scroll-margin-top: 16px; }
section > * + * { margin-top: 14px; }

nav { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 18px; }
nav a {
  color: var(--ink); background: var(--card); border: 1px solid var(--line); border-radius: 999px;
  padding: 5px 14px; font-size: 14px; text-decoration: none; overflow-wrap: anywhere;
}
nav a:hover, nav a:focus-visible { border-color: var(--note); color: var(--note); }

.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(124px, 1fr)); gap: 12px; margin-top: 18px; }
.figures div {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 16px; min-width: 0;
}
.figures b { display: block; font-size: 26px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.figures b, .figures span { overflow-wrap: anywhere; }
.figures span { color: var(--quiet); font-size: 14px; }

.callout {
  background: var(--card); border: 1px solid var(--line); border-left: 5px solid var(--tone);
  border-radius: 12px; padding: 15px 18px 17px; margin-top: 14px;
}
.callout.good { --tone: var(--good); --back: var(--good-back); }
.callout.note { --tone: var(--note); --back: var(--note-back); }
.callout.warning { --tone: var(--warning); --back: var(--warning-back); }
.callout.error { --tone: var(--error); --back: var(--error-back); }
.mark {
  flex: none; width: 24px; height: 24px; border-radius: 50%; background: var(--back); color: var(--tone);
  display: grid; place-items: center; font-size: 14px; font-weight: 700; line-height: 1;
}
.callout > p { margin-left: 34px; }
.callout > .pictures, .callout > details, .callout > .wide, .callout > ul { margin-top: 14px; }
header + .callout { background: var(--back); }
header + .callout h3 { font-size: 20px; }

.wide { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
table { border-collapse: collapse; width: 100%; font-size: 15px; }
th, td { padding: 9px 16px; text-align: left; vertical-align: top; min-width: 5.5em; }
th { color: var(--quiet); font-weight: 500; font-size: 14px; }
tbody tr { border-top: 1px solid var(--line); }
td:not(.number) { min-width: 8em; } /* words keep a readable width; the table scrolls */
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; overflow-wrap: normal; }

.bars { display: grid; grid-template-columns: minmax(7em, max-content) 1fr; gap: 8px 16px; align-items: center; }
.bars .label { font-size: 15px; }
.bar { display: flex; height: 28px; border-radius: 8px; overflow: hidden; background: var(--line); }
.bar span { color: #fff; font-size: 13px; line-height: 28px; text-align: center; overflow: hidden; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; margin: 12px 0 0; padding: 0; }
.legend { font-size: 14px; }
.legend li { min-width: 0; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; }
.c0 { background: var(--c0); }
.c1 { background: var(--c1); }
.c2 { background: var(--c2); }
.c3 { background: var(--c3); }
.c4 { background: var(--c4); }
.c5 { background: var(--c5); }
.c6 { background: var(--c6); }
.c7 { background: var(--c7); }

.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 16px 14px; }
.pictures.together {
  grid-template-columns: repeat(auto-fill, minmax(150px, 170px));
  border: 1px dashed var(--line); border-radius: 12px; padding: 12px; background: var(--paper);
}
figure { margin: 0; min-width: 0; }
.frame {
  position: relative; aspect-ratio: 1; border-radius: 9px; overflow: hidden;
  background: color-mix(in srgb, var(--line) 55%, transparent); display: grid; place-items: center;
}
.frame img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }
.absent { font-size: 34px; color: var(--quiet); }
.badge {
  position: absolute; left: 6px; top: 6px; max-width: calc(100% - 12px); z-index: 1;
  background: rgba(20, 21, 25, 0.8); color: #fff;
  border-radius: 6px; padding: 1px 8px; font-size: 12px; overflow-wrap: anywhere;
  max-height: 4.8em; overflow: hidden; /* three lines: it may not hide the picture */
}
.comparisons { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 16px; }
.comparisons > figure { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px; }
.comparisons figcaption { margin: 0 0 10px; font-size: 14px; }
.comparisons figcaption b { font-weight: 500; }
.side { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; align-items: start; }
.side .frame { aspect-ratio: auto; }
.side img { position: static; height: auto; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 16px; }
.plots > figure {
  max-width: 560px; background: #fff; border: 1px solid var(--line); border-radius: 12px; padding: 10px;
}
.plots img { display: block; width: 100%; height: auto; }
.plots figcaption span { color: #676b75; }
/* a name in another direction doesn't turn the words around it */
figcaption b, figcaption span, td { unicode-bidi: isolate; }
figcaption { margin-top: 6px; font-size: 13px; line-height: 1.4; }
figcaption b { display: block; font-weight: 600; }
figcaption span { color: var(--quiet); display: block; white-space: pre-line; }
.more { color: var(--quiet); font-size: 14px; }

details { border: 1px solid var(--line); border-radius: 12px; background: var(--card); padding: 11px 16px; }
details[open] { padding-bottom: 18px; }
summary { cursor: pointer; font-weight: 600; }
details[open] > summary { margin-bottom: 14px; }
details > * + * { margin-top: 12px; }
details details, .callout details { background: transparent; }

@media (max-width: 600px) {
  main { padding: 20px 14px 64px; }
  h1 { font-size: 25px; }
  section { margin-top: 34px; }
  .callout { padding: 13px 14px 15px; }
  .callout > p { margin-left: 0; }
  .pictures, .pictures.together { grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 14px 10px; }
  .figures { grid-template-columns: repeat(auto-fit, minmax(96px, 1fr)); gap: 8px; }
  .figures div { padding: 9px 12px; }
  .figures b { font-size: 21px; }
  .bars { grid-template-columns: 1fr; gap: 3px; }
  .bar { margin-bottom: 8px; }
  th, td { padding: 8px 12px; }
}
@media print { nav { display: none; } .callout, figure, tr { break-inside: avoid; } }
"""
