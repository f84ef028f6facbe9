// The server, as any client sees it. Knows routes and keys; knows nothing of the page.

const KEY = "worldtube-key";
const waiting = new Map();

export class Refusal extends Error {
  constructor(status, { message, code, param } = {}) {
    super(message || `the server answered ${status}`);
    Object.assign(this, { status, code, param });
  }
}

/** Told of every change of whether the server answers. */
export const line = new EventTarget();
let up = true;

function tell(answers) {
  if (answers !== up) line.dispatchEvent(new Event((up = answers) ? "up" : "down"));
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "",
  set(secret, keep) {
    key.forget();
    (keep ? localStorage : sessionStorage).setItem(KEY, secret);
  },
  forget() {
    sessionStorage.removeItem(KEY);
    localStorage.removeItem(KEY);
  },
};

/** An answer that is good, or has the status `also`. Throws Refusal, or TypeError where the server is away. */
async function call(path, { also, ...options } = {}) {
  const headers = new Headers(options.headers);
  if (key.get()) headers.set("authorization", `Bearer ${key.get()}`);
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name !== "AbortError") tell(false);
    throw error;
  }
  tell(true);
  if (answer.ok || answer.status === also) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Refusal(answer.status, told.error);
}

const json = async (path, options) => (await call(path, options)).json();

/** Whether a worker is ready, and whether a key is needed; 503 says the same while none is. */
export const health = () => json("/healthz", { also: 503 });

/** Models as workers announced them: those with facts; names that only mean one of them are left out. */
export const models = async () => (await json("/v1/models")).data.filter((one) => one.size);

export const get = (id) => json(`/v1/videos/${id}`);

export function list({ after, limit = 24 } = {}) {
  const query = new URLSearchParams({ limit, ...(after && { after }) });
  return json(`/v1/videos?${query}`);
}

export const remove = (id) => json(`/v1/videos/${id}`, { method: "DELETE" });
export const cancel = (id) => json(`/v1/videos/${id}/cancel`, { method: "POST" });

/** Ask for a video: JSON, or a form where a file is among the fields. */
export function ask(path, fields) {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== "");
  if (!given.some(([, value]) => value instanceof Blob)) {
    const headers = { "content-type": "application/json" };
    return json(path, { method: "POST", headers, body: JSON.stringify(Object.fromEntries(given)) });
  }
  const body = new FormData();
  for (const [name, value] of given) {
    if (value instanceof Blob) body.append(name, value);
    else if (typeof value === "object") for (const [inner, text] of Object.entries(value)) body.append(`${name}[${inner}]`, text);
    else body.append(name, value);
  }
  return json(path, { method: "POST", body });
}

/** A file of a finished video. The same one that is asked for twice at once is fetched once. */
export function content(id, variant = "video") {
  const path = `/v1/videos/${id}/content?variant=${variant}&redirect=false`;
  if (!waiting.has(path)) {
    const fetched = call(path).then((answer) => answer.blob());
    waiting.set(path, fetched);
    fetched.finally(() => waiting.delete(path)).catch(() => {});
  }
  return waiting.get(path);
}

/** What it will be, as far as can be told by now; null before the first. */
export async function preview(id) {
  const answer = await call(`/v1/videos/${id}/preview`);
  return answer.status === 204 ? null : answer.blob();
}

/** The video each time it changes, until it ends. */
export async function* events(id, signal) {
  const answer = await call(`/v1/videos/${id}/events`, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (text + value).split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const [, kind, data] = /^event: (\w+)\ndata: (.*)$/s.exec(part) ?? [];
      if (kind === "video") yield JSON.parse(data);
    }
  }
}

/** What a file says of where it comes from. */
export async function provenance(file) {
  const body = new FormData();
  body.append("file", file, file.name ?? "video.mp4");
  return (await json("/v1/content_provenance_checks", { method: "POST", body })).results;
}
