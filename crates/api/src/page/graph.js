// The graph of dependencies: a task stands one layer behind the last of those that it waits for.

import { svg, el } from "./dom.js";
import { short } from "./charts.js";
import { tone } from "./words.js";

const WIDTH = 180;
const HEIGHT = 46;
const ACROSS = 60;
const DOWN = 16;
const MOST = 300;

/** The layer of each task; what waits for itself in a circle stands where the circle was entered. */
export function layers(tasks) {
  const byId = new Map(tasks.map((task) => [String(task.id), task]));
  const known = new Map();
  const layer = (id, path) => {
    if (known.has(id)) return known.get(id);
    if (path.has(id)) return 0;
    path.add(id);
    const before = (byId.get(id)?.dependencies ?? []).map(String).filter((other) => byId.has(other));
    const at = before.reduce((deepest, other) => Math.max(deepest, layer(other, path) + 1), 0);
    path.delete(id);
    known.set(id, at);
    return at;
  };
  return new Map([...byId.keys()].map((id) => [id, layer(id, new Set())]));
}

export function graph(all, open) {
  const tasks = all.slice(0, MOST);
  const layerOf = layers(tasks);
  const rows = [];
  const spots = new Map(tasks.map((task) => {
    const column = layerOf.get(String(task.id));
    const row = rows[column] ?? 0;
    rows[column] = row + 1;
    return [String(task.id), { x: 8 + column * (WIDTH + ACROSS), y: 8 + row * (HEIGHT + DOWN) }];
  }));
  const width = 16 + rows.length * (WIDTH + ACROSS) - ACROSS;
  const height = 16 + Math.max(0, ...rows.map((row) => row ?? 0)) * (HEIGHT + DOWN) - DOWN;
  const lines = tasks.flatMap((task) => (task.dependencies ?? []).map((id) => {
    const [from, to] = [spots.get(String(id)), spots.get(String(task.id))];
    if (!from || !to) return null;
    const [startX, startY, endX, endY] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x, to.y + HEIGHT / 2];
    return svg("path", { class: "edge", d: `M${startX} ${startY}C${startX + ACROSS / 2} ${startY} ${endX - ACROSS / 2} ${endY} ${endX} ${endY}` });
  }));
  const boxes = tasks.map((task) => {
    const { x, y } = spots.get(String(task.id));
    return svg("g", { onclick: () => open(task.id) },
      svg("title", {}, `${task.id} ${task.title} (${task.status})`),
      svg("rect", { class: `task ${tone(task.status)}`, x, y, width: WIDTH, height: HEIGHT, rx: 6 }),
      svg("text", { class: "name", x: x + 10, y: y + 19 }, `${task.id}  ${task.status}`),
      svg("text", { x: x + 10, y: y + 36 }, short(task.title, 24)));
  });
  const words = `Dependencies of ${tasks.length} tasks in ${rows.length} layers. The board has the same tasks as buttons.`;
  const cut = all.length > MOST ? el("p", {}, `Only the first ${MOST} of ${all.length} tasks are drawn.`) : null;
  return [
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Graph of dependencies" },
      svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "graph", role: "img", "aria-label": words }, lines, boxes)),
    cut,
  ];
}
