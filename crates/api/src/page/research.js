// Questions to the documents of the house; every sentence with the passage that says it.

import { el, section, table, tag, button, openDialog, closeButton } from "./dom.js";
import { events, get } from "./api.js";
import { percent, tone, orDash, why } from "./words.js";

export const title = "Research";
const AROUND = 400;
const VERDICTS = { answered: "the documents say it", unsure: "nothing that one should rely on", not_found: "the documents do not say it" };

export function start({ signal, show }) {
  const state = { collections: null, error: null, doing: "", text: "", answer: null, asked: "", work: null };
  const draw = () => show(page(state, ask, stop));
  const ask = async (event) => {
    event.preventDefault();
    const question = document.getElementById("question").value.trim();
    const collection = document.getElementById("collection").value;
    const mode = document.getElementById("writer").value;
    if (!question || state.work) return;
    const work = new AbortController();
    signal.addEventListener("abort", () => work.abort());
    Object.assign(state, { doing: "Looking…", text: "", answer: null, error: null, asked: question, work });
    draw();
    const filter = collection ? { collections: [collection] } : {};
    try {
      await events("/api/research/ask", work.signal, (name, told) => {
        if (name === "doing") state.doing = told.text;
        if (name === "delta") state.text += told.text;
        if (name === "answer") state.answer = told;
        if (name === "error") state.error = told;
        draw();
      }, { question, filter, mode, stream: true });
      if (!state.answer && !state.error) state.error = { message: "the answer broke off", hint: "ask again" };
    } catch (error) {
      state.error = work.signal.aborted ? { message: "stopped", hint: "" } : error;
    }
    Object.assign(state, { work: null, doing: "" });
    if (!signal.aborted) draw();
  };
  const stop = () => state.work?.abort();
  get("/api/research/collections", signal).then((list) => { state.collections = list.items; draw(); }, (error) => { if (!signal.aborted) { state.error = error; draw(); } });
  return draw;
}

function page(state, ask, stop) {
  const { collections } = state;
  const form = el("form", { class: "ask", onsubmit: ask },
    el("label", { for: "question" }, "Question"),
    el("textarea", { id: "question", rows: "2", required: true, maxlength: "4000" }),
    el("p", { class: "choices" },
      el("label", { for: "collection" }, "Look in"), el("select", { id: "collection" }, el("option", { value: "" }, "everything"), (collections ?? []).map((one) => el("option", { value: one.name }, one.name))),
      el("label", { for: "writer" }, "Written by"), el("select", { id: "writer" }, el("option", { value: "auto" }, "a model, if one answers well"), el("option", { value: "extractive" }, "nobody: quotes alone"), el("option", { value: "model" }, "a model")),
      el("button", { type: "submit", class: "strong", id: "ask", disabled: Boolean(state.work) }, "Ask"), state.work ? button("Stop", stop) : null));
  return [
    section("Ask the documents", form, outcome(state)),
    section("Collections", collections === null ? el("p", { class: "none" }, "Looking…") : table("As the cluster's store has them.", [
      ["Collection", (one) => el("strong", {}, one.name)], ["What for", (one) => orDash(one.description)], ["Documents", (one) => orDash(String(one.documents ?? ""))],
    ], collections.map((one) => ({ ...one, key: one.name })), "No documents yet. tmctl research add FILE brings the first.")),
  ];
}

function outcome({ answer, error, doing, text, asked }) {
  return el("div", { "aria-live": "polite", id: "outcome" },
    error ? el("p", { class: "notice bad" }, `No answer: ${why(error)}`) : null,
    doing ? el("p", { class: "none" }, doing) : null,
    answer ? answered(answer, asked) : text ? el("p", { class: "text" }, text) : null);
}

function answered(answer) {
  const cite = (number) => {
    const citation = answer.citations.find((one) => one.number === number);
    return citation ? button(`[${number}]`, () => passage(citation), { class: "cite", "aria-label": `Source ${number}: ${citation.title || citation.source}` }) : null;
  };
  const sentences = answer.sentences.map((one) => [`${one.text} `, one.cites.map(cite), one.support === "unsupported" ? tag("bad", "not found in its source") : null, " "]);
  return [
    el("h3", {}, answer.question),
    el("p", { class: "answer" }, sentences.length > 0 ? sentences : answer.text),
    el("p", { class: "facts" }, tag(tone(answer.verdict), VERDICTS[answer.verdict] ?? answer.verdict), ` ${percent(answer.confidence.value)} sure. ${answer.model ? `Written by ${answer.model}.` : "Quoted as it stands in the sources."} Search: ${answer.search}.`),
    answer.contradictions.length > 0 ? el("ul", {}, answer.contradictions.map((one) => el("li", {}, tag("odd", "they differ"), " ", cite(one.one), " and ", cite(one.other), ` about ${one.about}`))) : null,
    answer.notes.length > 0 ? el("ul", {}, answer.notes.map((note) => el("li", {}, note))) : null,
    answer.citations.length > 0 ? el("ol", { class: "citations" }, answer.citations.map((one) => el("li", { value: one.number }, button(one.title || one.source, () => passage(one), { class: "link" }), ` ${one.headings}`, el("blockquote", {}, one.quote)))) : null,
  ];
}

/** Shows where a citation stands, with what is around it. */
async function passage(citation) {
  const { span, collection } = citation;
  let around = null;
  let error = null;
  const close = closeButton();
  const draw = () => [
    el("p", { class: "facts" }, `${citation.source}, in ${collection}, version ${span.version}, characters ${span.start} to ${span.end}${citation.page ? `, page ${citation.page}` : ""}${citation.licence ? `, ${citation.licence}` : ""}.`),
    error ? el("p", { class: "notice bad" }, `The document could not be read: ${why(error)}`) : null,
    around ? el("p", { class: "text passage" }, around.before, el("mark", {}, around.quote), around.after) : el("p", {}, error ? citation.quote : "Looking…"),
    around?.changed ? el("p", { class: "notice odd" }, "The document has changed since: what is marked is what stands there now.") : null,
    close,
  ];
  const redraw = openDialog(citation.title || citation.source, draw);
  try {
    const [from, to] = [Math.max(0, span.start - AROUND), span.end + AROUND];
    const path = `/api/research/collections/${encodeURIComponent(collection)}/documents/${encodeURIComponent(span.document)}?start=${from}&end=${to}`;
    const document_ = await get(path);
    // Characters are counted as people do, not as this language does.
    const characters = [...document_.content];
    const part = (start, end) => characters.slice(start - from, end - from).join("");
    around = { before: part(from, span.start), quote: part(span.start, span.end), after: part(span.end, to), changed: document_.version !== span.version };
  } catch (refused) { error = refused; }
  if (document.getElementById("dialog").open) redraw();
}
