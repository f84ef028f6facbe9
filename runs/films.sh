#!/usr/bin/env bash
# Real films in, clips to train on out: `runs/films.sh` in a checkout. Run again, it goes on where it stopped.
# CLIPS engine-made clips come beside them. What follows from the two sets is training: `worldtube train --help`.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="${FOLDER:-data/films}" clips="${CLIPS:-2000}" python="${PYTHON:-.venv/bin/python}"
mkdir -p "$folder"
worldtube() { "$python" -m worldtube "$@"; }

"$python" runs/films.py "$folder/source" --train
worldtube ingest "$folder/source" --out "$folder/filmed" --size 64x64 --fps 12 --frames 25
worldtube data view "$folder/filmed" lively \
    --where "motion BETWEEN 0.004 AND 0.5 AND static < 0.5 AND black < 0.2 AND letterbox < 0.3 AND repeats = ''"
worldtube data show "$folder/filmed" --out "$folder/page.html"
worldtube record tabletop --count "$clips" --out "$folder/tabletop"
worldtube cache "$folder/filmed"
worldtube cache "$folder/tabletop"
