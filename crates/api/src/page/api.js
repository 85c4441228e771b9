// Calls of this server and no other. The key of a person stands in this tab's memory and nowhere else.

const KEY = "taskmaster-key";
const PATIENCE_MS = 15000;
const LONGEST_EVENT = 8 << 20;
let askForKey = () => {};

export const key = () => sessionStorage.getItem(KEY) ?? "";
export const keepKey = (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY));
export const onKeyWanted = (then) => { askForKey = then; };

/** What a server refused, in its words. */
export class Refused extends Error {
  constructor(status, told) {
    super(told?.message ?? `the server answered with status ${status}`);
    this.status = status;
    this.code = told?.code ?? "";
    this.hint = told?.hint ?? "";
    this.told = told;
  }
}

async function answered(path, options) {
  const headers = { accept: "application/json", ...options.headers };
  if (key()) headers.authorization = `Bearer ${key()}`;
  if (options.body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError" || error.name === "TimeoutError") throw error;
    throw new Refused(0, { message: "this node cannot be reached", hint: "It may have been switched off; open the page of another node" });
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  const refused = new Refused(response.status, told?.error ?? told?.conflict ?? null);
  refused.body = told;
  if (response.status === 401) askForKey(Boolean(key()));
  throw refused;
}

const limited = (signal) => (signal ? AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]) : AbortSignal.timeout(PATIENCE_MS));

export async function get(path, signal) {
  return (await answered(path, { signal: limited(signal) })).json();
}

export async function send(path, body, method = "POST") {
  const response = await answered(path, { method, body: body === undefined ? undefined : JSON.stringify(body), headers: { "x-tm-who": "page" }, signal: limited() });
  return response.json();
}

/** Reads a stream of events with a header of our own, which EventSource cannot send. Ends when the stream ends. */
export async function events(path, signal, told, body) {
  const post = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const response = await answered(path, { ...post, signal, headers: { accept: "text/event-stream" } });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    if (rest.length > LONGEST_EVENT) throw new Error("an event is longer than this page reads");
    for (const block of blocks) {
      let name = "message";
      const data = [];
      for (const line of block.split("\n")) {
        if (line.startsWith("event:")) name = line.slice(6).trim();
        if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
      }
      if (data.length > 0) told(name, JSON.parse(data.join("\n")));
      else told("heartbeat", null);
    }
  }
}

/** Asks for a path again and again, one call at a time, until the signal ends it. */
export function poll(path, everyMs, signal, got, failed) {
  let timer;
  const look = async () => {
    try {
      if (!document.hidden) {
        const list = await get(typeof path === "function" ? path() : path, signal);
        if (signal.aborted) return;
        list.got_ms = Date.now();
        got(list);
      }
    } catch (error) {
      if (!signal.aborted) failed(error);
    }
    if (!signal.aborted) timer = setTimeout(look, everyMs);
  };
  const soon = () => { clearTimeout(timer); look(); };
  signal.addEventListener("abort", () => clearTimeout(timer));
  look();
  return soon;
}
