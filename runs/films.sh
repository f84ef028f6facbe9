#!/usr/bin/env bash
# Real films and engine-made clips in, a model that knows both and clips by it out: `runs/films.sh` in a checkout.
# Run again, it goes on where it stopped. CLIPS engine-made clips come beside the films; STEPS of fine-tuning follow.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="${FOLDER:-data/films}" clips="${CLIPS:-2000}" steps="${STEPS:-300}" python="${PYTHON:-.venv/bin/python}"
mkdir -p "$folder"
worldtube() { "$python" -m worldtube "$@"; }

"$python" runs/films.py "$folder/source" --train
worldtube record tabletop --count "$clips" --out "$folder/recorded"
[ -d "$folder/made" ] || worldtube data export "$folder/recorded" --to files --out "$folder/made"

worldtube ingest "$folder/source" "$folder/made" --out "$folder/set" --size 64x64 --fps 12 --frames 25
lively="motion BETWEEN 0.004 AND 0.5 AND static < 0.5 AND black < 0.2 AND letterbox < 0.3 AND repeats = ''"
worldtube data view "$folder/set" filmed --where "$lively AND source NOT LIKE '%tabletop_%'"
worldtube data show "$folder/set" --out "$folder/page.html"

worldtube train finetune --data "$folder/set" --view filmed --steps "$steps" --out "$folder/tuned"
for seed in 1 2; do
    worldtube generate "an animated film of a big grey rabbit in a green meadow" --no-rewrite --guidance 2 --seed "$seed" \
        --model "$folder/tuned/model.safetensors" --out "$folder/rabbit-$seed.mp4" --strip "$folder/rabbit-$seed.png"
done
