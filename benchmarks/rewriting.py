"""What rewriting prompts brings: adherence of the embedded model to the held-out prompts as they are and rewritten.

Same prompts, facts and seeds; the reader's clips are of the student (four steps) unless --steps says otherwise.
"""

import argparse

import torch
from timing import write

from worldtube import reader
from worldtube.evaluate import adherence
from worldtube.generate.session import load
from worldtube.text.rewrite import REWRITERS, rewrite


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument(
        "--teacher", action="store_true", help="16 steps with guidance, not the student"
    )
    told = parser.parse_args()
    torch.set_num_threads(1)
    lines = adherence.read_prompts(adherence.embedded_prompts())[: told.count]
    session, eyes = load(fast=not told.teacher), reader.load()
    words = {
        "as they are": [line.prompt for line in lines],
        "grammar": [rewrite(line.prompt) for line in lines],
    }
    read: dict[tuple[str, int], reader.Reading] = {}
    for prompts in words.values():
        for seed, prompt in enumerate(prompts):
            if (prompt, seed) not in read:
                clip = session.generate(prompt, seconds=adherence.SECONDS, seed=seed)
                read[prompt, seed] = eyes.read(clip)
    before, after = words.values()
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    results = []
    for name, prompts in words.items():
        readings = [read[prompt, seed] for seed, prompt in enumerate(prompts)]
        scores = adherence.compare(lines, readings, eyes)
        some = adherence.summary([adherence.score(lines[i], readings[i]) for i in changed])
        results.append(
            {
                "prompts": name,
                **{k: scores[k] for k in (*adherence.KEYS, "n", "interval")},
                "changed": some,
            }
        )
    config = {
        "count": len(lines),
        "changed": len(changed),
        "model": session.model.name,
        "student": not told.teacher,
        "rewriters": sorted(REWRITERS),
    }
    print(write("rewriting", config, results))


if __name__ == "__main__":
    main()
