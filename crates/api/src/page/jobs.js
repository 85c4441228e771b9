// Durable work: how far it is, who does it, and an end to it.

import { el, section, table, tag, button, confirmed, notice } from "./dom.js";
import { poll, send } from "./api.js";
import { ago, clock, seconds, tone, orDash, why } from "./words.js";

export const title = "Jobs";

export function start({ signal, show }) {
  let list = null;
  let error = null;
  const draw = () => show(error ? el("p", { class: "notice bad" }, `The jobs could not be listed: ${why(error)}`) : null,
    section("Jobs", list ? whole(list, soon) : el("p", { class: "none" }, "Looking…")));
  const soon = poll("/api/jobs", 1500, signal, (got) => { list = got; error = null; draw(); }, (refused) => { error = refused; draw(); });
  return draw;
}

function whole(list, soon) {
  const newest = [...list.items].sort((one, other) => (one.createdAt < other.createdAt ? 1 : -1));
  return table(`Read from the cluster's store, ${ago(Date.now() - list.got_ms)}.`, [
    ["Job", (job) => [el("strong", {}, job.work), el("div", { class: "facts" }, job.job)]],
    ["For", (job) => [orDash([job.project, job.tag].filter(Boolean).join("/")), job.who ? el("div", { class: "facts" }, job.who) : ""]],
    ["State", (job) => [tag(tone(job.state), job.state), job.error ? el("div", { class: "facts" }, `${why(job.error)}`) : ""]],
    ["Progress", progress],
    ["Node", (job) => orDash(job.node)],
    ["Begun", (job) => clock(job.createdAt)],
    ["", (job) => (["running", "waiting"].includes(job.state) ? button("Cancel", () => cancel(job, soon), { "aria-label": `Cancel ${job.job}` }) : "")],
  ], newest.map((job) => ({ ...job, key: job.job })), "No jobs. A plan made from a document, or research in rounds, is one.");
}

function progress(job) {
  const { done, total, current, estimate_s: left } = job.progress ?? {};
  const isOver = !["running", "waiting"].includes(job.state);
  if (!total) return isOver ? "–" : "not counted yet";
  return [
    el("progress", { max: total, value: job.state === "done" ? total : done, "aria-label": `${done} of ${total} steps` }),
    el("div", { class: "facts" }, `${job.state === "done" ? total : done} of ${total} steps${isOver || !left ? "" : `, ${seconds(left)} left`}${isOver || !current ? "" : `: ${current}`}`),
  ];
}

async function cancel(job, soon) {
  const explanation = "It ends at once, down to the engine. What its finished steps wrote stays. It cannot be taken up again.";
  if (!(await confirmed(`Cancel ${job.work}?`, explanation, "Cancel it"))) return;
  try {
    const told = await send(`/api/jobs/${encodeURIComponent(job.job)}`, undefined, "DELETE");
    notice("job", "good", told.state === "running" ? `${job.work} ends within a moment.` : `${job.work} is ${told.state}.`);
  } catch (error) {
    notice("job", "bad", `The job was not cancelled: ${why(error)}`);
  }
  soon();
}
