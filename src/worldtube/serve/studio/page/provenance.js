// From what the server finds in a file to what a person is told. Says no more than the server does.

import { provenance } from "./api.js";
import { h } from "./dom.js";

const kept = new Map();
const NAMES = { c2pa: "Signed credentials", worldtube_watermark: "Watermark in the picture", exact_hash: "Exact copy" };

/** Results of a check -> {tone: "good" | "some" | "none" | "bad", words, more}. */
export function verdict(results) {
  const of = (type) => results.find((one) => one.type === type);
  const found = (one) => one?.outcome === "detected";
  const [signed, mark, exact] = [of("c2pa"), of("worldtube_watermark"), of("exact_hash")];
  const state = signed?.validation_state;
  const who = signed?.issuer ? ` by ${signed.issuer}` : "";
  if (state === "invalid") {
    return { tone: "bad", words: "Changed after signing", more: "The file carries credentials, and it is not what was signed." };
  }
  if (found(signed)) {
    return { tone: "good", words: "Made with worldtube, signed", more: `Signed${who}; nothing has changed since.` };
  }
  if (state === "trusted" || state === "valid") {
    const more = found(mark) || found(exact) ? "What is seen came from here; the signature is another's." : "Not by this server.";
    return { tone: "some", words: `Signed${who || " by someone else"}`, more };
  }
  if (found(mark)) {
    return { tone: "some", words: "Made with worldtube, watermarked", more: "The watermark is there; signed credentials are not." };
  }
  if (found(exact)) {
    return { tone: "some", words: "Made on this server, not signed", more: "Byte for byte a file that this server made. It carries no signature." };
  }
  return { tone: "none", words: "No signal found", more: "That does not say who made it." };
}

/** The results for a file; of a video that was checked before, as they were then. */
export async function check(blob, id) {
  if (!kept.has(id)) {
    const results = await provenance(blob);
    if (!id) return results;
    kept.set(id, results);
  }
  return kept.get(id);
}

const MARKS = { good: "✓", some: "◐", none: "○", bad: "!" };

/** The verdict as a badge that opens to all that the server said. */
export function badge(results) {
  const { tone, words, more } = verdict(results);
  const facts = results.map((one) => {
    const rest = Object.entries(one).filter(([name, value]) => !["type", "outcome"].includes(name) && value !== null && value !== "");
    const outcome = one.outcome === "detected" ? "found" : "not found";
    const details = rest.map(([name, value]) => `${name.replaceAll("_", " ")}: ${typeof value === "object" ? JSON.stringify(value) : value}`);
    return [h("dt", {}, NAMES[one.type] ?? one.type), h("dd", {}, [outcome, ...details].join(" · "))];
  });
  const missing = ["c2pa", "worldtube_watermark"].filter((type) => !results.some((one) => one.type === type));
  if (missing.length) {
    const names = missing.map((type) => (type === "c2pa" ? "signed credentials" : "a watermark")).join(" or ");
    facts.push([h("dt", {}, "Not looked for"), h("dd", {}, `This server does not check for ${names}.`)]);
  }
  return h(
    "details", { class: `badge ${tone}` },
    h("summary", {}, h("span", { class: "mark", "aria-hidden": "true" }, MARKS[tone]), h("span", {}, words)),
    h("p", {}, more),
    h("dl", {}, facts.flat()),
  );
}
