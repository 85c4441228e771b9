// The cluster at a glance: how it is, where asks go, what the machines do.

import { el, section, table, tag, button, confirmed, notice } from "./dom.js";
import { poll, send } from "./api.js";
import { lineChart, clusterMap, meter } from "./charts.js";
import { bytes, percent, seconds, seenBy, tone, orDash, count, why } from "./words.js";

export const title = "Overview";
const LONGEST = 600000;
const SHORTEST = 60000;

export function start({ live, signal, show }) {
  const had = {};
  const failed = (error) => { had.error = error; draw(); };
  const keep = (name) => (list) => { had[name] = list; had.error = null; draw(); };
  poll("/api/cluster/asks?limit=50", 2000, signal, keep("asks"), failed);
  poll("/api/cluster/load", 5000, signal, keep("load"), failed);
  poll("/api/cluster/failures?limit=20", 10000, signal, keep("failures"), failed);
  poll("/api/jobs", 5000, signal, keep("jobs"), failed);
  const draw = () => show(live.picture ? page(live.picture, had) : el("p", { class: "none" }, "Waiting for the first picture of the cluster…"));
  return draw;
}

function page({ nodes, workers, health, mode }, had) {
  return [
    had.error && had.error.status !== 0 ? el("p", { class: "notice odd" }, `Some of this is missing: ${why(had.error)}`) : null,
    el("div", { class: "cards" }, cards(health, mode, had)),
    section("Cluster", map(nodes.items, workers.items, had.asks?.items ?? [])),
    section("Load", charts(had.load, nodes.items)),
    section("Nodes", nodeTable(nodes)),
    section("Workers", workerTable(workers)),
  ];
}

function cards(health, mode, { asks, failures, jobs }) {
  const card = (name, value, words, href) => el("a", { class: "card", href }, el("span", {}, name), el("strong", {}, value), el("span", {}, words));
  const running = jobs?.items.filter((job) => job.state === "running").length;
  return [
    card("Health", health.verdict, health.reasons[0] ?? "nothing is wrong", "#/failures"),
    card("Asks", asks ? `${asks.running} running` : "…", asks ? `${asks.items.length} lately` : "looking", "#/asks"),
    card("Jobs", running === undefined ? "…" : `${running} running`, jobs ? `${jobs.items.length} kept` : "looking", "#/jobs"),
    card("Failures", failures ? `${failures.active} active` : "…", failures ? `${percent(failures.recovery_rate)} mended` : "looking", "#/failures"),
    card("Mode", mode.mode, mode.is_locked ? "locked on this node" : `set by ${orDash(mode.set_by)}`, "#/privacy"),
  ];
}

function map(nodes, workers, asks) {
  const flows = new Map();
  for (const ask of asks.filter((one) => one.outcome === "running" && one.worker)) {
    const name = `${ask.node} ${ask.worker}`;
    flows.set(name, { from: ask.node, to: ask.worker, count: (flows.get(name)?.count ?? 0) + 1 });
  }
  if (nodes.length === 0) return el("p", { class: "none" }, "No node has reported yet.");
  const columns = Math.min(nodes.length, innerWidth < 560 ? 1 : innerWidth < 900 ? 2 : 4);
  return el("div", { class: `columns${columns}` }, clusterMap(nodes, workers, [...flows.values()], columns));
}

function charts(load, nodes) {
  if (!load) return el("p", { class: "none" }, "Looking…");
  const until = Math.max(0, ...load.items.flatMap(({ points }) => points.map((point) => point.at_ms)));
  if (until === 0) return el("p", { class: "none" }, "Nothing was measured yet; the first points come within seconds.");
  const first = Math.min(...load.items.flatMap(({ points }) => points.map((point) => point.at_ms)));
  const base = { from: Math.max(until - LONGEST, Math.min(first, until - SHORTEST)), until, gapMs: load.every_s * 2500 };
  const series = (name, value) => load.items.map(({ node, points }) => ({ name: name(node), points: points.map((point) => [point.at_ms, value(point)]) }));
  const gpus = load.items.flatMap(({ node, points }) => {
    const named = nodes.find((one) => one.name === node)?.gpus ?? [];
    return Array.from({ length: points.at(-1)?.gpus.length ?? 0 }, (_, at) => ({ node, at, name: `${node} ${named[at]?.name ?? `GPU ${at}`}`, room: named[at]?.memory_bytes, points }));
  });
  const over = (value) => gpus.map((gpu) => ({ name: gpu.name, points: gpu.points.filter((point) => point.gpus[gpu.at]).map((point) => [point.at_ms, value(point.gpus[gpu.at], gpu)]) }));
  const asks = [...series((node) => `${node} running`, (point) => point.busy), ...series((node) => `${node} waiting`, (point) => point.queued).filter(({ points }) => points.some(([, value]) => value > 0))];
  const most = Math.max(1, ...asks.flatMap(({ points }) => points.map(([, value]) => value)));
  return [
    el("div", { class: "charts" },
      lineChart({ ...base, title: "Processors", series: series((node) => node, (point) => point.cpu_used), most: 1, format: percent }),
      lineChart({ ...base, title: "Asks", series: asks, most, format: (value) => String(Math.round(value * 10) / 10) }),
      gpus.length === 0 ? el("figure", {}, el("figcaption", {}, "GPUs"), el("p", { class: "none" }, "No node reports a GPU."))
        : [lineChart({ ...base, title: "GPUs", series: over((gpu) => gpu.used), most: 1, format: percent }),
          lineChart({ ...base, title: "GPU memory", series: over((gpu, { room }) => (room ? gpu.memory_used_bytes / room : 0)), most: 1, format: percent })]),
    el("p", { class: "seen" }, `A point each ${seconds(load.every_s)}. ${seenBy(load)}`),
  ];
}

function nodeTable(nodes) {
  const memory = (node) => (node.memory_bytes ? (node.memory_bytes - node.memory_free_bytes) / node.memory_bytes : 0);
  return table(seenBy(nodes), [
    ["Node", (node) => [el("strong", {}, node.name), node.leader ? " " : "", node.leader ? tag("plain", `leads, epoch ${node.epoch}`) : ""]],
    ["State", (node) => tag(tone(node.state), node.state)],
    ["Heard", (node) => (node.heard_s === 0 ? "this node" : `${seconds(node.heard_s)} ago`)],
    ["Processors", (node) => [percent(node.cpu_used), meter(node.cpu_used, `${percent(node.cpu_used)} of the processors`)]],
    ["Memory", (node) => [`${bytes(node.memory_free_bytes)} free`, meter(memory(node), `${percent(memory(node))} of the memory is taken`)]],
    ["GPUs", (node) => (node.gpus.length === 0 ? "none" : node.gpus.map((gpu) => el("div", {}, gpu.fault ? tag("bad", `${gpu.name}: ${gpu.fault}`) : `${gpu.name} ${percent(gpu.used)}, ${bytes(gpu.memory_used_bytes)} of ${bytes(gpu.memory_bytes)}`)))],
    ["", (node) => drainButton(node)],
  ], nodes.items.map((node) => ({ ...node, key: node.name })), "No node has reported yet.");
}

function drainButton(node) {
  const undo = node.state === "draining";
  if (!undo && !["alive", "stale"].includes(node.state)) return "";
  const act = async () => {
    const explanation = "It gets no new asks. What runs there is finished, and its models move to other nodes. It can be taken back in.";
    if (!undo && !(await confirmed(`Drain ${node.name}?`, explanation, "Drain it"))) return;
    try {
      const told = await send(`/api/cluster/nodes/${encodeURIComponent(node.name)}/drain`, { undo });
      notice("drain", "good", undo ? `${node.name} takes asks again.` : `${node.name} drains; ${count(told.running, "ask")} still run there.`);
    } catch (error) {
      notice("drain", "bad", `${node.name} was not changed: ${why(error)}`);
    }
  };
  return button(undo ? "Take back in" : "Drain", act, { "aria-label": `${undo ? "Take back in" : "Drain"} ${node.name}` });
}

function workerTable(workers) {
  return table(seenBy(workers), [
    ["Worker", (worker) => el("strong", {}, worker.name)],
    ["State", (worker) => [tag(tone(worker.state), worker.state), worker.reason ? ` ${worker.reason}` : ""]],
    ["Engine", (worker) => worker.backend],
    ["Running", (worker) => [`${worker.busy} of ${worker.slots}`, meter(worker.slots ? worker.busy / worker.slots : 0, `${worker.busy} of ${worker.slots} slots are taken`)]],
    ["Waiting", (worker) => String(worker.queued)],
    ["Loaded", (worker) => orDash(worker.loaded.join(", "))],
  ], workers.items.map((worker) => ({ ...worker, key: worker.name })), "No worker yet: give a node an engine under [[workers]].");
}
