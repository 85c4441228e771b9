// The board of a project's tasks, and the graph of what waits for what.

import { el, section, tag, button, table, openDialog, closeButton, notice } from "./dom.js";
import { get, poll, send } from "./api.js";
import { graph } from "./graph.js";
import { ago, tone, orDash, count, why } from "./words.js";

export const title = "Tasks";
const STATUSES = ["pending", "in-progress", "review", "done", "blocked", "deferred", "cancelled"];
const MAIN = ["pending", "in-progress", "review", "done"];

export function start({ signal, rest, show }) {
  const state = { projects: null, project: rest[0] ?? "", tag: rest[1] ?? "", tasks: null, error: null, open: null, redraw: null };
  const failed = (error) => { state.error = error; draw(); };
  const draw = () => { show(page(state, choose, open)); state.redraw?.(); };
  const path = () => `/api/projects/${encodeURIComponent(state.project)}/tasks?tag=${encodeURIComponent(state.tag)}`;
  let soon = () => {};
  let following = null;
  const follow = () => {
    following?.abort();
    following = new AbortController();
    signal.addEventListener("abort", () => following.abort());
    if (state.project) soon = poll(path, 2000, following.signal, (got) => { Object.assign(state, { tasks: got, error: null }); draw(); }, failed);
  };
  const choose = (project, tagName) => {
    Object.assign(state, { project, tag: tagName, tasks: null });
    history.replaceState(null, "", `#/tasks/${encodeURIComponent(project)}${tagName ? `/${encodeURIComponent(tagName)}` : ""}`);
    follow();
    draw();
  };
  const open = (id) => {
    state.open = String(id);
    const redraw = openDialog(`Task ${id}`, () => details(state, soon), () => { state.open = null; state.redraw = null; });
    state.redraw = () => { if (state.open !== null) redraw(); };
  };
  const projects = async () => {
    try {
      state.projects = (await get("/api/projects", signal)).items;
      if (!state.project && state.projects.length > 0) state.project = state.projects[0].name;
      follow();
    } catch (error) { if (!signal.aborted) failed(error); }
    if (!signal.aborted) draw();
  };
  projects();
  return draw;
}

function page({ projects, project, tag: tagName, tasks, error }, choose, open) {
  if (projects === null && !error) return el("p", { class: "none" }, "Looking…");
  const refused = error ? el("p", { class: "notice bad" }, `The tasks could not be listed: ${why(error)}`) : null;
  if (!projects || projects.length === 0) return [refused, section("Tasks", error ? null : el("p", { class: "none" }, "No project yet. ", el("code", {}, "tmctl projects create NAME"), " makes one, and ", el("code", {}, "tmctl plan parse FILE"), " fills it."))];
  const chosen = projects.find((one) => one.name === project);
  const pick = (label, id, values, value, then) => [el("label", { for: id }, label), el("select", { id, onchange: (event) => then(event.target.value) },
    values.map((name) => el("option", { value: name, selected: name === value }, name)))];
  const tags = chosen?.tags?.map((one) => one.name) ?? [];
  return [
    refused,
    el("p", { class: "choices" }, pick("Project", "project", projects.map((one) => one.name), project, (name) => choose(name, "")),
      tags.length > 0 ? pick("Tag", "tag", tags, tagName || chosen.currentTag, (name) => choose(project, name)) : null),
    tasks ? [section("Board", sum(tasks), board(tops(tasks), open)), section("Dependencies", tops(tasks).length === 0 ? el("p", { class: "none" }, "No tasks, no dependencies.") : graph(tops(tasks), open))] : el("p", { class: "none" }, "Looking…"),
  ];
}

// A list holds subtasks on lines of their own as well.
const tops = ({ items }) => items.filter((task) => !String(task.id).includes("."));

function sum(tasks) {
  return el("p", { class: "seen" }, `Tag ${tasks.tag}, revision ${tasks.revision}, read from the cluster's store, ${ago(Date.now() - tasks.got_ms)}.`,
    tasks.draftBecause?.length ? [" ", tag("odd", "a draft"), ` ${[tasks.draftBecause].flat().join("; ")}`] : null);
}

function board(tasks, open) {
  if (tasks.length === 0) return el("p", { class: "none" }, "No tasks in this tag.");
  const shown = STATUSES.filter((status) => MAIN.includes(status) || tasks.some((task) => task.status === status));
  const column = (status) => {
    const own = tasks.filter((task) => task.status === status);
    return el("section", { class: "column", "aria-label": status }, el("h3", {}, tag(tone(status), status), ` ${own.length}`),
      own.length === 0 ? el("p", { class: "none" }, "none") : el("ul", {}, own.map((task) => card(task, open))));
  };
  return el("div", { class: "board" }, shown.map(column));
}

function card(task, open) {
  const done = (task.subtasks ?? []).filter((one) => one.status === "done").length;
  const facts = [task.priority, task.dependencies?.length ? `waits for ${task.dependencies.join(", ")}` : "", task.subtasks?.length ? `${done} of ${count(task.subtasks.length, "subtask")} done` : ""];
  return el("li", { "data-key": task.id }, button([el("strong", {}, `${task.id} `), task.title, el("span", { class: "facts" }, facts.filter(Boolean).join(" · "))], () => open(task.id), { class: "task", "data-task": task.id }));
}

function details(state, soon) {
  const task = state.tasks?.items.find((one) => String(one.id) === state.open);
  const close = closeButton();
  if (!task) return [el("p", {}, "This task is gone: somebody deleted or moved it."), close];
  const status = (name) => button(name, () => change(state, task, name, soon), { "aria-pressed": String(task.status === name), "data-status": name });
  const text = (name, words) => (words ? [el("h3", {}, name), el("p", { class: "text" }, words)] : null);
  return [
    el("p", {}, el("strong", {}, task.title)),
    el("p", { class: "choices", role: "group", "aria-label": "Status" }, STATUSES.map(status)),
    el("p", { class: "facts" }, `Priority ${task.priority}; waits for ${orDash(task.dependencies?.join(", "))}${task.complexity ? `; complexity ${task.complexity}` : ""}.`),
    text("What it is", task.description), text("Details", task.details), text("How it is tested", task.testStrategy),
    task.subtasks?.length ? table("Subtasks", [["Id", (one) => one.id], ["Title", (one) => one.title], ["Status", (one) => tag(tone(one.status), one.status)]], task.subtasks, "") : null,
    close,
  ];
}

async function change(state, task, status, soon) {
  if (task.status === status) return;
  try {
    const edits = [{ edit: "set-status", ids: [task.id], status }];
    const told = await send(`/api/projects/${encodeURIComponent(state.project)}/edits`, { tag: state.tag, edits, expected: [[task.id, task.version]] });
    notice("task", "good", `${told.inWords.join("; ") || "Nothing changed"}. ${(told.notes ?? []).join(" ")}`);
  } catch (error) {
    notice("task", "bad", error.status === 409 ? `Task ${task.id} was changed by somebody else meanwhile; look at it again.` : `Task ${task.id} was not changed: ${why(error)}`);
  }
  soon();
}
