// Small words for the page's elements. Text is always text: nothing that a server or a person says becomes markup.

export const $ = (id) => document.getElementById(id);

/** An element: properties by name, `class`, `data-*` and `aria-*` as attributes, `on*` as listeners, then its children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element of a drawing, with its attributes and children. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS($("drawing").content.firstElementChild.namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Tell people who hear the page rather than see it. */
export function say(text) {
  $("live").textContent = text;
}

export const seconds = (number) => `${Number(Number(number).toFixed(2))} s`;

/** What a video is called: its words, or those of its shots. */
export const title = (video) => video.prompt || video.storyboard?.map((shot) => shot.prompt).join(" / ") || video.task;

export function ago(time) {
  const age = Date.now() / 1000 - time;
  if (age < 60) return "just now";
  if (age < 3600) return `${Math.floor(age / 60)} min ago`;
  if (age < 86400) return `${Math.floor(age / 3600)} h ago`;
  return new Date(time * 1000).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}
