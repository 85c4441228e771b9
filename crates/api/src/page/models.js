// Models that clients may name, and where they are loaded.

import { el, section, table, tag } from "./dom.js";
import { poll } from "./api.js";
import { bytes, rate, seconds, seenBy, orDash, why } from "./words.js";

export const title = "Models";

export function start({ signal, show }) {
  let list = null;
  let error = null;
  const draw = () => show(error ? el("p", { class: "notice bad" }, `The models could not be listed: ${why(error)}`) : null,
    section("Models and placement", list ? whole(list) : el("p", { class: "none" }, "Looking…")));
  poll("/api/cluster/models", 3000, signal, (got) => { list = got; error = null; draw(); }, (refused) => { error = refused; draw(); });
  return draw;
}

function whole(list) {
  return table(seenBy(list), [
    ["Model", (model) => [el("strong", {}, model.name), model.tier ? [" ", tag("plain", model.tier)] : ""]],
    ["Aliases", (model) => orDash(model.aliases.join(", "))],
    ["Where", (model) => (model.places.length === 0 ? "nowhere now" : el("ul", { class: "places" }, model.places.map(place)))],
  ], list.items.map((model) => ({ ...model, key: model.name })), "No model is known yet. Engines are looked at every few seconds.");
}

function place(place) {
  const facts = [
    place.is_loaded ? `${bytes(place.memory_bytes)} in memory` : `${bytes(place.size_bytes)} on disk`,
    place.context_tokens ? `${place.context_tokens} tokens of context` : null,
    place.decode_tok_s ? `writes ${rate(place.decode_tok_s)}` : null,
    place.prefill_tok_s ? `reads ${rate(place.prefill_tok_s)}` : null,
    place.load_s ? `loads in ${seconds(place.load_s)}` : null,
  ].filter(Boolean);
  return el("li", {}, tag(place.is_loaded ? "good" : "plain", place.is_loaded ? "loaded" : "cold"), ` ${place.worker} `,
    place.quarantined_s ? tag("bad", `left alone for ${seconds(place.quarantined_s)}`) : "", el("span", { class: "facts" }, facts.join(", ")));
}
