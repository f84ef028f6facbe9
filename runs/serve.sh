#!/usr/bin/env bash
# A server that others may reach, and a first video from it: `runs/serve.sh` in a checkout. Ctrl-C ends it.
set -euo pipefail
cd "$(dirname "$0")/.."
port="${PORT:-8000}" folder="${FOLDER:-data/serve}"
make setup
mkdir -p "$folder"
[ -s "$folder/key" ] || (umask 077 && .venv/bin/worldtube keys create --name first --folder "$folder" >"$folder/key")
.venv/bin/worldtube serve --host "${HOST:-0.0.0.0}" --port "$port" --folder "$folder" &
server=$!
trap 'kill $server; wait $server' EXIT
until curl -fsS "http://127.0.0.1:$port/healthz" 2>/dev/null | grep -q '"ok"'; do sleep 1; done
OPENAI_BASE_URL="http://127.0.0.1:$port/v1" OPENAI_API_KEY="$(cat "$folder/key")" .venv/bin/python - <<'PYTHON'
import openai

client = openai.OpenAI()
video = client.videos.create_and_poll(prompt="a red ball rolls to the right", size="256x144", seconds="2")
client.videos.download_content(video.id).write_to_file("first.mp4")
print("first.mp4:", video.status)
PYTHON
echo "The key is in $folder/key"
wait $server
