"""The official Node client against the same server: what Python's cannot send, a video by its id, it sends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import fs from "node:fs";
import OpenAI, { toFile } from "openai";
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none" });
const quick = { model: "gaussian", size: "32x16", seconds: "1" };
const done = async (job) => {
  while (["queued", "in_progress"].includes(job.status)) {
    await new Promise((wake) => setTimeout(wake, 50));
    job = await client.videos.retrieve(job.id);
  }
  if (job.status !== "completed") throw new Error(JSON.stringify(job));
  return job;
};
const picture = await toFile(fs.readFileSync(process.argv[3]), "p.png", { type: "image/png" });
const made = await done(await client.videos.create({ prompt: "a ball", ...quick, input_reference: picture, seed: 7 }));
const edited = await done(await client.videos.edit({ prompt: "a blue ball", video: { id: made.id } }));
const longer = await done(await client.videos.extend({ prompt: "on", seconds: "4", video: { id: made.id } }));
const board = await done(await client.videos.create({ prompt: "a", model: "gaussian", size: "32x16",
  storyboard: [{ prompt: "b", seconds: 1 }, { prompt: "c", seconds: 2 }] }));
const bytes = await (await client.videos.downloadContent(longer.id)).arrayBuffer();
let refused;
try { await client.videos.create({ prompt: "", ...quick }); } catch (error) { refused = error; }
let listed = 0;
for await (const one of client.videos.list({ limit: 2 })) listed += one.object === "video";
console.log(JSON.stringify({ seed: made.seed, task: made.task, edited: edited.task, seconds: longer.seconds,
  shots: board.num_frames, bytes: bytes.byteLength, listed,
  refused: [refused.status, refused.param, refused.code, refused.requestID.slice(0, 4)] }));
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A folder with the client from npm, and the environment in which Node, a package of ours, is found."""
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    folder = tmp_path_factory.mktemp("node")
    words = ["npm", "install", "--no-audit", "--no-fund", "--silent", "openai@6"]
    where = {"cwd": folder, "env": os.environ | {"PATH": here}}
    done = subprocess.run(words, **where, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"the client could not be had from npm: {done.stderr[-300:]}")
    return where


def test_create_edit_extend_download(server, node, picture):  # 12
    (node["cwd"] / "drive.mjs").write_text(SCRIPT)
    words = ["node", "drive.mjs", f"{server.url}/v1", str(picture)]
    done = subprocess.run(words, **node, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["bytes"] > 500 and told.pop("bytes") and told.pop("listed") >= 4
    assert told == {
        "seed": 7, "task": "animate", "edited": "edit", "seconds": "5", "shots": 4 + 8,
        "refused": [400, "prompt", "invalid_value", "req_"],
    }  # fmt: skip
