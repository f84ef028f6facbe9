// Begins here: joins the form, the stage and the earlier work, and keeps what is shown true to the server.

import * as api from "./api.js";
import * as compose from "./compose.js";
import { $, h, say } from "./dom.js";
import * as library from "./library.js";
import * as provenance from "./provenance.js";
import * as stage from "./stage.js";

const POLL_MS = 2000;
const pause = (ms) => new Promise((over) => setTimeout(over, ms));

function made(video) {
  library.put(video);
  say("Asked for. It waits for a worker.");
  open(video);
  if (matchMedia("(max-width: 60rem)").matches) $("stage").scrollIntoView({ block: "start" });
}

function open(video) {
  history.replaceState(null, "", `#${video.id}`);
  stage.show(video);
}

compose.start(made, library.still);
stage.start(made);
library.start((video) => {
  open(video);
  $("stage").scrollIntoView({ block: "nearest" });
}, () => compose.offer(library.finished()));
stage.empty();

// The server: is it there, does it want a key, what can it make?

async function connect() {
  for (;;) {
    try {
      const health = await api.health();
      $("key-open").hidden = !health.keys && !api.key.get();
      if (health.keys && !api.key.get()) return askForKey();
      const models = await api.models();
      if (models.length) {
        state("ready", models.map((one) => one.id).join(", "));
        compose.know(models);
        await library.load();
        break;
      }
      state("starting", "The server is starting: a model takes some seconds");
    } catch (error) {
      if (error.status === 401) return askForKey(error.message);
      state("away", "No answer");
    }
    await pause(POLL_MS);
  }
  const wanted = library.known(location.hash.slice(1)) ?? library.all()[0];
  if (wanted) stage.show(wanted);
}

function state(kind, title) {
  const words = { ready: "Ready", starting: "Starting", away: "No answer", locked: "Key needed" };
  $("state").className = `state ${kind}`;
  $("state").textContent = words[kind];
  $("state").title = title;
}

api.line.addEventListener("down", () => (($("offline").hidden = false), state("away", "No answer")));
api.line.addEventListener("up", () => (($("offline").hidden = true), state("ready", "")));

/** Others than the one on show, which has a stream of its own: browsers give a page few connections. */
async function follow() {
  for (;;) {
    await pause(POLL_MS);
    if (document.hidden) continue;
    for (const video of library.all().filter((one) => library.active(one) && one.id !== stage.shown)) {
      try {
        library.put(await api.get(video.id));
      } catch (error) {
        if (error.status === 404) library.drop(video.id);
        break;
      }
    }
  }
}

// Keys.

function askForKey(why = "") {
  state("locked", "This server wants a key");
  $("key-open").hidden = false;
  $("key-error").textContent = api.key.get() ? why : "";
  if (!$("key-dialog").open) $("key-dialog").showModal();
}

$("key-open").addEventListener("click", () => {
  $("key-error").textContent = "";
  $("key-dialog").showModal();
});
$("key-cancel").addEventListener("click", () => $("key-dialog").close());
$("key-forget").addEventListener("click", () => {
  api.key.forget();
  location.reload();
});
$("key-dialog").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const secret = $("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(secret)) {
    $("key-error").textContent = "That is not a key; one begins with wt-";
    return;
  }
  api.key.set(secret, $("key-keep").checked);
  $("key").value = "";
  $("key-dialog").close();
  connect();
});

// Files from anywhere.

let depth = 0;
const veil = (on) => ($("drop-veil").hidden = !on);
const files = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => files(event) && veil(++depth > 0));
addEventListener("dragleave", (event) => files(event) && veil((depth = Math.max(0, depth - 1)) > 0));
addEventListener("dragover", (event) => files(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!files(event)) return;
  event.preventDefault();
  veil((depth = 0));
  compose.take(event.dataTransfer.files[0]);
});
document.addEventListener("dropped", () => veil((depth = 0)));

$("check-open").addEventListener("click", () => $("check-dialog").showModal());
$("check-close").addEventListener("click", () => $("check-dialog").close());
$("check-file").addEventListener("change", async () => {
  const file = $("check-file").files[0];
  if (!file) return;
  $("check-result").replaceChildren(h("p", { class: "hint" }, "Looking…"));
  try {
    const badge = provenance.badge(await provenance.check(file));
    badge.open = true;
    $("check-result").replaceChildren(badge);
  } catch (error) {
    $("check-result").replaceChildren(h("p", { class: "error" }, error.message));
  }
});

addEventListener("hashchange", () => {
  const video = library.known(location.hash.slice(1));
  if (video && video.id !== stage.shown) stage.show(video);
});

connect().then(follow);
