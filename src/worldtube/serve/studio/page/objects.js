// What is in a video: its objects, where they go, and the same with other looks. Owns the arithmetic of a physical state
// (metres, seconds, a row of each per frame); knows nothing of how a video is asked for or shown.

import { h, svg } from "./dom.js";

/** Metres that a thing moves aside, and down, to be said to move or to fall. */
const MOVES = 0.05, FALLS = 0.12;

/** What a body does, in words. */
export function doing({ positions }) {
  const [first, last] = [positions[0], positions.at(-1)];
  const [x, y] = [last[0] - first[0], last[1] - first[1]];
  const words = [];
  if (Math.hypot(x, y) > MOVES) words.push(Math.abs(x) >= Math.abs(y) ? (x > 0 ? "moves right" : "moves left") : y > 0 ? "moves away" : "moves closer");
  if (first[2] - Math.min(...positions.map((one) => one[2])) > FALLS) words.push("falls");
  return words.join(" and ") || "rests";
}

/** The objects in words, as a prompt has them. */
export const describe = (state) => state.bodies.map((one) => `a ${one.size} ${one.colour} ${one.shape}`).join(", ");

// Other looks.

/** Of each shape: its width over its first dimension, dimensions by width, half its height and volume by dimensions. */
const SHAPES = {
  ball: { across: 2, lengths: (w) => [0.5 * w, 0, 0, 0], half: ([a]) => a, volume: ([a]) => (4 / 3) * Math.PI * a ** 3 },
  box: { across: 1 / 0.45, lengths: (w) => [0.45 * w, 0.45 * w, 0.45 * w, 0], half: ([, , c]) => c, volume: ([a, b, c]) => 8 * a * b * c },
  cylinder: { across: 1 / 0.43, lengths: (w) => [0.43 * w, 0.473 * w, 0, 0], half: ([, b]) => b, volume: ([a, b]) => 2 * Math.PI * a ** 2 * b },
  cup: {
    across: 2,
    lengths: (w) => [0.5 * w, 0.39 * w, 0.515 * w, 0.056 * w],
    half: ([, , c]) => c,
    volume: ([a, b, c, wall]) => Math.PI * b ** 2 * wall + Math.PI * (a + b - wall) * wall * (2 * c - wall),
  },
};

/** From a body's centre down to its lowest point, as it is turned (w, x, y, z). */
function reach({ shape, dimensions }, [w, x, y, z]) {
  const [a, b, c] = dimensions;
  if (shape === "ball") return a;
  const tall = 1 - 2 * (x * x + y * y);
  if (shape === "box") return a * Math.abs(2 * (x * z - w * y)) + b * Math.abs(2 * (y * z + w * x)) + c * Math.abs(tall);
  const [height, radius] = shape === "cylinder" ? [b, a] : [c, Math.max(a, b)];
  return Math.abs(tall) * height + Math.sqrt(Math.max(0, 1 - tall * tall)) * radius;
}

/** The body in another shape, as wide and as dense, upright where it stood. */
function reshape(body, shape) {
  const dimensions = SHAPES[shape].lengths(body.dimensions[0] * SHAPES[body.shape].across);
  const mass = (body.mass * SHAPES[shape].volume(dimensions)) / SHAPES[body.shape].volume(body.dimensions);
  const [[x, y, z]] = body.positions, [[right, away]] = body.velocities;
  const rolls = shape === "ball" ? [-away / dimensions[0], right / dimensions[0], 0] : [0, 0, 0];
  const up = z - reach(body, body.rotations[0]) + SHAPES[shape].half(dimensions);
  return { ...body, shape, dimensions, mass, positions: [[x, y, up]], rotations: [[1, 0, 0, 0]], spins: [rolls] };
}

const begin = (body) => ({ ...body, ...Object.fromEntries(["positions", "rotations", "velocities", "spins"].map((name) => [name, body[name].slice(0, 1)])) });

/** The state with other looks, {colour, shape} of each body. Other colours keep the motion; where a shape is another, all
 * only begin as they did, and the physics makes the rest. */
export function edit(state, looks) {
  const moves = state.bodies.some((body, k) => body.shape !== looks[k].shape);
  const groups = new Map();
  const bodies = state.bodies.map((body, k) => {
    const { colour, shape } = looks[k];
    const other = { ...(moves ? begin(body) : body), colour };
    return shape === body.shape ? other : reshape(other, shape);
  });
  for (const one of [...bodies].sort((a, b) => a.group - b.group)) {
    const look = `${one.colour} ${one.shape}`;
    if (!groups.has(look)) groups.set(look, groups.size);
    one.group = groups.get(look);
  }
  return { ...state, bodies };
}

// Paths over the picture.

const minus = (a, b) => a.map((value, i) => value - b[i]);
const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const cross = ([a, b, c], [x, y, z]) => [b * z - c * y, c * x - a * z, a * y - b * x];
const unit = (a) => a.map((value) => value / Math.hypot(...a));

/** Where the camera of a frame sees points of the world, in a picture of {width, height}; null for those behind it. */
export function project(camera, frame, points, { width, height }) {
  const at = Math.min(frame, camera.positions.length - 1), eye = camera.positions[at];
  const forward = unit(minus(camera.targets[at], eye)), right = unit(cross(forward, [0, 0, 1])), up = cross(right, forward);
  const half = Math.tan((camera.field_of_view * Math.PI) / 360);
  return points.map((point) => {
    const offset = minus(point, eye), depth = dot(offset, forward);
    if (depth < 0.05) return null;
    const scale = height / (2 * depth * half);
    return [width / 2 + dot(offset, right) * scale, height / 2 - dot(offset, up) * scale];
  });
}

/** A picture of a video's own size, drawn at `made` and brought to `shown` as the server does: covered, cut evenly. */
function paths(state, made, shown, clip) {
  const scale = Math.max(shown.width / made.width, shown.height / made.height);
  const bring = (point) => point && [(point[0] - made.width / 2) * scale + shown.width / 2, (point[1] - made.height / 2) * scale + shown.height / 2].map((value) => value.toFixed(2));
  const thin = Math.max(shown.width, shown.height) / 220;
  const lines = state.bodies.map((body) => svg("polyline", { class: `path ${body.colour}`, "stroke-width": thin }));
  const dots = state.bodies.map((body) => svg("circle", { class: `path ${body.colour}`, r: 2 * thin, "stroke-width": thin / 2 }));
  const inside = svg("svg", shown, ...lines, ...dots); // what leaves the picture is cut off at its edges
  const layer = svg("svg", { class: "paths", viewBox: `0 0 ${shown.width} ${shown.height}`, "aria-hidden": "true" }, inside);
  function draw(frame) {
    state.bodies.forEach((body, k) => {
      const seen = project(state.camera, frame, body.positions, made).map(bring);
      lines[k].setAttribute("points", seen.filter(Boolean).join(" "));
      const here = seen[Math.min(frame, seen.length - 1)];
      dots[k].toggleAttribute("hidden", !here);
      if (here) [["cx", here[0]], ["cy", here[1]]].forEach(([name, value]) => dots[k].setAttribute(name, value));
    });
  }
  const frame = (time) => Math.round(time * state.fps);
  if (clip.requestVideoFrameCallback) {
    const next = (_, { mediaTime }) => (draw(frame(mediaTime)), layer.isConnected && clip.requestVideoFrameCallback(next));
    clip.requestVideoFrameCallback(next);
  } else clip.addEventListener("timeupdate", () => draw(frame(clip.currentTime)));
  draw(frame(clip.currentTime));
  return layer;
}

// The panel.

let wanted = false; // paths, also for the next video

const measure = (text) => Object.fromEntries(text.split("x").map((side, i) => [["width", "height"][i], Number(side)]));

/** The objects of a video. `known` are the names that its model knows, or null where it is not served; `draw` is given an
 * edited state and what is in it, and asks for its video; `clip` is the player and `media` what holds it. */
export function panel(video, state, { known, draw, clip, media }) {
  const looks = state.bodies.map(({ colour, shape }) => ({ colour, shape }));
  const hint = h("p", { class: "hint" }), fault = h("p", { class: "error", role: "alert" });
  let layer = null;
  const show = () => {
    layer?.remove();
    layer = wanted ? paths(state, measure(video.rendered_size), measure(video.size), clip) : null;
    if (layer) media.append(layer);
  };
  const explain = () => {
    const moves = state.bodies.some((body, k) => body.shape !== looks[k].shape);
    if (known && state.water) hint.textContent = "There is water in it: another colour keeps the motion, and shapes stay.";
    else if (!known) hint.textContent = `${video.model} is not served now, so nothing can be drawn again.`;
    else hint.textContent = moves ? "Another shape moves in its own way: physics is computed anew from the first frame." : "Another colour keeps the motion; another shape moves in its own way.";
  };
  const choice = (k, name) => {
    const all = known?.[`${name}s`] ?? [], own = looks[k][name];
    const pick = h("select", { "aria-label": `${name[0].toUpperCase()}${name.slice(1)} of object ${k + 1}`, disabled: !known || (name === "shape" && Boolean(state.water)), onchange: () => {
      looks[k][name] = pick.value;
      if (name === "colour") swatches[k].setAttribute("class", `swatch ${pick.value}`);
      explain();
    } }, (all.includes(own) ? all : [own, ...all]).map((one) => h("option", { value: one, selected: one === own }, one)));
    return pick;
  };
  const swatches = state.bodies.map((body) => h("span", { class: `swatch ${body.colour}`, "aria-hidden": "true" }));
  const rows = state.bodies.map((body, k) => h("li", {},
    h("p", { class: "label" }, swatches[k], `Object ${k + 1}`, h("span", { class: "hint" }, `${body.size}, ${doing(body)}`)),
    h("div", { class: "looks" }, choice(k, "colour"), choice(k, "shape"))));
  const again = h("button", { type: "button", class: "small strong", disabled: !known, onclick: async () => {
    again.disabled = true;
    fault.textContent = "";
    const other = edit(state, looks);
    try {
      await draw(other, describe(other));
    } catch (error) {
      fault.textContent = error.status === undefined ? "The server does not answer. Nothing was asked for." : error.message;
      again.disabled = false;
    }
  } }, "Draw again");
  const toggle = h("input", { type: "checkbox", checked: wanted, onchange: () => ((wanted = toggle.checked), show()) });
  explain();
  show();
  return h("section", { class: "objects", "aria-labelledby": "objects-title" },
    h("div", { class: "objects-head" }, h("h3", { id: "objects-title" }, "What is in it"), h("label", { class: "check" }, toggle, "Show paths"), again),
    h("ol", {}, rows), hint, fault);
}
