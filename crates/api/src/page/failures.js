// What broke, what was done about it, and what else happens.

import { el, section, table, tag } from "./dom.js";
import { poll } from "./api.js";
import { clock, percent, seenBy, tone, orDash, count, why } from "./words.js";

export const title = "Failures";

export function start({ live, signal, show }) {
  let list = null;
  let error = null;
  const draw = () => show(
    error ? el("p", { class: "notice bad" }, `The failures could not be listed: ${why(error)}`) : null,
    live.picture ? section("Health", el("p", {}, tag(tone(live.picture.health.verdict), live.picture.health.verdict)),
      live.picture.health.reasons.length === 0 ? el("p", { class: "none" }, "Nothing is wrong now.") : el("ul", {}, live.picture.health.reasons.map((reason) => el("li", {}, reason)))) : null,
    section("Failures", list ? [el("p", {}, `${count(list.active, "failure")} active; ${percent(list.recovery_rate)} of those that ended were mended.`), whole(list)] : el("p", { class: "none" }, "Looking…")),
    section("Events", el("p", { class: "seen" }, `What ${live.picture?.nodes.view_of ?? "this node"} saw since this page was opened, newest first.`),
      live.events.length === 0 ? el("p", { class: "none" }, "Nothing happened yet.") : el("ol", { class: "events" }, live.events.map((event) =>
        el("li", {}, el("time", {}, clock(event.at)), " ", tag("plain", event.kind), ` ${event.subject}: ${event.text}`)))));
  poll("/api/cluster/failures?limit=200", 2000, signal, (got) => { list = got; error = null; draw(); }, (refused) => { error = refused; draw(); });
  return draw;
}

function whole(list) {
  return table(seenBy(list), [
    ["When", (failure) => clock(failure.at)],
    ["What", (failure) => [el("strong", {}, failure.subject), el("div", { class: "facts" }, failure.detail)]],
    ["Seen by", (failure) => failure.id.split("/")[0]],
    ["Kind", (failure) => [failure.kind, " ", tag(tone(failure.severity), failure.severity)]],
    ["Done about it", (failure) => orDash(failure.remedy)],
    ["Outcome", (failure) => tag(failure.is_active ? "odd" : tone(failure.outcome), failure.outcome)],
  ], list.items.map((failure) => ({ ...failure, key: failure.id })), "Nothing has failed since the nodes started.");
}
