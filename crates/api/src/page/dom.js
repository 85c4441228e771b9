// Builds elements, and makes what is there into what shall be there. Text is only ever set as text.

const SVG = "http://www.w3.org/2000/svg";
const HANDLERS = ["onclick", "onchange", "onsubmit", "oninput"];

function made(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (HANDLERS.includes(name)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const el = (tag, properties, ...children) => made(document.createElement(tag), properties, children);
export const svg = (tag, properties, ...children) => made(document.createElementNS(SVG, tag), properties, children);

/** Makes the children of `parent` into `wanted`, and keeps what is alike: focus, scrolling and what is typed stay. */
export function show(parent, ...wanted) {
  const next = wanted.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
  next.forEach((child, at) => {
    const old = parent.childNodes[at];
    if (old === undefined) parent.append(child);
    else if (!become(old, child)) old.replaceWith(child);
  });
  while (parent.childNodes.length > next.length) parent.lastChild.remove();
}

function become(old, wanted) {
  if (old.nodeType !== wanted.nodeType || old.nodeName !== wanted.nodeName) return false;
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== wanted.data) old.data = wanted.data;
    return true;
  }
  if (old.getAttribute("data-key") !== wanted.getAttribute("data-key")) return false;
  // Whether something is open is the reader's choice.
  const kept = (name) => name === "open" && ["DETAILS", "DIALOG"].includes(old.nodeName);
  for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name) && !kept(name)) old.removeAttribute(name);
  for (const { name, value } of [...wanted.attributes]) if (old.getAttribute(name) !== value && !kept(name)) old.setAttribute(name, value);
  for (const handler of HANDLERS) if (old[handler] !== wanted[handler]) old[handler] = wanted[handler];
  show(old, ...wanted.childNodes);
  return true;
}

/** A table that becomes cards on a phone. `columns`: [title, cell of a row, class]. */
export function table(caption, columns, rows, none) {
  if (rows.length === 0) return el("p", { class: "none" }, none);
  const head = columns.map(([title]) => el("th", { scope: "col", role: "columnheader" }, title));
  const line = (row) => el("tr", { role: "row", "data-key": row.key },
    columns.map(([title, cell, kind]) => el("td", { role: "cell", "data-label": title, class: kind }, cell(row))));
  return el("table", { role: "table" }, el("caption", {}, caption),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, head)), el("tbody", { role: "rowgroup" }, rows.map(line)));
}

export const button = (text, onclick, more) => el("button", { type: "button", onclick, ...more }, text);
export const tag = (tone, text) => el("span", { class: `tag ${tone}` }, text);
export const section = (title, ...children) => el("section", {}, el("h2", {}, title), children);

const dialog = () => document.getElementById("dialog");

/** Opens a dialog; gives what draws it anew. */
export function openDialog(title, draw, onclose) {
  const whole = dialog();
  const redraw = () => show(whole, el("div", { class: "dialog" }, el("h2", { id: "dialog-title" }, title), draw()));
  redraw();
  // The event comes a moment after the end; by then the next one may be open.
  whole.onclose = () => { if (!whole.open) onclose?.(); };
  if (!whole.open) whole.showModal();
  return redraw;
}

export const closeDialog = () => dialog().close();

/** The line with the button that closes a dialog. */
export const closeButton = () => el("p", { class: "choices" }, button("Close", closeDialog));

/** Asks before something that is hard to undo. */
export function confirmed(question, explanation, yes) {
  return new Promise((resolve) => {
    const answer = (is) => () => { resolve(is); closeDialog(); };
    openDialog(question, () => [
      el("p", {}, explanation),
      el("p", { class: "choices" }, button("No, leave it", answer(false), { id: "no" }), button(yes, answer(true), { id: "yes", class: "strong" })),
    ], () => resolve(false));
  });
}

/** Says something at the top; what is said under a name replaces what was said under it. */
export function notice(name, tone, text) {
  const place = document.getElementById("notices");
  place.querySelector(`[data-name="${name}"]`)?.remove();
  if (!text) return;
  const line = el("p", { class: `notice ${tone}`, "data-name": name }, text, " ");
  if (tone !== "stale") line.append(button("Close", () => line.remove()));
  place.append(line);
}
