// Numbers and states in the words that people read.

export function bytes(count) {
  if (!count) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const step = Math.min(units.length - 1, Math.floor(Math.log2(count) / 10));
  const value = count / 2 ** (10 * step);
  return `${value >= 100 || step === 0 ? Math.round(value) : value.toFixed(1)} ${units[step]}`;
}

export function seconds(count) {
  if (count === null || count === undefined) return "–";
  if (count < 0.0005) return "0 s";
  if (count < 1) return `${Math.round(count * 1000)} ms`;
  if (count < 60) return `${count < 10 ? count.toFixed(1) : Math.round(count)} s`;
  if (count < 3600) return `${Math.floor(count / 60)} min ${Math.round(count % 60)} s`;
  if (count < 172800) return `${Math.floor(count / 3600)} h ${Math.floor((count % 3600) / 60)} min`;
  return `${Math.floor(count / 86400)} days`;
}

export const percent = (share) => `${Math.round((share ?? 0) * 100)} %`;
export const rate = (tokens) => (tokens ? `${tokens < 10 ? tokens.toFixed(1) : Math.round(tokens)} tok/s` : "–");
export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;
export const orDash = (text) => (text ? text : "–");
export const ago = (ms) => (ms < 1500 ? "just now" : `${seconds(Math.round(ms / 1000))} ago`);

/** An instant of the server, on this reader's clock face. */
export function clock(stamp) {
  const at = new Date(stamp);
  if (Number.isNaN(at.getTime()) || at.getTime() === 0) return "–";
  const time = at.toLocaleTimeString([], { hour12: false });
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString()} ${time}`;
}

const TONES = {
  good: ["alive", "ready", "ok", "done", "answered", "quoted", "supported", "recovered", "mended", "loopback", "local", "low"],
  busy: ["running", "waiting", "starting", "in-progress", "review", "loading", "pending"],
  odd: ["suspect", "stale", "draining", "degraded", "unsure", "deferred", "cancelled", "medium", "external", "active", "busy"],
  bad: ["lost", "revoked", "down", "failed", "blocked", "high", "critical", "unsupported"],
};

/** Good, busy, odd or bad; for a state that nobody knew of when this was written, plain. */
export const tone = (state) => Object.keys(TONES).find((name) => TONES[name].includes(state)) ?? "plain";

/** Whose view a list is and how old. */
export function seenBy(list) {
  if (!list) return "";
  const who = list.view_of ? `Seen by ${list.view_of}` : "Told by this node";
  const age = list.got_ms ? `, ${ago(Date.now() - list.got_ms)}` : "";
  const stale = list.stale_s > 0 ? `; it has not been whole for ${seconds(list.stale_s)}` : "";
  const missing = list.unreached_nodes?.length ? `; ${list.unreached_nodes.join(", ")} did not answer` : "";
  return `${who}${age}${stale}${missing}.`;
}

/** Why something could not be done, and what to do next, as the end of a sentence. */
export const why = ({ message, hint }) => `${message}${hint ? `; ${hint}` : ""}.`;
