// From what the server finds in a file to what a person is told. Says no more than the server does.

import { provenance } from "./api.js";
import { h } from "./dom.js";

const kept = new Map();
const NAMES = { c2pa: "Signed credentials", worldtube_watermark: "Watermark in the picture", exact_hash: "Exact copy" };

/** Results of a check -> {tone: "good" | "some" | "none" | "bad", words, reasons}. The verdict is the server's. */
export function verdict(results) {
  const of = (type) => results.find((one) => one.type === type);
  const signed = of("c2pa"), copy = of("exact_hash")?.outcome === "detected";
  const reasons = [...(signed?.reasons ?? []), ...(copy ? ["Byte for byte a file that this server made."] : [])];
  const say = (tone, words) => ({ tone, words, reasons });
  switch (signed?.verdict) {
    case "unaltered":
      return say("good", "Made here, unaltered");
    case "derived":
      return say("some", "Derived from something made here");
    case "altered":
      return say("bad", "Changed since it was signed");
    case "known_other":
      return say("good", `Unaltered, signed by ${signed.issuer ?? "someone known here"}`);
    case "unknown_other":
      return say("some", "Signed by someone unknown here");
  }
  if (copy) return say("some", signed ? "Made on this server, not signed" : "Made on this server");
  if (!reasons.length) reasons.push("That does not say who made it.");
  return say("none", "No signal found");
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
  const { tone, words, reasons } = verdict(results);
  const hidden = ["type", "outcome", "verdict", "reasons", "model", "generated_at"]; // the reasons say those
  const facts = results.map((one) => {
    const rest = Object.entries(one).filter(([name, value]) => !hidden.includes(name) && value !== null && value !== "");
    const outcome = one.outcome === "detected" ? "found" : "not found";
    const details = rest.map(([name, value]) => `${name.replaceAll("_", " ")} ${typeof value === "number" ? Number(value.toPrecision(3)) : value}`);
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
    h("div", { class: "reasons" }, reasons.map((text) => h("p", {}, text))),
    h("details", { class: "statistics" }, h("summary", {}, "Details"), h("dl", {}, facts.flat())),
  );
}
