// Charts, drawn by hand. Each is a pure function from values to an SVG with words for those who do not see it.

import { svg, el } from "./dom.js";
import { tone } from "./words.js";

// As wide as it is shown, roughly, so that its words are as large as those around it.
const across = () => (innerWidth < 560 ? 380 : 440);
const HEIGHT = 180;
const LEFT = 44;
const BOTTOM = 24;
const TOP = 8;

/** Lines over time. `series`: {name, points: [[ms, value]]}; a gap of more than `gapMs` is a gap in the line. */
export function lineChart({ title, series, from, until, most, format, gapMs }) {
  const WIDTH = across();
  const x = (ms) => LEFT + ((ms - from) / Math.max(1, until - from)) * (WIDTH - LEFT - 8);
  const y = (value) => TOP + (1 - Math.min(1, value / Math.max(most, 1e-9))) * (HEIGHT - TOP - BOTTOM);
  const ticks = [0, 0.5, 1].map((share) => [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - 8, y1: y(most * share), y2: y(most * share) }),
    svg("text", { class: "axis", x: LEFT - 6, y: y(most * share) + 4, "text-anchor": "end" }, format(most * share)),
  ]);
  const minutes = Math.max(1, Math.round((until - from) / 60000));
  const axis = [
    svg("text", { class: "axis", x: LEFT, y: HEIGHT - 6 }, `${minutes} min ago`),
    svg("text", { class: "axis", x: WIDTH - 8, y: HEIGHT - 6, "text-anchor": "end" }, "now"),
  ];
  const lines = series.map(({ points }, at) => svg("path", { class: `line s${at % 8}`, d: path(points, x, y, gapMs) }));
  const last = ({ name, points }) => `${name} ${points.length ? format(points.at(-1)[1]) : "unknown"}`;
  const words = `${title}. Now: ${series.map(last).join(", ") || "nothing"}.`;
  return el("figure", {},
    el("figcaption", {}, title),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": words }, ticks, axis, lines),
    el("ul", { class: "legend" }, series.map((one, at) => el("li", { class: `s${at % 8}` }, last(one)))));
}

function path(points, x, y, gapMs) {
  let text = "";
  points.forEach(([ms, value], at) => {
    const begins = at === 0 || ms - points[at - 1][0] > gapMs;
    text += `${begins ? "M" : "L"}${x(ms).toFixed(1)} ${y(value).toFixed(1)}`;
    // A point alone would not be seen.
    if (begins && (at + 1 === points.length || points[at + 1][0] - ms > gapMs)) text += "h1";
  });
  return text;
}

/** How much of something is taken. */
export function meter(share, words) {
  const taken = Math.max(0, Math.min(1, share || 0));
  return svg("svg", { viewBox: "0 0 100 8", class: "meter", role: "img", "aria-label": words, preserveAspectRatio: "none" },
    svg("rect", { class: "room", width: 100, height: 8 }), svg("rect", { class: taken > 0.9 ? "full" : "taken", width: taken * 100, height: 8 }));
}

const BOX = { width: 200, line: 22, head: 30, gap: 28 };

/** Nodes with their workers, and a line for each way that running asks go: from the node where they came in to the worker. */
export function clusterMap(nodes, workers, flows, columns) {
  const places = [];
  const perColumn = Array.from({ length: columns }, () => 10);
  nodes.forEach((node, at) => {
    const own = workers.filter((worker) => worker.node === node.name);
    const column = at % columns;
    const height = BOX.head + Math.max(1, own.length) * BOX.line + 8;
    places.push({ node, own, x: 10 + column * (BOX.width + BOX.gap * 2), y: perColumn[column], height });
    perColumn[column] += height + BOX.gap;
  });
  const place = (name) => places.find(({ node }) => node.name === name);
  const spot = (worker) => {
    const home = place(worker.split("/")[0]);
    const row = home?.own.findIndex((one) => one.name === worker) ?? -1;
    return row < 0 ? null : { x: home.x, y: home.y + BOX.head + row * BOX.line + BOX.line / 2, right: home.x + BOX.width };
  };
  const lines = flows.map(({ from, to, count }) => {
    const [start, end] = [place(from), spot(to)];
    if (!start || !end) return null;
    // From edge to edge, so that no line runs over words.
    const startX = end.x < start.x ? start.x : start.x + BOX.width;
    const startY = start.y + BOX.head / 2;
    const side = end.x > start.x ? end.x : end.right;
    const bend = end.x === start.x ? end.right + BOX.gap : (startX + side) / 2;
    return svg("path", { class: "flow", "stroke-width": Math.min(8, 1 + count), d: `M${startX} ${startY}C${bend} ${startY} ${bend} ${end.y} ${side} ${end.y}` });
  });
  const width = 10 + columns * (BOX.width + BOX.gap * 2) - BOX.gap;
  const height = Math.max(...perColumn) - BOX.gap + 10;
  const flowing = flows.map(({ from, to, count }) => `${count} from ${from} to ${to}`).join(", ");
  const words = `Map of the cluster: ${nodes.map((node) => `${node.name} is ${node.state}`).join(", ")}. Asks that run: ${flowing || "none"}.`;
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "map", role: "img", "aria-label": words }, places.map(box), lines);
}

function box({ node, own, x, y, height }) {
  const rows = own.map((worker, row) => {
    const at = y + BOX.head + row * BOX.line + BOX.line / 2;
    const load = worker.state === "ready" ? `${worker.busy}/${worker.slots}${worker.queued ? ` +${worker.queued}` : ""}` : worker.state;
    return [
      svg("circle", { class: tone(worker.state), cx: x + 14, cy: at, r: 5 }),
      svg("text", { x: x + 26, y: at + 4 }, short(worker.name.slice(node.name.length + 1), 14)),
      svg("text", { class: "axis", x: x + BOX.width - 10, y: at + 4, "text-anchor": "end" }, load),
    ];
  });
  const empty = own.length === 0 ? svg("text", { class: "axis", x: x + 14, y: y + BOX.head + 14 }, "no workers") : null;
  return svg("g", {},
    svg("rect", { class: `node ${tone(node.state)}`, x, y, width: BOX.width, height, rx: 8 }),
    svg("text", { class: "name", x: x + 12, y: y + 20 }, short(node.name, 16)),
    svg("text", { class: "axis", x: x + BOX.width - 10, y: y + 20, "text-anchor": "end" }, node.leader ? "leads" : node.state === "alive" ? "" : node.state),
    rows, empty);
}

export const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
