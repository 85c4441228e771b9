// What may leave the house, and the record of what was dialled.

import { el, section, table, tag, button, confirmed, notice } from "./dom.js";
import { poll, send } from "./api.js";
import { clock, seenBy, tone, orDash, count, why } from "./words.js";

export const title = "Privacy";

const MEANING = {
  "local-only": "Nothing leaves the house.",
  "local-preferred": "Machines of the house answer; others only where none of them can.",
  hybrid: "Simple asks stay in the house; difficult ones may leave it.",
  "external-preferred": "Services outside answer; machines of the house where those cannot.",
  "external-only": "Only services outside answer.",
};
const VERDICTS = { "refused-external": "would have left the house", "refused-special": "an address for nobody" };

export function start({ live, signal, show }) {
  let list = null;
  let error = null;
  const draw = () => show(
    live.picture ? modes(live.picture.mode) : el("p", { class: "none" }, "Waiting for the first picture of the cluster…"),
    error ? el("p", { class: "notice bad" }, `The record could not be read: ${why(error)}`) : null,
    section("What this node dialled", list ? whole(list) : el("p", { class: "none" }, "Looking…")));
  poll("/api/cluster/dialled", 3000, signal, (got) => { list = got; error = null; draw(); }, (refused) => { error = refused; draw(); });
  return draw;
}

function modes(mode) {
  const choice = (name) => el("li", {}, button(name, () => change(mode, name), { "aria-pressed": String(name === mode.mode), disabled: mode.is_locked && name !== mode.mode }), el("span", {}, MEANING[name] ?? ""));
  return section("Mode",
    el("p", {}, `${mode.mode} since ${clock(mode.since)}, set by ${orDash(mode.set_by)}. It holds for every node.`),
    mode.is_locked ? el("p", { class: "notice odd" }, `This node is locked to local-only for as long as it runs${mode.not_followed ? `, and does not follow ${mode.not_followed}` : ""}.`) : null,
    el("ul", { class: "modes", "aria-label": "Modes" }, mode.modes.map(choice)));
}

async function change(mode, name) {
  if (name === mode.mode) return;
  const opens = name !== "local-only";
  if (opens && !(await confirmed(`Change to ${name}?`, `${MEANING[name] ?? ""} Prompts that have left cannot be called back.`, `Change to ${name}`))) return;
  try {
    const told = await send("/api/cluster/mode", { mode: name });
    const missing = [told.unreached_nodes.length ? `${told.unreached_nodes.join(", ")} will follow when heard again` : "", told.locked_nodes.length ? `${told.locked_nodes.join(", ")} stay local-only` : ""].filter(Boolean);
    notice("mode", "good", `The mode is ${name}; it was ${told.before}.${missing.length ? ` ${missing.join("; ")}.` : ""}`);
  } catch (error) {
    notice("mode", "bad", `The mode was not changed: ${why(error)}`);
  }
}

function whole(list) {
  const outside = list.counts.filter(({ verdict }) => verdict === "external").reduce((sum, one) => sum + one.count, 0);
  const refused = list.counts.filter(({ verdict }) => verdict.startsWith("refused")).reduce((sum, one) => sum + one.count, 0);
  return [
    el("p", {}, tag(outside === 0 ? "good" : "odd", outside === 0 ? "nothing left the house" : `${count(outside, "connection")} left the house`), ` since this node started; ${count(refused, "dial")} refused. Other nodes keep records of their own: open their pages.`),
    table(seenBy(list), [
      ["Destination", (one) => el("strong", {}, `${one.host}:${one.port}`)],
      ["For", (one) => one.purpose],
      ["Verdict", (one) => [tag(one.verdict.startsWith("refused") ? "bad" : tone(one.verdict), one.verdict), VERDICTS[one.verdict] ? ` ${VERDICTS[one.verdict]}` : ""]],
      ["Times", (one) => String(one.count)],
      ["Last", (one) => clock(one.last)],
    ], list.items.map((one) => ({ ...one, key: `${one.host}:${one.port} ${one.purpose} ${one.verdict}` })), "Nothing was dialled yet."),
  ];
}
