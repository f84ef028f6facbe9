"""What rewriting prompts brings: adherence to the held-out prompts as they are and rewritten, same facts and seeds.

The clips are those of the student (four steps), or of the model itself with --teacher.
"""

import argparse
from pathlib import Path

import timing
import torch

from worldtube import reader
from worldtube.evaluate import adherence
from worldtube.generate.session import load
from worldtube.text.rewrite import rewrite

SCORES = (*adherence.KEYS, "n", "interval")


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--teacher", action="store_true", help="16 steps with guidance")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    lines = adherence.read_prompts(adherence.embedded_prompts())[: args.count]
    session, eyes = load(fast=not args.teacher), reader.load()
    words = {
        "as they are": [line.prompt for line in lines],
        "rewritten": [rewrite(line.prompt) for line in lines],
    }
    read: dict[tuple[str, int], reader.Reading] = {}
    for prompts in words.values():
        for seed, prompt in enumerate(prompts):
            if (prompt, seed) not in read:
                clip = session.generate(
                    prompt, seconds=adherence.SECONDS, seed=seed, rewrite=False, no_state=True
                )
                read[prompt, seed] = eyes.read(clip)
    changed = [i for i, (a, b) in enumerate(zip(*words.values(), strict=True)) if a != b]
    results = []
    for name, prompts in words.items():
        readings = [read[prompt, seed] for seed, prompt in enumerate(prompts)]
        scores = [adherence.score(line, one) for line, one in zip(lines, readings, strict=True)]
        every, some = (adherence.summary(s) for s in (scores, [scores[i] for i in changed]))
        results += [
            {"prompts": name, "of": "all", "clips": len(lines)} | {k: every[k] for k in SCORES},
            {"prompts": name, "of": "those changed", "clips": len(changed)}
            | {k: some[k] for k in SCORES},
        ]
    return timing.write("rewriting", vars(args) | {"changed": len(changed)}, results, args.out)


if __name__ == "__main__":
    print(main())
