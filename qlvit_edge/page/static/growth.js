"use strict";
/* Cells of each class over time; drawn by uPlot. */
const GROWN_EVERY = 2000, GROUND = [16, 20, 24], DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3]];
let plot = null, plotted = "";

const channels = (hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));

function luminance(rgb) {
  const [r, g, b] = rgb.map((value) => value / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
}

/* A class's colour, lightened until it is seen on the dark ground (contrast 4.5). */
function seen(hex) {
  const wanted = 4.5 * (luminance(GROUND) + .05) - .05, colour = channels(hex);
  let part = 0, mixed = colour;
  while (luminance(mixed) < wanted && part < 1) {
    part += .05;
    mixed = colour.map((value) => Math.round(value + (255 - value) * part));
  }
  return "rgb(" + mixed.join(", ") + ")";
}

const clock = (seconds) => seconds < 3600
  ? Math.floor(seconds / 60) + ":" + String(Math.floor(seconds % 60)).padStart(2, "0")
  : Math.floor(seconds / 3600) + ":" + String(Math.floor(seconds % 3600 / 60)).padStart(2, "0") + " h";

function madePlot(labels, width) {
  const style = getComputedStyle(document.documentElement), quiet = style.getPropertyValue("--quiet");
  const axis = { stroke: quiet, grid: { stroke: style.getPropertyValue("--line"), width: 1 }, ticks: { show: false } };
  return new uPlot({
    width, height: 190, legend: { show: false }, cursor: { show: false }, select: { show: false },
    scales: { x: { time: false }, y: { range: (_, low, high) => [0, Math.max(5, high)] } },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map(clock), size: 30 },
      { ...axis, size: 40, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000] },
    ],
    series: [{}, ...labels.map((label, number) => ({
      label, stroke: seen(state.colours[label]), width: 2, dash: DASHES[number % DASHES.length], points: { show: false },
    }))],
  }, [[0], ...labels.map(() => [0])], at("growth"));
}

function showGrowth(curves) {
  const labels = Object.keys(curves.classes), width = Math.floor(at("growth").clientWidth);
  if (labels.length === 0 || width < 60) return;
  const kind = labels.join("\n");
  if (plot === null || plotted !== kind) {
    if (plot !== null) plot.destroy();
    plot = madePlot(labels, width);
    plotted = kind;
  }
  if (plot.width !== width) plot.setSize({ width, height: 190 });
  plot.setData([curves.seconds, ...labels.map((label) => curves.classes[label])]);
}

async function growth() {
  try {
    if (csrf !== null && state !== null && !document.hidden) {
      const { answer, body } = await ask("/api/growth");
      if (answer.ok) showGrowth(body);
    }
  } catch { /* as above */ }
  setTimeout(growth, GROWN_EVERY);
}
