// Earlier work: the cards, finding among them, and what is not yet loaded. Owns the videos that the page knows.

import * as api from "./api.js";
import { OTHERS, TASKS, label } from "./compose.js";
import { $, ago, h, seconds, title } from "./dom.js";

const videos = new Map();
const stills = new Map();
const cards = new Map();
let more = false;
let last = null;
let shown = null;
let open = () => {};
let changed = () => {};

export const active = (video) => video.status === "queued" || video.status === "in_progress";
export const known = (id) => videos.get(id);
export const all = () => [...videos.values()].sort((a, b) => b.created_at - a.created_at || (a.id < b.id ? 1 : -1));
export const finished = () => all().filter((one) => one.status === "completed");

/** `onopen` is given a video that someone wants to see; `onchange` is called when any has changed. */
export function start(onopen, onchange) {
  open = onopen;
  changed = onchange;
  const names = [...Object.keys(TASKS), ...Object.keys(OTHERS)].map((name) => [name, label(name)]);
  $("find-task").append(h("option", { value: "" }, "Every task"), ...names.map(([value, label]) => h("option", { value }, label)));
  let timer;
  $("find").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(find, 150);
  });
  $("find-task").addEventListener("change", find);
  $("more-work").addEventListener("click", earlier);
}

/** The newest work. */
export async function load() {
  const page = await api.list();
  for (const video of page.data) videos.set(video.id, video);
  [more, last] = [page.has_more, page.last_id];
  draw();
  changed();
}

async function earlier(limit) {
  const page = await api.list({ after: last, limit: typeof limit === "number" ? limit : 24 });
  for (const video of page.data) if (!videos.has(video.id)) videos.set(video.id, video);
  [more, last] = [page.has_more, page.last_id ?? last];
  draw();
  changed();
}

/** The server lists, and does not search: what is looked for may be further back, so all of it is fetched. */
async function find() {
  draw();
  while (more && asked()) await earlier(100);
}

const asked = () => Boolean($("find").value.trim() || $("find-task").value);

function matches(video) {
  const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${title(video)} ${video.task} ${video.model} ${video.size}`.toLowerCase();
  return words.every((word) => text.includes(word)) && (!$("find-task").value || video.task === $("find-task").value);
}

/** A video as it is now. */
export function put(video) {
  videos.set(video.id, video);
  draw();
  changed();
}

export function drop(id) {
  videos.delete(id);
  if (stills.has(id)) URL.revokeObjectURL(stills.get(id));
  stills.delete(id);
  draw();
  changed();
}

export function mark(id) {
  shown = id;
  for (const [one, card] of cards) card.querySelector("button").setAttribute("aria-pressed", String(one === id));
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) {
      watcher.unobserve(target);
      still(target.dataset.id).then((url) => url && (target.querySelector("img").src = url), () => {});
    }
  }
}, { rootMargin: "200px" });

/** The address of a finished video's first frame, in this page. */
export async function still(id) {
  if (!stills.has(id)) stills.set(id, URL.createObjectURL(await api.content(id, "thumbnail")));
  return stills.get(id);
}

function draw() {
  const found = all().filter(matches);
  const place = $("cards");
  for (const [id, card] of cards) if (!found.some((one) => one.id === id)) (card.remove(), cards.delete(id));
  found.forEach((video, index) => {
    const key = `${video.status} ${video.progress}`;
    let card = cards.get(video.id);
    if (!card || card.dataset.key !== key) {
      const fresh = drawCard(video, key);
      const had = card?.contains(document.activeElement);
      if (card) card.replaceWith(fresh);
      cards.set(video.id, (card = fresh));
      if (had) fresh.querySelector("button").focus({ preventScroll: true });
    }
    if (place.children[index] !== card) place.insertBefore(card, place.children[index] ?? null);
  });
  $("more-work").hidden = !more || asked();
  $("found").textContent = asked() ? `${found.length} found among ${videos.size}${more ? ", looking further back…" : ""}` : videos.size ? "" : "What you make is kept here.";
}

const STATES = { queued: "Waiting", failed: "Failed" };

function drawCard(video, key) {
  const state = active(video) || video.status === "failed";
  const words = STATES[video.status] ?? `${video.progress} %`;
  const about = `${label(video.task)} · ${seconds(video.seconds)} · ${ago(video.created_at)}`;
  const card = h("li", { "data-id": video.id, "data-key": key },
    h("button", { type: "button", class: "card", "aria-pressed": String(video.id === shown), onclick: () => open(videos.get(video.id)) },
      h("span", { class: `picture ${video.status}` },
        video.status === "completed" && h("img", { alt: "", width: 160, height: 160 }),
        state && h("span", { class: "pill" }, words),
        video.status === "in_progress" && h("progress", { max: 100, value: video.progress, "aria-hidden": "true" })),
      h("span", { class: "cut two" }, title(video)),
      h("span", { class: "hint" }, about)));
  if (video.status === "completed") {
    if (stills.has(video.id)) card.querySelector("img").src = stills.get(video.id);
    else watcher.observe(card);
  }
  return card;
}
