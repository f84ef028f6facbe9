// The video on show: how far it is and what it will be while it is made, then the clip, where it comes from, what next.

import * as api from "./api.js";
import * as compose from "./compose.js";
import { $, ago, h, say, seconds, title } from "./dom.js";
import * as library from "./library.js";
import * as objects from "./objects.js";
import * as provenance from "./provenance.js";

const CALM = matchMedia("(prefers-reduced-motion: reduce)");
const PREVIEW_MS = 700;
const EXAMPLES = ["a large red ball rolls to the right", "a small blue box falls onto the table", "a white ball knocks over a purple cup and the water spills"];

let watch = null;
let made = () => {};
let urls = [];

function clear() {
  watch?.abort();
  for (const url of urls) URL.revokeObjectURL(url);
  urls = [];
}

function kept(blob) {
  urls.push(URL.createObjectURL(blob));
  return urls.at(-1);
}

/** `onmade` is told of each video that is asked for here. */
export function start(onmade) {
  made = onmade;
}

/** Which video is on show. */
export let shown = null;

function place(...children) {
  $("stage").replaceChildren(...children);
}

export function empty() {
  clear();
  shown = null;
  library.mark(null);
  const chips = EXAMPLES.map((text) => h("button", { type: "button", class: "example", onclick: () => compose.words(text) }, text));
  place(h("div", { class: "empty" }, h("h2", {}, "Nothing on show yet"), h("p", { class: "hint" }, "Type what is to be seen, or begin with one of these."), h("div", { class: "examples" }, chips)));
}

export async function show(video) {
  clear();
  shown = video.id;
  library.mark(video.id);
  watch = new AbortController();
  if (library.active(video)) await making(video, watch.signal);
  else if (video.status === "completed") await finished(video, watch.signal);
  else failed(video);
}

// While it is made.

async function making(video, signal) {
  const bar = h("progress", { max: 100, value: video.progress, "aria-labelledby": "making-title" });
  const head = h("h2", { id: "making-title" }), told = h("p", { class: "hint" }), share = h("output", { class: "share" });
  const picture = h("img", { alt: "Preview of what it will be", hidden: true }), wait = h("p", { class: "hint" }, "A preview comes with the first steps.");
  const stop = async () => {
    library.put(await api.cancel(video.id));
  };
  place(
    h("div", { class: "media making" }, picture, wait),
    h("div", { class: "info" },
      h("div", { class: "progress-head" }, head, share), bar, told,
      h("p", { class: "prompt" }, title(video)), facts(video), warnings(video),
      h("div", { class: "row" }, h("button", { type: "button", class: "small", onclick: stop }, "Cancel"))));

  let began = null, previewed = 0, quarter = -1, busy = false;
  async function look() {
    if (busy || Date.now() - previewed < PREVIEW_MS) return;
    [busy, previewed] = [true, Date.now()];
    const blob = await api.preview(video.id).catch(() => null);
    busy = false;
    if (!blob) previewed = 0;
    if (!blob || signal.aborted) return;
    const old = picture.src;
    picture.src = kept(blob);
    if (old) URL.revokeObjectURL(old);
    picture.hidden = false;
    wait.hidden = true;
  }
  function tell(now) {
    const running = now.status === "in_progress";
    bar.value = now.progress;
    share.textContent = running ? `${now.progress} %` : "";
    head.textContent = running ? "Being made" : "Waiting for a worker";
    if (running && began === null) began = { time: Date.now(), progress: now.progress };
    const passed = began ? (Date.now() - began.time) / 1000 : 0, gone = began ? now.progress - began.progress : 0;
    const left = gone >= 5 && passed > 2 ? (passed / gone) * (100 - now.progress) : null;
    told.textContent = left === null ? `Asked for ${ago(video.created_at)}` : `About ${Math.max(1, Math.round(left))} s left`;
    if (running && Math.floor(now.progress / 25) > quarter) {
      quarter = Math.floor(now.progress / 25);
      say(`${now.progress} percent done`);
    }
  }
  tell(video);
  while (!signal.aborted) {
    try {
      for await (const now of api.events(video.id, signal)) {
        library.put(now);
        if (!library.active(now)) return ended(now);
        tell(now);
        if (now.status === "in_progress") look();
      }
      // The stream ended before the video did: it was deleted elsewhere, or the server goes.
      const now = await api.get(video.id);
      library.put(now);
      if (!library.active(now)) return ended(now);
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 404) {
        library.drop(video.id);
        return empty();
      }
    }
    await new Promise((over) => setTimeout(over, 1500));
  }
}

function ended(video) {
  const inside = $("stage").contains(document.activeElement);
  say(video.status === "completed" ? "The video is done" : `The video failed: ${video.error?.message ?? ""}`);
  show(video);
  if (inside) $("stage").focus({ preventScroll: true });
}

// When it is done.

function player(video, url) {
  return h("video", { src: url, controls: true, loop: true, muted: true, playsInline: true, autoplay: !CALM.matches, "aria-label": title(video) });
}

async function finished(video, signal) {
  const media = h("div", { class: "media" }, h("p", { class: "hint" }, "Loading"));
  const proof = h("div", { class: "proof" }, h("p", { class: "hint" }, "Looking for signs of where it comes from…"));
  const download = h("a", { class: "small strong", download: `${video.id}.mp4`, "aria-disabled": "true" }, "Download");
  const use = (task, label) => h("button", { type: "button", class: "small", onclick: () => compose.from(video, task) }, label);
  place(media,
    h("div", { class: "info" },
      h("h2", { class: "prompt" }, title(video)), proof, facts(video), warnings(video),
      h("div", { class: "go-on", role: "group", "aria-label": "Go on from it" }, use("extend", "Extend"), use("loop", "Loop"), use("connect", "Connect"), use("edit", "Edit")),
      h("div", { class: "row" }, download,
        h("button", { type: "button", class: "quiet", onclick: () => compare(video) }, "Compare"),
        h("button", { type: "button", class: "quiet", onclick: () => compose.again(video) }, "Reuse"),
        h("button", { type: "button", class: "quiet", onclick: () => remove(video) }, "Delete"))));
  try {
    const blob = await api.content(video.id);
    if (signal.aborted) return;
    const clip = player(video, (download.href = kept(blob)));
    media.replaceChildren(clip);
    download.removeAttribute("aria-disabled");
    if (video.variants.includes("state")) await inside(video, clip, media, signal);
    const results = await provenance.check(blob, video.id);
    proof.replaceChildren(provenance.badge(results));
  } catch (error) {
    const text = error.message ?? "The server does not answer.";
    (media.querySelector("video") ? proof : media).replaceChildren(h("p", { class: "error" }, text));
  }
}

/** The objects of a video that has a physical state, below it. */
async function inside(video, clip, media, signal) {
  const state = JSON.parse(await (await api.content(video.id, "state")).text());
  if (signal.aborted) return;
  const draw = async (other, prompt) => made(await api.ask("/v1/videos", { model: video.model, size: video.size, prompt, state: other }));
  $("stage").append(objects.panel(video, state, { known: compose.states(video.model), draw, clip, media }));
}

function failed(video) {
  place(h("div", { class: "info failed" },
    h("h2", {}, video.error?.code === "cancelled" ? "Cancelled" : "Not made"),
    h("p", { class: "error" }, video.error?.message ?? ""), h("p", { class: "prompt" }, title(video)), facts(video), warnings(video),
    h("div", { class: "row" },
      h("button", { type: "button", class: "small", onclick: () => compose.again(video) }, "Reuse"),
      h("button", { type: "button", class: "quiet", onclick: () => remove(video) }, "Delete"))));
}

function told(video) {
  const shown = video.rendered_size === video.size ? video.size : `${video.size}, made at ${video.rendered_size}`;
  return { Task: compose.label(video.task), Size: shown.replaceAll("x", " × "), Length: `${seconds(video.seconds)} at ${video.fps} fps`, Model: video.model, Seed: String(video.seed) };
}

function facts(video) {
  const origin = video.remixed_from_video_id && library.known(video.remixed_from_video_id);
  const rows = Object.entries(told(video)).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));
  if (origin) rows.push(h("div", {}, h("dt", {}, "From"), h("dd", {}, h("button", { type: "button", class: "link", onclick: () => show(origin) }, "an earlier video"))));
  return h("dl", { class: "facts" }, rows);
}

function warnings(video) {
  return video.warnings.length > 0 && h("ul", { class: "warnings" }, video.warnings.map((text) => h("li", {}, text)));
}

function remove(video) {
  const dialog = $("delete-dialog");
  $("delete-what").textContent = `“${title(video)}” and its file are gone then.`;
  $("delete-no").onclick = () => dialog.close();
  $("delete-yes").onclick = async () => {
    dialog.close();
    await api.remove(video.id);
    library.drop(video.id);
    say("Deleted");
    const next = library.all()[0];
    if (shown === video.id) next ? show(next) : empty();
    $("stage").focus({ preventScroll: true });
  };
  dialog.showModal();
}

// Two side by side.

function compare(video) {
  const others = library.finished().filter((one) => one.id !== video.id);
  clear();
  shown = null;
  const signal = (watch = new AbortController()).signal;
  const back = h("button", { type: "button", class: "small", onclick: () => show(video) }, "Done");
  if (!others.length) {
    place(h("div", { class: "info" }, h("h2", {}, "Nothing to compare with yet"), h("p", { class: "hint" }, "Make another video first."), h("div", { class: "row" }, back)));
    return back.focus();
  }
  const sides = h("div", { class: "sides" }), table = h("div", { class: "scroll" });
  const play = h("button", { type: "button", class: "small strong", onclick: () => (clips().some((one) => !one.paused) ? pause() : start()) }, "Play both");
  const at = h("input", { type: "range", min: 0, max: 1000, value: 0, "aria-label": "Position in both", oninput: () => (pause(), clips().forEach((one) => (one.currentTime = (at.value / 1000) * one.duration))) });
  const clips = () => [...sides.querySelectorAll("video")];
  const pause = () => (clips().forEach((one) => one.pause()), (play.textContent = "Play both"));
  const start = () => {
    clips().forEach((one) => ((one.currentTime = 0), one.play()));
    play.textContent = "Pause both";
  };
  const pick = h("select", { id: "compare-with", onchange: () => draw(others.find((one) => one.id === pick.value)) }, others.map((one) => h("option", { value: one.id }, `${(title(one)).slice(0, 70)} · ${ago(one.created_at)}`)));
  place(h("div", { class: "compare" },
    h("div", { class: "compare-head" }, h("h2", {}, "Compare"), h("label", { class: "grow" }, h("span", { class: "unseen" }, "Compare with"), pick), back),
    sides, h("div", { class: "row" }, play, at), table));
  async function draw(other) {
    const pair = [video, other];
    const blobs = await Promise.all(pair.map((one) => api.content(one.id)));
    if (signal.aborted || pick.value !== other.id) return;
    sides.replaceChildren(...pair.map((one, i) => {
      const clip = h("video", { src: kept(blobs[i]), muted: true, loop: true, playsInline: true, "aria-label": title(one) });
      return h("figure", {}, clip, h("figcaption", { class: "cut two" }, `${"AB"[i]}: ${title(one)}`));
    }));
    const [a, b] = pair.map((one) => ({ Prompt: title(one), ...told(one) }));
    const row = (name) => h("tr", { class: a[name] === b[name] ? "" : "differs" }, h("th", { scope: "row" }, name), h("td", {}, a[name]), h("td", {}, b[name]));
    table.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, h("td", {}), h("th", { scope: "col" }, "A"), h("th", { scope: "col" }, "B"))), h("tbody", {}, Object.keys(a).map(row))));
    clips()[0].ontimeupdate = (event) => (at.value = (1000 * event.target.currentTime) / event.target.duration || 0);
    CALM.matches ? pause() : start();
  }
  draw(others[0]);
  pick.focus();
}
