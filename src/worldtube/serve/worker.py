"""A worker: takes jobs from the queue, makes their clips, puts the files where they belong, hands the jobs in.

Owns what is done with a row. Talks to the database and the store alone, so it may run on any host. Knows nothing
of HTTP.
"""

import hashlib
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from worldtube import provenance, video
from worldtube.errors import DataError, RequestError
from worldtube.generate import engine, tasks
from worldtube.generate.compose import ResultShape, adapt, result_shape
from worldtube.generate.layout import Plan, outline, uses_state
from worldtube.generate.request import Request
from worldtube.generate.session import Session, load
from worldtube.models import GaussianModel
from worldtube.models.model import StateModel
from worldtube.serve import moderation
from worldtube.serve.config import ServeConfig
from worldtube.serve.jobs import Database, Job, Jobs, Lost, Row, Workers
from worldtube.serve.jobs.registry import HEARTBEAT_SECONDS
from worldtube.serve.leases import Leases
from worldtube.serve.schema import VARIANTS
from worldtube.serve.store import Store, open_store
from worldtube.state import MAX_BODIES, NAMES, State, read_state
from worldtube.video import Clip, Size, fit

logger = logging.getLogger(__name__)

IDLE_SECONDS = 0.2
"""How long a worker without a job waits before it looks for one."""
PREVIEW_SIDE, PREVIEW_FRAMES, PREVIEW_SHARE = 128, 12, 0.1
"""Pixels and frames of a preview, and how much of the time previews may take."""
KEPT_FRAMES = 50
"""Frames of a finished clip that stills are made of."""
SHEET_COLUMNS, SHEET_ROWS, SHEET_SIDE = 5, 5, 320


def open_models(sources: Sequence[str], device: str, dtype: str = "auto") -> dict[str, Session]:
    """SOURCE or NAME=SOURCE -> sessions by name, the first of them the default."""
    sessions: dict[str, Session] = {}
    for source in sources:
        name, _, origin = source.rpartition("=")
        origin, fast = origin.removesuffix(":fast"), origin.endswith(":fast")
        if origin == "gaussian":
            session = Session(GaussianModel())
        else:
            session = load(
                None if origin == "embedded" else origin, device=device, dtype=dtype, fast=fast
            )
        name = name or session.model.name + ("-fast" if fast else "")
        if name in sessions:
            raise RequestError(
                f"two models are called {name!r} (accepted: NAME=SOURCE, each its own)"
            )
        sessions[name] = session
    return sessions


def facts(session: Session, *, render_pixels: int | None) -> dict[str, Any]:
    """What the API needs to know of a model, as `plan.Facts` reads it."""
    model = session.model
    told = {
        "fps": model.fps,
        "size": str(model.size),
        "seconds": session.defaults.get("seconds") or Request.seconds,
        "stride": list(model.stride),
        "render_pixels": render_pixels or 4 * model.size.width * model.size.height,
        "tasks": tasks.possible(model.abilities),
    }
    if "state" in model.abilities:
        names = {f"{field}s": list(NAMES[field]) for field in ("shape", "colour", "material")}
        size = str(cast(StateModel, model).state_size)
        told["state"] = {"size": size, "max_bodies": MAX_BODIES, **names}
    return told


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownClip(Clip):
    """A clip with what is known of it: what continues it need not encode it again."""

    tokens: torch.Tensor | None = None
    """(n, P)."""
    state: State | None = None
    """A row per frame."""


class Worker:
    def __init__(self, config: ServeConfig, device: str = "auto", name: str | None = None):
        self.config = config
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self.stopping = threading.Event()
        self.jobs = Jobs(
            Database(config.database, durable=False),
            lease_seconds=config.lease_seconds,
            attempts=config.attempts,
            keep_seconds=config.keep_hours * 3600,
        )
        self.workers = Workers(self.jobs.database)
        self.store: Store = open_store(config.store_url, config.place)
        self.sessions = open_models(config.model, device, config.dtype)

    def run(self) -> None:
        """Until `stopping` is set. A job in hand is then put back."""
        heart = threading.Thread(target=self._beat, daemon=True)
        heart.start()
        while not self.stopping.is_set():
            try:
                if not self.step():
                    self.stopping.wait(IDLE_SECONDS)
            except Exception:  # the database may be away for a while; a worker waits for it
                logger.exception("worker %s", self.name)
                self.stopping.wait(2.0)
        heart.join()

    def announce(self) -> None:
        """Say that this worker is ready, and which models it serves."""
        served = {
            name: facts(session, render_pixels=self.config.render_pixels)
            for name, session in self.sessions.items()
        }
        self.workers.announce(self.name, served)

    def _beat(self) -> None:
        """Announce this worker for as long as it takes jobs."""
        while not self.stopping.is_set():
            try:
                if not self.workers.keep_alive(self.name):
                    self.announce()
            except Exception:  # as above
                logger.exception("announcing worker %s", self.name)
            self.stopping.wait(HEARTBEAT_SECONDS)
        try:
            self.workers.withdraw(self.name)
        except Exception:  # its silence says the same, later
            logger.exception("withdrawing worker %s", self.name)

    def step(self) -> bool:
        """Make what waits, if something does."""
        jobs = self.jobs.claim(self.name, list(self.sessions), limit=self.config.batch)
        if jobs:
            self.make(jobs)
        return bool(jobs)

    def make(self, jobs: list[Job]) -> None:
        """Make jobs of one model and shape. Each ends, or is put back, or is no longer ours."""
        with tempfile.TemporaryDirectory() as folder, Leases(self, jobs) as leases:
            ready = []
            for job in jobs:
                with leases.one(job):
                    ready.append(self._prepare(job, self._request(job, Path(folder))))
            try:
                self._make(ready, leases, Path(folder))
            except Exception as error:
                for job, _ in ready:
                    leases.end(job, error)

    def _request(self, job: Job, folder: Path) -> Request:
        """What the engine is asked for. Raises RequestError, Refused."""
        row, spec = job.row, job.row["spec"]
        session = self.sessions[row["model"]]
        shots = spec.get("shots", [])
        words = [row["prompt"], spec["options"].get("negative_prompt", ""), *(s[0] for s in shots)]
        moderation.check_prompts(words, self.config.moderation)
        rendered = Size.parse(row["rendered_size"])
        options = {"size": rendered, "fps": row["fps"], "seed": row["seed"], **spec["options"]}
        prompt, task = row["prompt"], row["task"]
        ask = partial(session.request, task)
        if task == "storyboard":
            request = ask(*(s[0] for s in shots), seconds=[s[1] for s in shots], **options)
            return replace(request, prompt=prompt)
        if task == "reproduce":
            state = read_state(self.store.path(f"videos/{job.id}/in/state.json"))
            return replace(ask(state, prompt, **options), num_frames=row["num_frames"])
        if task == "generate":
            return replace(ask(prompt, **options), num_frames=row["num_frames"])
        given = self._input(job, "picture.png" if task == "animate" else "clip.mp4")
        if not isinstance(given, KnownClip):
            options["size"] = Size.parse(row["size"])  # what is given stays as it is
        if task == "animate":
            request = replace(ask(given, prompt, **options), num_frames=row["num_frames"])
        elif task in ("edit", "remix"):
            request = ask(given, prompt, strength=spec["strength"], **options)
        elif task == "connect":
            clips = given, self._input(job, "next.mp4")
            request = ask(*clips, prompt, seconds=spec["seconds"], **options)
        else:
            if task == "extend":
                options["backward"] = spec["backward"]
            request = ask(given, prompt, seconds=spec["seconds"], **options)
        return adapt(session.model, request, work_size=rendered)

    def _prepare(self, job: Job, request: Request) -> tuple[Job, Request]:
        """Rewrite the prompts and add the warnings about them to the job's. Raises Refused."""
        rewriter = None if self.config.rewriter == "off" else self.config.rewriter
        session, name = self.sessions[job.row["model"]], job.row["model"]
        request, messages = session.prepare(request, rewriter)
        if request.asked:
            moderation.check_prompts(request.words, self.config.moderation)
        warnings = [*job.row["warnings"], *messages]
        row = {**job.row, "warnings": warnings}
        if row["spec"].get("any_size") and not uses_state(session.model, request):
            # No size was asked for: words alone are made at the size that suits them.
            size = session.model.size
            request = replace(request, size=size)
            row["rendered_size"] = str(size)
            warnings.append(f"{name} makes this at {size}; it is enlarged to {row['size']}")
        return replace(job, row=row), request

    def _input(self, job: Job, name: str) -> Clip:
        """A file that the API put beside the job. One of ours comes with its tokens or its state, at the size that it
        was made at, so that it is gone on from without decoding and encoding it."""
        at, row = f"videos/{job.id}/in/", job.row
        clip = video.read(self.store.path(at + name))
        names = self.store.names(at) if name == "clip.mp4" else []
        native = abs(row["fps"] - self.sessions[row["model"]].model.fps) < 1e-3
        state = tokens = None
        forward = row["task"] == "extend" and not row["spec"]["backward"]
        if "clip.json" in names and forward and not row["spec"]["options"].get("no_state"):
            state = read_state(self.store.path(at + "clip.json"))
        elif "clip.npy" in names and native:
            tokens = torch.from_numpy(np.load(self.store.path(at + "clip.npy"), allow_pickle=False))
        else:
            return clip
        clip = fit(clip, Size.parse(row["rendered_size"]))
        return KnownClip(
            frames=clip.frames, fps=clip.fps, sound=clip.sound, tokens=tokens, state=state
        )

    def _parents(self, job: Job) -> list[Path]:
        """What a job's clip is made from: uploads as they came, videos of ours as they left."""
        at = f"videos/{job.id}/in/"
        there = set(self.store.names(at))
        wanted = ((name, f"{name}.mp4") for name in ("clip", "next", "picture"))
        found = (next((name for name in names if name in there), None) for names in wanted)
        return [self.store.path(at + name) for name in found if name is not None]

    def _make(self, ready: list[tuple[Job, Request]], leases: Leases, folder: Path) -> None:
        if not ready:
            return
        session = self.sessions[ready[0][0].row["model"]]
        requests = [request for _, request in ready]
        previews = [Preview(self, job, session, folder) for job, _ in ready]

        def look(index: int, one: Plan, guess: torch.Tensor) -> None:
            previews[index](one, guess)

        shape = result_shape(session.model, requests[0])
        if len(ready) == 1 and shape.long:
            job, request = ready[0]
            shapes = outline(session.model, request)
            details = engine.describe(session.model, request, shapes, shape.num_frames)
            states: list[State] = []
            frames = engine.stream(
                *(session.model, request), progress=leases.tell, look=look, on_states=states.extend
            )
            self._hand_in(
                job, request, leases, folder, blocks=frames, fps=shape.fps, details=details,
                states=states,
            )  # fmt: skip
            return
        clips = engine.generate(
            session.model, requests, batch=len(ready), progress=leases.tell, look=look
        )
        for (job, request), clip in zip(ready, clips, strict=True):
            with leases.one(job):
                self._hand_in(
                    job, request, leases, folder, blocks=[clip.frames], fps=clip.fps,
                    details=clip.details, tokens=clip.tokens, states=clip.states,
                )  # fmt: skip

    def _hand_in(
        self,
        job: Job,
        request: Request,
        leases: Leases,
        folder: Path,
        *,
        blocks: Iterable[np.ndarray],
        fps: float,
        details: dict[str, Any],
        tokens: torch.Tensor | None = None,
        states: Sequence[State] = (),
    ) -> None:
        """Write, look, store, and only then say that it is done.

        Args:
            states: of each shot; filled in by the time that the last block has come
        """
        size, row, count = Size.parse(job.row["size"]), job.row, 0

        def frames() -> Iterator[np.ndarray]:
            nonlocal count
            for block in blocks:
                yield fit(Clip(frames=block, fps=fps), size).frames
                count += len(block)

        path = folder / f"{job.id}.mp4"
        details = details | {"size": str(size), "video": job.id, "task": row["task"]}
        told: dict[str, Any] = {"details": details, "parents": self._parents(job)}
        sound = None if request.composition is None else request.composition.sound
        if ResultShape(size=size, fps=fps, num_frames=row["num_frames"]).long:
            provenance.write_blocks(frames(), path, fps=fps, caption="", sound=sound, **told)
        else:
            clip = Clip(frames=np.concatenate(list(frames())), fps=fps, sound=sound)
            provenance.write(clip, path, **told)
        leases.check(job)
        # Reading it whole shows that it plays; a few frames of it are kept.
        made = video.read(path, fps=fps * min(1.0, KEPT_FRAMES / count))
        if made.size != size:
            raise DataError(f"the file of {job.id} has {made.size}, not {size}")
        moderation.check_frames(made.frames, self.config.moderation)
        files = {"video": path, **_stills(made, folder / job.id, details)}
        if len(states) == 1:
            files["state"] = folder / f"{job.id}.json"
            states[0].save(files["state"])
        own, at = f"videos/{job.id}", f"videos/{job.id}/{job.epoch}"
        for variant, file in files.items():
            self.store.put(file, f"{at}/{VARIANTS[variant][0]}")
        if tokens is not None:
            np.save(folder / f"{job.id}.npy", tokens.numpy())
            self.store.put(folder / f"{job.id}.npy", f"{at}/{TOKENS}")
        for name in self.store.names(own):  # what killed workers left
            if name.isdigit() and int(name) < job.epoch:
                self.store.delete(f"{own}/{name}")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        try:
            warnings = row["warnings"] + self._unplaced_characters(row, request)
            self.jobs.complete(
                job,
                num_frames=count,
                sha256=digest,
                warnings=warnings,
                rendered_size=row["rendered_size"],
                variants=list(files),
            )
        except Lost:
            self.store.delete(at)
            raise
        leases.done(job)
        self.store.delete(f"{own}/in")
        self.store.delete(f"{own}/preview")

    def _unplaced_characters(self, row: Row, request: Request) -> list[str]:
        """Warnings about characters that a prompt names: no model can place them."""
        prompt = (request.asked or " ".join(request.words)).casefold()
        return [
            f"{row['model']} cannot place the character {name!r}; it read a word"
            for name in self.jobs.characters(row["owner"])
            if name.casefold() in prompt
        ]


TOKENS = "tokens.npy"
"""Beside the files of `schema.VARIANTS`, under videos/ID/EPOCH/: the tokens of a clip in one piece."""


def _stills(clip: Clip, stem: Path, details: dict[str, Any]) -> dict[str, Path]:
    """A thumbnail, and up to 25 frames in rows; they leave through the same door as the clip."""
    count = min(SHEET_COLUMNS * SHEET_ROWS, clip.num_frames)
    chosen = clip.frames[np.linspace(0, clip.num_frames - 1, count).round().astype(int)]
    small = fit(Clip(frames=chosen, fps=clip.fps), _within(clip.size, SHEET_SIDE)).frames
    columns = min(SHEET_COLUMNS, count)
    missing = -count % columns
    small = np.concatenate([small, np.zeros((missing, *small.shape[1:]), np.uint8)])
    rows = [
        np.concatenate(list(small[i : i + columns]), axis=1) for i in range(0, len(small), columns)
    ]
    paths = {}
    for name, picture in (("thumbnail", clip.frames[0]), ("spritesheet", np.concatenate(rows))):
        path = stem.with_name(f"{stem.name}-{name}.webp")
        provenance.write(Clip(frames=picture[None], fps=1.0), path, details=details)
        paths[name] = path
    return paths


def _within(size: Size, side: int) -> Size:
    """The size, shrunk until its longer side is at most so long."""
    scale = min(1.0, side / max(size.width, size.height))
    return Size(max(1, round(size.width * scale)), max(1, round(size.height * scale)))


class Preview:
    """A small moving picture of what a clip will be, put into the store now and then."""

    def __init__(self, worker: Worker, job: Job, session: Session, folder: Path):
        self.worker, self.job, self.session = worker, job, session
        self.path = folder / f"{job.id}-preview.webp"
        self.began = self.next = time.monotonic()

    def __call__(self, one: Plan, guess: torch.Tensor) -> None:
        began = time.monotonic()
        if began < self.next:
            return
        done = torch.ones(len(guess), dtype=torch.bool)
        frames = np.concatenate(list(engine.Show(self.session.model, one)(guess, done)))
        step = -(-len(frames) // PREVIEW_FRAMES)
        clip = Clip(frames=frames[::step], fps=one.fps / step)
        clip = fit(clip, _within(clip.size, PREVIEW_SIDE))
        details = {"generator": "worldtube", "video": self.job.id, "preview": True}
        provenance.write(clip, self.path, details=details)
        self.worker.store.put(self.path, f"videos/{self.job.id}/preview/preview.webp")
        now = time.monotonic()
        self.next = now + max(0.5, (now - began) / PREVIEW_SHARE)


__all__ = ["TOKENS", "KnownClip", "Worker", "facts", "open_models"]
