// The form: what can be made, what each task needs, and the request that comes of it. Knows nothing of results.

import { ask } from "./api.js";
import { $, h, seconds, title } from "./dom.js";

const CREATE = "/v1/videos", EXTEND = "/v1/videos/extensions", EDIT = "/v1/videos/edits";

/** name -> what it is called, what it means, what it is made from, and where it is asked for. */
export const TASKS = {
  generate: { label: "Generate", hint: "Words become a clip.", verb: "Generate", to: CREATE, sources: [], sized: true },
  animate: { label: "Animate", hint: "A picture becomes the first frame of a clip.", verb: "Animate", to: CREATE, sources: ["Picture"], kind: "image", sized: true },
  extend: { label: "Extend", hint: "A clip goes on, or begins earlier.", verb: "Extend", to: EXTEND, sources: ["Clip"], kind: "video", adds: "Seconds added" },
  loop: { label: "Loop", hint: "From its end a clip finds back to its beginning.", verb: "Make a loop", to: EXTEND, sources: ["Clip"], kind: "video", adds: "Seconds back" },
  connect: { label: "Connect", hint: "What happens between two clips is made.", verb: "Connect", to: EXTEND, sources: ["First clip", "Then"], kind: "video", adds: "Seconds between" },
  edit: { label: "Edit", hint: "A clip is made anew with other words.", verb: "Edit", to: EDIT, sources: ["Clip"], kind: "video" },
  storyboard: { label: "Storyboard", hint: "Shots with words of their own, a cut between them.", verb: "Make the storyboard", to: CREATE, sources: [], sized: true, board: true },
};
/** name -> what a task is called that the form does not have. */
export const OTHERS = { remix: "Remix", reproduce: "From a state" };
export const label = (name) => TASKS[name]?.label ?? OTHERS[name] ?? name;
const FIELDS = { prompt: "prompt", seconds: "seconds", size: "size", seed: "seed", num_inference_steps: "steps", guidance_scale: "guidance",
  negative_prompt: "negative_prompt", strength: "strength", model: "model", width: "width", height: "height" };

let models = [];
let done = [];
let task = "generate";
let shots = [{ prompt: "", seconds: 2 }, { prompt: "", seconds: 2 }];
/** Of each place: {file, url} or {video}; kept when the task changes. */
const given = [null, null];
let made, still;

const model = () => models.find((one) => one.id === $("model").value) ?? models.find((one) => one.default) ?? models[0];
const measure = (text) => text.split("x").map(Number);

/** Draw the form. `onmade` is told of each video that was asked for; `onstill` gives the picture of a finished one. */
export function start(onmade, onstill) {
  [made, still] = [onmade, onstill];
  $("tasks").append(
    ...Object.entries(TASKS).map(([name, { label }]) =>
      h("label", {}, h("input", { type: "radio", name: "task", value: name, checked: name === task, onchange: () => choose(name) }), h("span", {}, label)),
    ),
  );
  $("compose").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  $("compose").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit();
  });
  $("compose").addEventListener("input", () => complain(""));
  $("add-shot").addEventListener("click", () => {
    shots.push({ prompt: "", seconds: 2 });
    drawShots();
    $("shots").lastElementChild.querySelector("textarea").focus();
  });
  $("size").addEventListener("change", hintSize);
  for (const id of ["width", "height"]) $(id).addEventListener("input", hintSize);
  $("model").addEventListener("change", drawSizes);
  $("model").addEventListener("change", drawStateless);
  $("strength").addEventListener("input", tellStrength);
  drawShots();
  choose(task);
}

export function know(served) {
  models = served;
  const kept = $("model").value;
  $("model").replaceChildren(...models.map((one) => h("option", { value: one.id }, one.id)));
  $("model").value = models.some((one) => one.id === kept) ? kept : model()?.id;
  // What the model makes best, until another duration is typed.
  if ($("seconds").value === $("seconds").defaultValue && model()?.seconds) {
    $("seconds").value = $("seconds").defaultValue = String(Math.round(4 * model().seconds) / 4);
  }
  drawSizes();
  drawStateless();
}

/** Whether what is asked for may be made by way of a physical state. */
const stateful = () => Boolean(model()?.state) && ["generate", "storyboard", "extend"].includes(task);

function drawStateless() {
  $("no_state").parentElement.hidden = !stateful();
}

/** What a served model knows of states: names of colours and shapes; null where it knows none. */
export const states = (id) => models.find((one) => one.id === id)?.state ?? null;

/** Finished videos that a clip can be taken from. */
export function offer(videos) {
  const same = videos.length === done.length && videos.every((one, i) => one.id === done[i].id);
  done = videos;
  if (!same) drawSources();
}

export function choose(name) {
  task = name;
  const one = TASKS[name];
  for (const radio of $("tasks").querySelectorAll("input")) radio.checked = radio.value === name;
  $("task-hint").textContent = one.hint;
  $("direction").hidden = name !== "extend";
  $("prompt-field").hidden = Boolean(one.board);
  $("shots-field").hidden = !one.board;
  $("size-field").hidden = !one.sized;
  $("seconds-field").hidden = Boolean(one.board) || one.to === EDIT;
  $("seconds-label").textContent = one.adds ?? "Seconds";
  $("strength-field").hidden = one.to !== EDIT;
  drawStateless();
  $("submit-label").textContent = one.verb;
  drawSources();
  hintSize();
  complain("");
}

/** Begin from a finished video: its words, and itself as the clip. */
export function from(video, name) {
  given[0] = { video };
  if (video.prompt) $("prompt").value = video.prompt;
  choose(name);
  reveal();
}

/** Begin from a file that was dropped: a picture is animated, a clip is gone on from. */
export function take(file) {
  const kind = file.type.split("/")[0];
  if (kind !== "image" && kind !== "video") {
    complain(`${file.name} is neither a picture nor a clip.`);
    return;
  }
  if (TASKS[task].kind !== kind) choose(kind === "image" ? "animate" : "extend");
  const place = TASKS[task].sources.length > 1 && given[0] ? 1 : 0;
  put(place, { file, url: URL.createObjectURL(file) });
  reveal();
}

/** The settings of an earlier video, as far as they can be had again. */
export function again(video) {
  const plain = video.task === "generate";
  if (video.storyboard) {
    shots = video.storyboard.map((shot) => ({ ...shot }));
    drawShots();
  }
  $("prompt").value = video.prompt;
  if (plain) $("seconds").value = video.seconds;
  $("seed").value = video.seed;
  if (models.some((one) => one.id === video.model)) {
    $("model").value = video.model;
    drawSizes();
  }
  pickSize(video.size);
  choose(video.storyboard ? "storyboard" : "generate");
  reveal();
}

export function words(text) {
  $("prompt").value = text;
  reveal();
}

function reveal() {
  const field = TASKS[task].board ? $("shots").querySelector("textarea") : $("prompt");
  field.focus({ preventScroll: true });
  $("compose").scrollIntoView({ block: matchMedia("(max-width: 60rem)").matches ? "start" : "nearest" });
}

// Sizes.

function sizes() {
  const one = model();
  if (!one) return [];
  const [width, height] = measure(one.size);
  const [, side] = one.stride;
  const fit = (x) => Math.max(side, Math.round(x / side) * side);
  const native = [[width, height], [fit(1.5 * width), height], [width, fit(1.5 * height)], [fit(2 * width), fit(2 * height)]];
  const large = [[512, 512], [1280, 720], [720, 1280]];
  const seen = new Set();
  return [...native.filter(([w, h]) => w * h <= one.render_pixels && Math.min(w, h) >= 16), ...large].filter((size) => !seen.has(String(size)) && seen.add(String(size)));
}

function drawSizes() {
  const kept = $("size").value;
  const shape = (w, h) => (w === h ? "square" : w > h ? "wide" : "tall");
  const options = sizes().map(([w, h]) => h_option(w, h, shape(w, h)));
  const best = model()?.state?.size; // the server takes another where the words are beyond the model's states
  if (best) options.unshift(h("option", { value: "best" }, `${best.replace("x", " × ")} best`));
  $("size").replaceChildren(...options, h("option", { value: "custom" }, "Another size…"));
  if ([...$("size").options].some((option) => option.value === kept)) $("size").value = kept;
  hintSize();
}

const h_option = (w, height, shape) => h("option", { value: `${w}x${height}` }, `${w} × ${height} ${shape}`);

function pickSize(size) {
  const known = [...$("size").options].some((option) => option.value === size);
  $("size").value = known ? size : "custom";
  if (!known) [$("width").value, $("height").value] = measure(size);
  hintSize();
}

const size = () => ({ custom: `${$("width").value}x${$("height").value}`, best: "" })[$("size").value] ?? $("size").value;

function hintSize() {
  const sized = Boolean(TASKS[task].sized), one = model();
  $("custom-size").hidden = !sized || $("size").value !== "custom";
  const [width, height] = measure(size() || "0x0");
  const larger = one && (width * height > one.render_pixels || width % one.stride[1] || height % one.stride[1]);
  $("size-hint").hidden = !sized || !larger;
  $("size-hint").textContent = larger ? `${one.id} makes a smaller picture; it is enlarged to this size.` : "";
}

function tellStrength() {
  $("strength-told").textContent = `${Math.round(100 * $("strength").value)} %`;
}

// What a video is made from.

function put(place, what) {
  if (given[place]?.url) URL.revokeObjectURL(given[place].url);
  given[place] = what;
  complain("");
  drawSources();
}

function drawSources() {
  const { sources, kind } = TASKS[task];
  $("sources").replaceChildren(...sources.map((name, place) => drawSource(name, place, kind)));
}

function fits(what, kind) {
  return what && (what.video ? kind === "video" : what.file.type.startsWith(`${kind}/`));
}

function drawSource(name, place, kind) {
  const what = given[place];
  if (fits(what, kind)) {
    const label = what.video ? title(what.video) : what.file.name;
    const about = what.video ? `${seconds(what.video.seconds)}, ${what.video.size}` : `${Math.ceil(what.file.size / 1024)} KB`;
    const remove = () => {
      put(place, null);
      $("sources").children[place]?.querySelector("input")?.focus();
    };
    const moving = what.url && kind === "video";
    const picture = moving ? h("video", { src: what.url, muted: true, preload: "metadata", "aria-hidden": "true", tabIndex: -1 }) : h("img", { src: what.url, alt: "" });
    if (what.video) still(what.video.id).then((url) => (picture.src = url), () => picture.remove());
    return h("div", { class: "source full" }, picture,
      h("div", { class: "grow" }, h("p", { class: "label" }, name), h("p", { class: "cut" }, label), h("p", { class: "hint" }, about)),
      h("button", { type: "button", class: "small", onclick: remove, "aria-label": `Remove ${name.toLowerCase()}` }, "Remove"));
  }
  const input = h("input", { type: "file", class: "unseen", accept: `${kind}/*`, onchange: () => input.files[0] && put(place, { file: input.files[0], url: URL.createObjectURL(input.files[0]) }) });
  const drop = h("label", { class: "drop" }, input, h("strong", {}, name), h("span", {}, kind === "image" ? "Drop a picture, or choose one" : "Drop a clip, or choose a file"));
  drop.addEventListener("drop", (event) => {
    const file = event.dataTransfer.files[0];
    event.preventDefault();
    if (!file?.type.startsWith(`${kind}/`)) return;
    event.stopPropagation();
    document.dispatchEvent(new Event("dropped"));
    put(place, { file, url: URL.createObjectURL(file) });
  });
  const pick = kind === "video" && done.length > 0 && h("select", { "aria-label": `${name}: one of your work`, onchange: (event) => put(place, { video: done.find((one) => one.id === event.target.value) }) },
    h("option", { value: "" }, "or take one of your work…"),
    done.map((one) => h("option", { value: one.id }, `${title(one).slice(0, 60)} · ${seconds(one.seconds)}`)));
  return h("div", { class: "source" }, drop, pick);
}

// Shots.

function drawShots() {
  $("shots").replaceChildren(...shots.map((shot, index) => {
    const remove = () => {
      shots.splice(index, 1);
      drawShots();
      $("add-shot").focus();
    };
    return h("li", {},
      h("label", { class: "unseen", for: `shot-${index}` }, `Words of shot ${index + 1}`),
      h("textarea", { id: `shot-${index}`, rows: 2, value: shot.prompt, placeholder: `Shot ${index + 1}`, oninput: (event) => (shot.prompt = event.target.value) }),
      h("div", { class: "row" },
        h("label", { class: "hint" }, h("input", { type: "number", min: 0.25, max: 60, step: 0.25, value: shot.seconds, "aria-label": `Seconds of shot ${index + 1}`, oninput: (event) => (shot.seconds = event.target.value) }), " seconds"),
        shots.length > 1 && h("button", { type: "button", class: "quiet", onclick: remove, "aria-label": `Remove shot ${index + 1}` }, "Remove")));
  }));
  $("add-shot").hidden = shots.length >= 20;
}

// The request.

const number = (id) => ($(id).value === "" ? undefined : Number($(id).value));

/** The fields of the request. Throws Error with `field`, the id of the element at fault. */
function body() {
  const { sources, kind, board, sized, to } = TASKS[task];
  const fault = (text, field) => Object.assign(new Error(text), { field });
  const fields = { model: model()?.id, seed: number("seed"), num_inference_steps: number("steps"), guidance_scale: number("guidance"), negative_prompt: $("negative_prompt").value.trim() };
  for (const [place, name] of sources.entries()) {
    if (!fits(given[place], kind)) throw fault(`${name}: ${kind === "image" ? "a picture" : "a clip"} is needed.`, place);
  }
  if (board) {
    const blank = shots.findIndex((shot) => !shot.prompt.trim());
    if (blank >= 0) throw fault(`Shot ${blank + 1} has no words.`, `shot-${blank}`);
    fields.storyboard = shots.map((shot) => ({ prompt: shot.prompt.trim(), seconds: Number(shot.seconds) }));
  } else {
    fields.prompt = $("prompt").value.trim();
    if (!fields.prompt) throw fault("A few words are needed: what is to be seen?", "prompt");
    if (to !== EDIT && !(number("seconds") > 0)) throw fault("How many seconds? Up to 60.", "seconds");
  }
  if (sized) fields.size = size();
  if (to === CREATE && !board) fields.seconds = number("seconds");
  const source = ({ file, video }) => file ?? { id: video.id };
  if (kind === "image") fields.input_reference = source(given[0]);
  if (kind === "video") fields.video = source(given[0]);
  if (to === EXTEND) {
    fields.seconds = number("seconds");
    fields.direction = task === "extend" ? document.querySelector("[name=direction]:checked").value : task;
  }
  if (task === "connect") fields.next_video = source(given[1]);
  if (stateful() && $("no_state").checked) fields.no_state = true;
  if (to === EDIT) fields.strength = number("strength");
  return fields;
}

let sending = false;

async function submit() {
  if (sending) return;
  sending = true;
  $("submit").setAttribute("aria-disabled", "true");
  try {
    const video = await ask(TASKS[task].to, body());
    complain("");
    made(video);
  } catch (error) {
    const field = error.field ?? FIELDS[error.param?.split(".")[0]];
    complain(error.status === undefined && error.field === undefined ? "The server does not answer. Nothing was asked for." : error.message, field);
  } finally {
    sending = false;
    $("submit").removeAttribute("aria-disabled");
  }
}

function complain(text, field) {
  for (const element of document.querySelectorAll("#compose [aria-invalid]")) element.removeAttribute("aria-invalid");
  $("form-error").textContent = text;
  if (!text || field === undefined) return;
  const element = typeof field === "number" ? $("sources").children[field].querySelector("input") : $(field);
  element.closest("details")?.setAttribute("open", "");
  element.setAttribute("aria-invalid", "true");
  element.focus();
}
