"""How the report sheet looks: black on white, on one A4 page, closer where there is more to say."""

from __future__ import annotations

from typing import Final

DENSITIES: Final = ("", "close", "closest")
"""Classes of the page's body: from few lines to many."""

STYLE: Final = """
@page { size: A4 portrait; margin: 11mm 12mm; }
* { box-sizing: border-box; }
:root { color-scheme: light; --soft: #4d5964; --line: #c3cbd2; --blue: #0072b2; }
html { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
body { margin: 0 auto; max-width: 186mm; color: #000; background: #fff; font-size: 9pt;
  line-height: 1.35; font-family: "Helvetica Neue", Arial, "Liberation Sans", "DejaVu Sans",
  sans-serif; overflow-wrap: anywhere; }
header { display: grid; grid-template-columns: 1fr 62mm; gap: 2mm 5mm; align-items: start;
  border-bottom: 1.5pt solid #000; padding-bottom: 2mm; margin-bottom: 2mm; }
h1 { font-size: 15pt; line-height: 1.1; margin: 0 0 1mm; }
h1 small { display: block; font-size: 8pt; font-weight: normal; color: var(--soft); }
h1.long { font-size: 9.5pt; }
h2 { font-size: 9pt; margin: 2.6mm 0 .8mm; }
p { margin: 0 0 1mm; }
.state { border: 1.5pt solid #000; padding: 1.4mm 2mm; }
.state b { display: block; font-size: 12pt; letter-spacing: .03em; }
.state.preliminary { background: repeating-linear-gradient(135deg, #fff 0 2mm, #eee 2mm 4mm); }
.state small { display: block; }
.state i { font-style: normal; font-weight: bold; display: block; margin-top: .6mm; }
dl { display: grid; grid-template-columns: 17mm 1fr 17mm 1fr; gap: .5mm 2mm; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; } dd.wide { grid-column: 2 / -1; }
code { font: 7pt/1.3 "Liberation Mono", "DejaVu Sans Mono", monospace; }
table { border-collapse: collapse; width: 100%; margin-bottom: 1.2mm;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .7mm .8mm; border-bottom: .4pt solid var(--line);
  white-space: nowrap; }
thead th { font-weight: bold; border-bottom: .8pt solid #000; }
thead th.over { text-align: center; white-space: normal; border-bottom: .4pt solid var(--line); }
th.name { text-align: left; font-weight: normal; white-space: normal; width: 42mm;
  overflow-wrap: break-word; }
thead th.name { font-weight: bold; }
td.first { border-left: .8pt solid #000; }
td.bar { width: 22mm; padding: 0 0 0 2mm; }
td.bar svg { display: block; width: 20mm; height: 2.6mm; }
tfoot td, tfoot th { font-weight: bold; border-bottom: 0; border-top: .8pt solid #000; }
tfoot th.name { font-weight: bold; }
.cells { display: grid; grid-template-columns: repeat(10, 1fr); gap: 1.6mm; }
figure { margin: 0; font-size: 6.5pt; line-height: 1.2; }
figure img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain;
  background: #eef1f4; margin-bottom: .5mm; }
figure b { display: block; }
.sign { display: grid; grid-template-columns: 1fr 1fr; gap: 2mm 8mm; margin-top: 2.5mm; }
.sign div { border-top: .6pt solid #000; margin-top: 9mm; padding-top: .5mm; color: var(--soft); }
footer { color: var(--soft); margin-top: 2mm; border-top: .4pt solid var(--line);
  padding-top: 1mm; }
.close { font-size: 8pt; line-height: 1.22; } .close th, .close td { padding: .25mm 1mm; }
.close h2 { margin: 1.6mm 0 .5mm; } .close .sign div { margin-top: 7mm; }
.closest { font-size: 6.8pt; line-height: 1.13; } .closest code { font-size: 6pt; }
.closest th, .closest td { padding: .05mm 1mm; } .closest h2 { margin: 1mm 0 .3mm; }
.closest table { margin-bottom: .4mm; } .closest .sign { margin-top: 0; }
.closest .sign div { margin-top: 6mm; }
.closest .cells { padding: 0 16mm; } .closest figure { font-size: 5.5pt; }
@media screen { body { padding: 8mm; max-width: 202mm; margin: 4mm auto;
  box-shadow: 0 0 3mm #bbb; } html { background: #f4f6f8; } }
@media screen and (max-width: 40rem) { header { grid-template-columns: 1fr; }
  body { padding: 3mm; } dl { grid-template-columns: 17mm 1fr; }
  dd.wide { grid-column: 2; } .cells { grid-template-columns: repeat(5, 1fr); padding: 0; }
  .scroll { overflow-x: auto; } }
"""
