"""Fill the tables of docs/benchmarks.md from the newest records; run it after a benchmark.

Owns what a record looks like as a table. Each table stands in the page between
`<!-- table: NAME -->` and `<!-- end -->`.
"""

import argparse
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timing import RESULTS

from worldtube.train.wording import means

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
Record = dict[str, Any]


def newest(what: str, folder: Path = RESULTS) -> Record:
    """The record of a benchmark with the latest day in its name."""
    paths = sorted(folder.glob(f"{what}_cpu_*.json"))
    if not paths:
        raise FileNotFoundError(f"no record {what}_cpu_*.json, run benchmarks/{what}.py")
    return json.loads(paths[-1].read_text(encoding="utf-8"))


def table(head: list[str], rows: list[list[Any]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def _times(one: Record, arm: str) -> str:
    return f"{one['arms'][arm]['median_ms']:.0f} ms"


def packing(record: Record) -> list[str]:
    rows = [
        [
            one["dtype"],
            *(
                f"{one['arms'][arm]['real_tokens_a_second']:,}"
                for arm in ("usual", "padded", "packed")
            ),
            f"**{one['ratios']['packed_to_usual']:.2f}**",
            f"**{one['ratios']['packed']:.2f}**",
            f"{one['apart']['loss']:.0e}, {one['apart']['gradient']:.0e}",
        ]
        for one in record["results"]
    ]
    head = ["real tokens/s", "padded, PyTorch's attention", "padded, ours", "packed"]
    return table([*head, "to PyTorch's", "to ours", "loss, gradients apart"], rows)


def transformer_forward(record: Record) -> list[str]:
    modes = [mode for mode in record["config"]["modes"] if mode in ("eager", "compiled")]
    rows = []
    for one in record["results"]:
        cells = [one["tokens"], one["dtype"], *(one["gflops"][arm] for arm in ("wan", "ours"))]
        for mode in modes:
            cells += [
                _times(one, f"wan_{mode}"),
                _times(one, f"ours_{mode}"),
                f"**{one['ratios'][mode]:.2f}**",
            ]
        rows.append(cells)
    head = ["tokens", "", "GFLOP Wan", "ours"]
    return table(
        [*head, *(name for mode in modes for name in (f"Wan {mode}", "ours", "ratio"))], rows
    )


def codec_decode(record: Record) -> list[str]:
    rows = [
        [
            one["dtype"],
            *(one["gflops"][arm] for arm in ("wan", "ours")),
            *(_times(one, arm) for arm in ("wan", "ours")),
            f"**{one['ratios']['eager']:.2f}**",
        ]
        for one in record["results"]
    ]
    return table(["", "GFLOP Wan", "ours", "Wan", "ours", "ratio"], rows)


def codec_peers(record: Record) -> list[str]:
    rows = [
        [
            one["codec"],
            f"{one['weights'] / 1e6:.1f} M" if "weights" in one else "",
            f"{one['steps']:,}",
            f"{one['rate']:.0e}" if "rate" in one else "",
            f"{one['cpu_seconds']:.0f} s" if "cpu_seconds" in one else "",
            f"**{one['psnr']:.2f}**",
            f"{one['psnr_worst']:.2f}",
            f"{one['ssim']:.3f}",
            f"{one['gmsd']:.3f}",
        ]
        for one in record["results"]
    ]
    head = ["codec", "weights", "steps", "rate", "CPU time", "PSNR, dB", "worst clip", "SSIM"]
    return table([*head, "GMSD (0 is best)"], rows)


def minute(record: Record) -> list[str]:
    first = record["results"][0]["peak_mb"]
    rows = [
        [
            f"{one['seconds']:g} s",
            f"{one['peak_mb']:.0f} MB",
            f"{one['peak_mb'] / first:.2f}",
            f"{one['cpu_seconds']:.1f} s",
            f"{one['cpu_seconds'] / one['seconds']:.2f}",
        ]
        for one in record["results"]
    ]
    head = ["video", "peak memory", "to the shortest", "CPU time", "a second of video"]
    return table(head, rows)


def generate_time(record: Record) -> list[str]:
    stages = list(record["results"][0]["stages_cpu_seconds"])
    rows = [
        [
            ("the model's" if one["size"] == "own" else one["size"]) + ", `--fast`" * one["fast"],
            f"**{one['cpu_seconds']:.1f} s**",
            *(f"{one['stages_cpu_seconds'].get(stage, 0):.2f}" for stage in stages),
            f"{one['wall_seconds']:.1f} s at load {one['load']}",
            f"{one['warm_seconds']:.1f} s",
        ]
        for one in record["results"]
    ]
    return table(["size", "CPU time", *stages, "wall time", "warm"], rows)


def cached_rollout(record: Record) -> list[str]:
    rows = [
        [
            f"{one['dtype']}, {one['side']}x{one['side']}, guidance {one['guidance']:g}",
            *(f"{one['arms'][arm]['median_ms'] / 1000:.2f} s" for arm in ("whole", "so_far")),
            f"**{one['arms']['cached']['median_ms'] / 1000:.2f} s**",
            *(f"**{one['ratios'][arm]:.2f}**" for arm in ("whole", "so_far")),
            f"{max(one['apart'].values()):.0e} of {one['spread']:.1f}",
        ]
        for one in record["results"]
    ]
    head = ["", "all frames at every step", "frames so far", "cached", "ratio", "ratio", "apart"]
    return table(head, rows)


def _power(p: float) -> str:
    """A p-value as a power of ten."""
    return "1" if p > 0.5 else f"10^{math.floor(math.log10(max(p, 1e-300)))}"


def watermark(record: Record) -> list[str]:
    """A row per attack, a column per kind and size: share found (before, if measured, and today), p-values of today."""
    results = {
        (row.get("mark", "today"), row["attack"], row["clips"], row["side"]): row
        for row in record["results"]
    }
    columns = list(dict.fromkeys((row["clips"], row["side"]) for row in record["results"]))
    attacks = list(dict.fromkeys(row["attack"] for row in record["results"]))

    def both(attack: str, column: tuple[str, int], show: Callable[[dict[str, Any]], str]) -> str:
        rows = [results.get((mark, attack, *column)) for mark in ("before", "today")]
        return " -> ".join(show(row) for row in rows if row is not None) or "-"

    def cell(attack: str, column: tuple[str, int]) -> str:
        row = results.get(("today", attack, *column))
        if row is None:
            return "-"
        shares = both(attack, column, lambda row: f"{round(100 * row['found'] / row['count'])} %")
        return f"**{shares}** {_power(row['p_median'])}, {_power(row['p_worst'])}"

    qualities = {
        "PSNR of the mark, dB (worst)": lambda row: f"{row['psnr_db']} ({row['psnr_db_worst']})",
        "SSIM": lambda row: f"{row['ssim']:.3f}",
        "grain in smooth parts, levels": lambda row: f"{row['grain_levels']:.2f}",
    }
    rows = [["clips", *(str(results[("today", attacks[0], *c)]["count"]) for c in columns)]]
    if "ssim" in record["results"][0]:
        rows += [
            [name, *(both(attacks[0], c, show) for c in columns)]
            for name, show in qualities.items()
        ]
    rows += [[attack, *(cell(attack, column) for column in columns)] for attack in attacks]
    return table(["", *(f"{kind} {side}x{side}" for kind, side in columns)], rows)


def watermark_foreign(record: Record) -> list[str]:
    rows = [
        [
            one["clips"],
            one["count"],
            f"**{one['claimed']}**",
            _power(one["p_least"]),
            f"{one['trials']:,}",
            f"**{one['trials_claimed']}**",
            _power(one["trials_p_least"]),
        ]
        for one in record["results"]
    ]
    total = [sum(one[name] for one in record["results"]) for name in ("count", "claimed")]
    tried = [sum(one[name] for one in record["results"]) for name in ("trials", "trials_claimed")]
    least = [min(one[name] for one in record["results"]) for name in ("p_least", "trials_p_least")]
    rows.append(
        [
            *("all", total[0], f"**{total[1]}**", _power(least[0])),
            *(f"{tried[0]:,}", f"**{tried[1]}**", _power(least[1])),
        ]
    )
    head = ["never marked", "clips", "claimed", "least p", "with other secrets", "claimed"]
    return table([*head, "least p"], rows)


def watermark_cost(record: Record) -> list[str]:
    def milliseconds(row: dict[str, Any], arm: str) -> str:
        arms = [row["arms"].get(name) for name in (f"{arm}_before", arm)]
        times = [f"{each['median_ms'] / row['seconds']:.1f}" for each in arms if each is not None]
        return f"{' -> '.join(times)} ms"

    rows = [
        [
            f"{row['side']}x{row['side']}",
            *(milliseconds(row, arm) for arm in ("mark", "search", "encode")),
            f"**{1 / row['ratios']['encode_to_mark']:.0%}**",
        ]
        for row in record["results"]
    ]
    return table(["a second of video", "mark", "search", "encode", "mark to encode"], rows)


def framing(record: Record) -> list[str]:
    shown = ("colour_shape", "colour", "shape", "count", "motion")
    rows = [
        [one["size"], one["arm"], *(f"{100 * one['scores'][key]:.0f} %" for key in shown)]
        for one in sorted(record["results"], key=lambda one: one["size"], reverse=True)
    ]
    head = ["asked for", "trained on", "colour and shape", "colour", "shape", "count", "direction"]
    return table(head, rows)


def plan(record: Record) -> list[str]:
    rows = [
        [
            f"`{one['request']}`",
            f"{one['planned_cpu_seconds']:.1f} s ({one['planned_start']:.1f})",
            f"{one['cpu_seconds']:.1f} s",
            f"{one['time_off']:+.0%}",
            f"{one['planned_peak_mb']:.0f} MB",
            f"{one['peak_mb']:.0f} MB",
            f"{one['memory_off']:+.0%}",
            f"{one['plan_took_cpu_seconds']:.1f} s",
        ]
        for one in record["results"]
    ]
    errors = record["config"]["errors"]
    cells = [
        f"median {errors[f'{what}_median']:.1%}, {errors[f'{what}_least']:+.0%} "
        f"to {errors[f'{what}_most']:+.0%}"
        for what in ("time", "memory")
    ]
    rows.append(["**all**", "", "", f"**{cells[0]}**", "", "", f"**{cells[1]}**", ""])
    head = ["command", "CPU time planned (start)", "measured", "off"]
    return table([*head, "peak memory planned", "measured", "off", "the plan itself took"], rows)


def serve(record: Record) -> list[str]:
    rows = [
        [
            one["request"],
            f"**{one['median_ms']:.1f} ms**",
            f"{one['least_ms']:.1f} ms",
            f"{one['most_ms']:.1f} ms",
            f"{one['server_cpu_ms']:.1f} ms",
        ]
        for one in record["results"]
    ]
    return table(["request", "median", "least", "most", "CPU time of the server"], rows)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def captions(record: Record) -> list[str]:
    keys = ("colour", "shape", "count", "size", "motion", "order", "background", "camera")
    rows = [
        [
            one["field"],
            *(_share(one["captions"][key]) for key in keys),
            *(_share(one["captions"][key]) for key in ("things", "events")),
        ]
        for one in record["results"]
    ]
    others = record["results"][-1]["others"]
    rows.append(
        [
            "*against other clips' facts*",
            *(_share(others[key]) for key in (*keys, "things", "events")),
        ]
    )
    return table(["field", *keys, "things told", "events told"], rows)


_KEYS = ("colour", "shape", "colour_shape", "count", "motion", "size", "event")
"""Of adherence, in the order of the columns."""


def _adherence(record: Record, first: list[str], head: list[str]) -> list[str]:
    rows = [
        [*(one[name] for name in first), *(_share(one[key]) for key in _KEYS)]
        for one in record["results"]
    ]
    return table([*head, *(key.replace("_", " and ") for key in _KEYS)], rows)


def rewriting(record: Record) -> list[str]:
    return _adherence(record, ["prompts", "of", "clips"], ["prompts", "of", "clips"])


def wording(record: Record) -> list[str]:
    """A row per arm, the mean of its trainings on all prompts, and how far it is from the captions of the recording."""
    results = means(record["results"])
    shares = _adherence(
        record | {"results": results}, ["arm", "trainings"], ["captions", "trainings"]
    )
    apart = [one for one in results if one["points"]]
    if not apart:
        return shares

    def points(one: Record, key: str) -> str:
        error = one["error"][key]
        return f"{one['points'][key]:+.1f}" + ("" if error is None else f" ± {error:.1f}")

    rows = [[one["arm"], *(points(one, key) for key in _KEYS)] for one in apart]
    head = ["points beside `mixed`", *(key.replace("_", " and ") for key in _KEYS)]
    return [*shares, "", *table(head, rows)]


def loader(record: Record) -> list[str]:
    rows = [
        [
            f"{one['clips']} random clips read, {one['state']}",
            f"{one['store']}: {one['p50_ms']:.0f} ms, one in twenty over {one['p95_ms']:.0f} ms; "
            f"{one['cpu_ms']:.0f} ms of CPU time",
        ]
        for one in record["results"]
        if one["what"] == "take"
    ]
    rows += [
        [
            f"rows of recipe `{one['recipe']}`",
            f"{one['loaded_clips_per_second']:.0f} clips/s packed, {one['trained_clips_per_second']:.1f} "
            f"trained: **{one['times']:.0f} times** as many",
        ]
        for one in record["results"]
        if one["what"] == "feed"
    ]
    written = record["config"]["written_clips_per_second"]
    rows.append(
        ["written", ", ".join(f"{name}: {speed:.0f} clips/s" for name, speed in written.items())]
    )
    return table(["what", "how fast"], rows)


def training(record: Record) -> list[str]:
    rows = [
        [
            one["dtype"],
            one["gemm_gflops"],
            *(
                f"{one['arms'][arm]['real_tokens_a_second']:,} ({one['arms'][arm]['utilization']:.0%})"
                if arm in one["arms"]
                else ""
                for arm in ("padded", "packed", "compiled")
            ),
            *(f"**{one['ratios'].get(arm, float('nan')):.2f}**" for arm in ("packed", "compiled")),
        ]
        for one in record["results"]
    ]
    head = ["", "GEMM, GFLOP/s", "padded: tokens/s (utilization)", "packed", "packed, compiled"]
    return table([*head, "packed to padded", "compiled to eager"], rows)


def ladder(record: Record) -> list[str]:
    """A row for each budget; the law and what it foretold in the last ones."""
    config, held = record["config"], record["config"]["held_out"]
    rows = [
        [
            f"{one['budget']:.3g}",
            f"{one['sizes']}, {one['runs']} runs",
            f"{one['width']} wide, N {one['N']:,}",
            "at the edge" if one["optimum"] is None else f"{one['optimum']:,.0f}",
            f"{one['rate']:.2g}",
            f"{one['steps']:,}, {one['epochs']:.1f}",
            f"{one['loss']:.4f}",
        ]
        for one in record["results"]
    ]
    law = config["law"]
    between = {name: " to ".join(f"{v:.2g}" for v in law[name]["interval"]) for name in law}
    told = ", ".join(
        f"{name} {law[name]['value']:.3g} ({between[name]})" for name in ("E", "a", "b", "exponent")
    )
    low, high = held["interval"]
    head = ["FLOPs of a run", "sizes tried", "best", "best N by parabola", "its rate"]
    return [
        *table([*head, "its steps, epochs", "loss"], rows),
        "",
        f"The last budget was held out: **foretold {held['predicted']:.4f} ({low:.4f} to {high:.4f}), "
        f"found {held['loss']:.4f}: {held['error']:+.1%}**. The law: {told}; largest residual "
        f"{config['residual']:.1%}. {config['training_clips']} clips, {config['runs']} runs, "
        f"{config['cpu_seconds']:.0f} CPU seconds"
        + (f", {config['minutes']} minutes with everything." if config.get("minutes") else "."),
    ]


MACHINES = {"here": "as it is", "avx2": "kept to AVX2"}


def dtype(record: Record) -> list[str]:
    rows = []
    for one in record["results"]:
        apart = one.get("apart")
        near = (
            "" if apart is None else f"{apart['velocity_most']:.1%}, {apart['psnr_least']:.1f} dB"
        )
        rows.append(
            [
                MACHINES[one["machine"]],
                one["work"],
                *(f"{one['arms'][name]['median_ms']:,.0f} ms" for name in ("float32", "bfloat16")),
                f"**{one['ratios']['bfloat16']:.2f}**",
                one["auto"] + (", the faster" if one["auto_is_faster"] else ", the slower"),
                near,
            ]
        )
    head = ["CPU", "work", "float32", "bfloat16", "ratio", "`auto` chooses"]
    return table([*head, "apart: first velocity, clip"], rows)


TABLES: dict[str, Callable[[Record], list[str]]] = {
    "dtype": dtype,
    "packing": packing,
    "cached_rollout": cached_rollout,
    "transformer_forward": transformer_forward,
    "codec_decode": codec_decode,
    "codec_peers": codec_peers,
    "minute": minute,
    "generate_time": generate_time,
    "watermark": watermark,
    "watermark_foreign": watermark_foreign,
    "watermark_cost": watermark_cost,
    "framing": framing,
    "plan": plan,
    "serve": serve,
    "captions": captions,
    "rewriting": rewriting,
    "wording": wording,
    "loader": loader,
    "training": training,
    "ladder_ci": ladder,
    "ladder_laptop": ladder,
}


def filled(page: str, folder: Path = RESULTS) -> str:
    """The page with every table made anew."""

    def section(match: re.Match[str]) -> str:
        name = match[1]
        try:
            record = newest(name, folder)
        except FileNotFoundError as missing:
            return f"<!-- table: {name} -->\nNot measured yet: {missing}.\n<!-- end -->"
        machine, torch = record["machine"]["processor"], record["versions"]["torch"]
        if sets := record["machine"].get("instruction_sets"):
            machine += f" with {sets}"
        made = f"{record['started'][:10]}, commit {record['commit']}, {machine}, torch {torch}"
        return "\n".join(
            [f"<!-- table: {name} -->", *TABLES[name](record), "", f"({made})", "<!-- end -->"]
        )

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- end -->", section, page, flags=re.DOTALL)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="fail where the page is not what the records say"
    )
    args = parser.parse_args(arguments)
    page = PAGE.read_text(encoding="utf-8")
    made = filled(page)
    if args.check and made != page:
        raise SystemExit(f"{PAGE} does not say what the records say; run benchmarks/table.py")
    PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
