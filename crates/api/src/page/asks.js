// Asks that run and that ended lately, each with why it went where it went.

import { el, section, table, tag, button, openDialog, closeButton } from "./dom.js";
import { get, poll } from "./api.js";
import { clock, seconds, seenBy, tone, orDash, count, why } from "./words.js";

export const title = "Asks";

export function start({ signal, show }) {
  let list = null;
  let error = null;
  const draw = () => show(error ? el("p", { class: "notice bad" }, `The asks could not be listed: ${why(error)}`) : null,
    section("Asks", list ? [el("p", {}, `${count(list.running, "ask")} ${list.running === 1 ? "runs" : "run"} now.`), whole(list)] : el("p", { class: "none" }, "Looking…")));
  poll("/api/cluster/asks?limit=100", 1000, signal, (got) => { list = got; error = null; draw(); }, (refused) => { error = refused; draw(); });
  return draw;
}

const isFault = (outcome) => !["ok", "running", "cancelled"].includes(outcome);

function whole(list) {
  return table(seenBy(list), [
    ["Began", (ask) => clock(ask.at)],
    ["Outcome", (ask) => tag(isFault(ask.outcome) ? "bad" : tone(ask.outcome), ask.outcome)],
    ["Model", (ask) => [ask.model ?? ask.asked_model, ask.model && ask.model !== ask.asked_model ? el("div", { class: "facts" }, `asked for ${ask.asked_model}`) : "", ask.fallback ? tag("odd", "fallback") : ""]],
    ["Route", (ask) => el("span", {}, `${ask.node} → ${orDash(ask.worker)}`, ask.runs > 1 ? el("div", { class: "facts" }, `${ask.runs} runs`) : "")],
    ["By", (ask) => [orDash(ask.client), el("div", { class: "facts" }, ask.face)]],
    ["Took", (ask) => seconds(ask.seconds)],
    ["", (ask) => button("Why?", () => route(ask.ask), { "aria-label": `Why ${ask.ask} went there` })],
  ], list.items.map((ask) => ({ ...ask, key: ask.ask })), "No ask came in since this node started.");
}

async function route(ask) {
  let told = null;
  let error = null;
  const draw = () => (error ? el("p", { class: "notice bad" }, `This cannot be told: ${why(error)}`) : told ? explanation(told) : el("p", {}, "Looking…"));
  const redraw = openDialog("Why it went there", () => [draw(), closeButton()]);
  try { told = await get(`/api/cluster/asks/${encodeURIComponent(ask)}`); } catch (refused) { error = refused; }
  if (document.getElementById("dialog").open) redraw();
}

function explanation(told) {
  const reason = (one) => (one.refused_because ? tag("odd", one.refused_because) : one.terms.filter((term) => term.seconds > 0).map((term) => `${term.name} ${seconds(term.seconds)}`).join(", ") || "nothing to wait for");
  return [
    el("p", {}, `${told.ask} asked for ${told.asked_model}; ${told.model ? `${told.model} answers` : "no model was chosen"}${told.fallback ? ` (${told.fallback})` : ""}. ${told.leaning ? `It leaned ${told.leaning}. ` : ""}Decided by ${told.decided_by} at ${clock(told.at)}; outcome: ${told.outcome}.`),
    table("Candidates, the lowest estimate wins", [
      ["Worker", (one) => [el("strong", {}, one.worker), one.worker === told.chosen ? [" ", tag("good", "chosen")] : ""]],
      ["Estimate", (one) => (one.refused_because ? "–" : seconds(one.total_s))],
      ["Made of", reason],
    ], told.candidates, "Nothing was weighed: the answer was kept, or no worker offers the model."),
    table("Runs", [
      ["Worker", (one) => one.worker],
      ["Outcome", (one) => tag(isFault(one.outcome) ? "bad" : tone(one.outcome), one.outcome)],
      ["Tokens", (one) => String(one.tokens)],
      ["Took", (one) => seconds(one.seconds)],
    ], told.runs, "It never ran."),
  ];
}
