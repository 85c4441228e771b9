// The frame: sections by the address behind #, the live stream, the key, and how old everything is.

import { el, show, notice, openDialog, closeDialog, button, tag } from "./dom.js";
import { events, key, keepKey, onKeyWanted } from "./api.js";
import { ago, seconds, tone, orDash } from "./words.js";
import * as overview from "./overview.js";
import * as models from "./models.js";
import * as asks from "./asks.js";
import * as jobs from "./jobs.js";
import * as tasks from "./tasks.js";
import * as research from "./research.js";
import * as failures from "./failures.js";
import * as privacy from "./privacy.js";

const SECTIONS = { overview, models, asks, jobs, tasks, research, failures, privacy };
const STALE_MS = 4000;
const EVENTS_KEPT = 50;
const PAUSES_MS = [500, 1000, 2000, 5000];

/** What the live stream told last; sections draw from it. */
const live = { picture: null, gotMs: 0, events: [], isConnected: false };
let current = null;

function route() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  return { name: name in SECTIONS ? name : "overview", rest: rest.map(decodeURIComponent) };
}

function enter() {
  const { name, rest } = route();
  if (current?.name === name && current.section.move?.(rest)) return;
  current?.stop.abort();
  // What was done was said; elsewhere it would only stand in the way.
  document.querySelectorAll(".notice.good").forEach((line) => line.remove());
  const stop = new AbortController();
  const root = document.getElementById("main");
  root.replaceChildren();
  const section = SECTIONS[name];
  const context = { live, signal: stop.signal, rest, show: (...children) => { if (!stop.signal.aborted) show(root, ...children); } };
  current = { name, section, stop, draw: section.start(context) };
  show(document.getElementById("sections"), Object.entries(SECTIONS).map(([other, { title }]) =>
    el("li", {}, el("a", { href: `#/${other}`, "aria-current": other === name ? "page" : null }, title))));
  document.title = `${section.title} – Taskmaster`;
  current.draw?.();
}

function standing() {
  const { picture, gotMs } = live;
  const age = Date.now() - gotMs;
  const isOld = picture !== null && age > STALE_MS;
  if (picture) {
    const { health, mode, nodes } = picture;
    const alive = nodes.items.filter((node) => node.state === "alive").length;
    show(document.getElementById("standing"), tag(isOld ? "odd" : tone(health.verdict), isOld ? "not heard" : health.verdict), " ",
      `${alive} of ${nodes.items.length} nodes alive, `, el("a", { href: "#/privacy" }, mode.mode));
    show(document.getElementById("seen"), `Seen by ${orDash(nodes.view_of)}, ${ago(age)}.`);
    const stale = health.stale_s > 0;
    notice("store", "stale", stale ? `The store has not answered for ${seconds(health.stale_s)}: this is the last view that was whole. Asks go on; plans and settings wait.` : "");
  }
  notice("live", "stale", isOld || (!live.isConnected && live.failure)
    ? `${live.failure ? `${live.failure[0].toUpperCase()}${live.failure.slice(1)}. ` : ""}${picture ? `What stands here is ${seconds(Math.round(age / 1000))} old. ` : ""}Trying again.` : "");
}

async function follow() {
  for (let failed = 0; ; failed += 1) {
    const stop = new AbortController();
    // A connection can be dead without an end; a picture comes each second.
    const watchdog = setInterval(() => { if (Date.now() - live.heardMs > 3 * STALE_MS) stop.abort(); }, 1000);
    live.heardMs = Date.now();
    try {
      await events("/api/cluster/live", stop.signal, (name, told) => {
        live.heardMs = Date.now();
        if (name === "picture") {
          for (const list of Object.values(told)) list.got_ms = Date.now();
          Object.assign(live, { picture: told, gotMs: Date.now(), isConnected: true, failure: "" });
          failed = 0;
        } else if (name === "event") {
          live.events.unshift(told);
          live.events.length = Math.min(live.events.length, EVENTS_KEPT);
        } else if (name === "error") {
          stop.abort();
        }
        standing();
        current?.draw?.();
      });
      live.failure = "The node ended the stream";
    } catch (error) {
      live.failure = error.name === "AbortError" ? "The node fell silent" : error.message;
      if (error.status === 401) await keyGiven();
    }
    clearInterval(watchdog);
    live.isConnected = false;
    standing();
    await new Promise((resolve) => setTimeout(resolve, PAUSES_MS[Math.min(failed, PAUSES_MS.length - 1)]));
  }
}

let wakeUp = [];
const keyGiven = () => new Promise((resolve) => wakeUp.push(resolve));

function keyWanted(wasWrong) {
  if (document.getElementById("key")) return;
  const give = (event) => {
    event.preventDefault();
    keepKey(document.getElementById("key").value.trim());
    closeDialog();
    wakeUp.splice(0).forEach((wake) => wake());
    current?.stop.abort();
    current = null;
    enter();
  };
  keepKey("");
  openDialog("A key, please", () => el("form", { onsubmit: give },
    el("p", {}, wasWrong ? "This node does not know that key. " : "This node answers only holders of a key. ",
      "The key stays in this tab and is forgotten when the tab is closed. ", el("code", {}, "tmctl keys create NAME"), " makes one."),
    el("label", { for: "key" }, "API key"),
    el("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true }),
    el("p", { class: "choices" }, el("button", { type: "submit", class: "strong" }, "Use it"))));
  document.getElementById("key").focus();
}

document.querySelector(".skip").onclick = (event) => { event.preventDefault(); document.getElementById("main").focus(); };
onKeyWanted(keyWanted);
document.getElementById("dialog").addEventListener("close", ({ target }) => { if (!target.open) target.replaceChildren(); });
addEventListener("hashchange", enter);
setInterval(() => { standing(); current?.draw?.(); }, 1000);
enter();
follow();
