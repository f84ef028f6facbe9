"""Captions for the clips of a catalog, from whoever can tell: `CAPTIONERS`.

Owns who they are and how a column is filled; what one is and leaves is in `captioner`. A captioner fills one column,
`captions_NAME`: JSON of the fields and of who wrote them. Knows nothing of training; `latents.cache_text` reads the
words of one captioner, and training mixes their lengths.
"""

import functools
import hashlib
import io
import json
import logging
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from worldtube.data import sidecar
from worldtube.data.captioner import (
    FIELDS,
    Captioner,
    Clips,
    EachAlone,
    Rows,
    column,
    fields_in,
    value,
    version,
    whole,
)
from worldtube.data.catalog import Catalog
from worldtube.data.sidecar import Tell
from worldtube.device import find_device, find_dtype
from worldtube.errors import DataError, MissingExtra, NotFound, RequestError, unknown
from worldtube.files import data_url
from worldtube.text.chat import Chat
from worldtube.video import Clip
from worldtube.worlds import language

logger = logging.getLogger(__name__)

FRAMES = 8
"""Pictures of a clip that a vision model is shown."""
INSTRUCTION = """You see frames of one video clip in order. Describe it as a JSON object with these keys:
"short": one sentence of at most 12 words, subject and action;
"medium": one or two sentences of at most 26 words;
"long": a dense caption of 40 to 80 words: number, size, colour, material and place of every thing, then what happens
in order, then background and camera;
"subject": the things alone, as a noun phrase; "background": the surroundings alone; "camera": how the camera moves or
that it does not; "chronology": what happens, in order, in one sentence; "style": the look (film, photo, drawing, ...).
Say only what can be seen. Answer with the JSON object alone."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Truth(EachAlone):
    """The engine's facts in the grammar's words."""

    name = "truth"
    columns = ("truth",)
    watches = False
    model: str = "grammar-1"
    prompt: str = ""

    def tell(self, row: Mapping[str, Any], clip: Clip | None) -> dict[str, str]:
        if not row["truth"]:
            raise DataError("no facts are known of it (an engine-made clip has some)")
        return language.fields(row["truth"], np.random.default_rng(zlib.crc32(row["id"].encode())))


def _stem(source: str) -> str:
    """What films of one name in several folders have in common; no source begins so."""
    return f"/{Path(source).stem}"


@dataclass(frozen=True, kw_only=True)
class Sidecar(EachAlone):
    """Text that came with the clips: a column of the catalog, or files named after the source or the id."""

    name = "sidecar"
    watches = False
    column: str | None = None
    """The catalog's column that holds the text."""
    folder: Path | None = None
    """Folder of NAME.txt, or NAME.json with some of the fields; NAME is the clip's id with _ for :, its source as it
    was below the folder that was ingested, or, where one film alone is called so, the source's last part."""
    prompt: str = ""
    _warn: Tell = field(
        default_factory=lambda: functools.cache(logger.warning), repr=False, compare=False
    )
    """Once for each file, whose text may be that of many clips."""
    _films: dict[str, set[tuple[str, str]]] = field(default_factory=dict, repr=False, compare=False)
    """Sources and hashes of the films that a text may be of, by source and by stem."""
    _edition: list[str] = field(default_factory=list, repr=False, compare=False)
    """What the catalog calls the texts that were read so far."""

    def __post_init__(self) -> None:
        if (self.column is None) == (self.folder is None):
            raise RequestError("sidecar takes a column or a folder, one of the two")
        if self.folder is not None and not self.folder.is_dir():
            raise NotFound(f"no folder {self.folder} of captions")

    @property
    def model(self) -> str:
        # Not which folder: a set is told folder by folder.
        return f"column {self.column}" if self.column else next(iter(self._edition), "files")

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,) if self.column else ("source",)

    def prepare(self, catalog: Catalog) -> None:
        if self.folder is None:
            return
        self._films.clear()
        films = catalog.ids("problem IS NULL AND source IS NOT NULL")
        for row in catalog.take(films, ["source", "source_hash"]):
            for text in (row["source"], _stem(row["source"])):
                self._films.setdefault(text, set()).add((row["source"], row["source_hash"]))
        self._edition.clear()
        name, edited = column(self.name), {}
        if name not in catalog.columns():
            return
        rows = catalog.take(catalog.ids(f"{name} IS NOT NULL"), ["id", "source", name])
        models = {json.loads(row[name])["model"] for row in rows[:1]}
        if not any(model.startswith("files") for model in models):
            return
        self._edition.extend(models)
        for row in rows:
            with suppress(DataError):  # no text here, or nobody knows of what
                said = whole(self.tell(row, None))
                if said != fields_in(row[name]):
                    edited[row["id"]] = said
        if edited:
            self._edit(catalog, {row["id"]: fields_in(row[name]) for row in rows} | edited)
            logger.warning(
                "%d clips have other words in %s by now, which are taken (%s)",
                len(edited),
                self.folder,
                ", ".join([*edited][:3]),
            )

    def _edit(self, catalog: Catalog, told: Mapping[str, Mapping[str, str]]) -> None:
        """Values stay as they are, so texts that were changed begin another version, with all that was told."""
        name, all_of_it = column(self.name), json.dumps(sorted(told.items()), sort_keys=True)
        self._edition[:] = [f"files {hashlib.sha256(all_of_it.encode()).hexdigest()[:12]}"]
        catalog.set(name, {one: value(self, said) for one, said in told.items()}, version(self))
        catalog.add_column(name, version(self))

    def tell(self, row: Mapping[str, Any], clip: Clip | None) -> dict[str, str]:
        if self.column:
            return {"medium": str(row[self.column] or "")}
        own = re.sub(r"[:/]", "_", row["id"])
        said, source = self._said(own), row.get("source")
        if said or not source:
            return said or self._nothing(own)
        for name, text in ((source, source), (Path(source).name, _stem(source))):
            if said := self._said(name):
                films = sorted(self._films.get(text, ()))
                if len(films) > 1:
                    raise DataError(
                        f"the text of {name} in {self.folder} may be that of {len(films)} films "
                        f"({', '.join(film for film, _ in films[:3])}; accepted: the folder that was ingested, with "
                        f"texts beside films of different names, or {own}.txt)"
                    )
                return said
        return self._nothing(Path(source).with_suffix(""), own)

    def _nothing(self, *names: str | Path) -> dict[str, str]:
        looked = " or ".join(f"{name}.txt" for name in names)
        raise DataError(f"no text in {self.folder} ({looked} is looked for)")

    def _said(self, name: str) -> dict[str, str]:
        """What is told in this folder under a name."""
        said = sidecar.fields(Path(self.folder or ".", name), self._warn)
        return {key: text for key, text in said.items() if key in FIELDS}


@dataclass(frozen=True, kw_only=True)
class Endpoint(EachAlone):
    """A vision model behind an OpenAI-compatible address, shown frames as data: URLs."""

    name = "endpoint"
    columns = ()
    watches = True
    url: str
    model: str
    prompt: str = INSTRUCTION
    side: int = 512
    """Pixels of a picture's longer side at most."""

    def __post_init__(self) -> None:
        _ = self.chat

    @property
    def chat(self) -> Chat:
        return Chat(url=self.url, model=self.model)

    def tell(self, row: Mapping[str, Any], clip: Clip | None) -> dict[str, str]:
        assert clip is not None
        pictures = [
            {"type": "image_url", "image_url": {"url": picture_url(one, self.side)}}
            for one in shown(clip)
        ]
        content = [{"type": "text", "text": self.prompt}, *pictures]
        return parsed(self.chat.ask([{"role": "user", "content": content}], temperature=0))


@dataclass(frozen=True, kw_only=True)
class Transformers(EachAlone):
    """A vision-language model of the `transformers` package, on this machine."""

    name = "transformers"
    columns = ()
    watches = True
    model: str
    """Folder or hub name of an image-text-to-text model with a chat template."""
    prompt: str = INSTRUCTION
    num_tokens: int = 400
    """Of an answer at most."""
    device: str = "auto"
    """Where the model computes: auto, cpu, cuda, mps, or such as cuda:1."""
    dtype: str = "auto"
    """What it computes in: float32 or bfloat16; auto is the fastest there."""
    _loaded: list[Any] = field(default_factory=list, repr=False, compare=False)

    def load(self) -> tuple[Any, Any]:
        """Processor and network. Raises MissingExtra, NotFound."""
        if not self._loaded:
            try:
                from transformers import AutoModelForImageTextToText, AutoProcessor
            except ImportError as error:
                raise MissingExtra("captions by a local model", "transformers") from error
            place = find_device(self.device)
            dtype, path = find_dtype(self.dtype, place), Path(self.model)
            if (path.is_absolute() or self.model.startswith(".")) and not path.is_dir():
                raise NotFound(
                    f"no folder {self.model} with a vision-language model (accepted: one, or a hub name)"
                )
            try:
                self._loaded.append(AutoProcessor.from_pretrained(self.model))
                network = AutoModelForImageTextToText.from_pretrained(self.model, dtype=dtype)
                self._loaded.append(network.to(place).eval())
            except (OSError, ValueError) as error:
                raise NotFound(f"no vision-language model {self.model!r}: {error}") from error
        return self._loaded[0], self._loaded[1]

    def tell(self, row: Mapping[str, Any], clip: Clip | None) -> dict[str, str]:
        assert clip is not None
        import torch

        processor, network = self.load()
        content = [{"type": "image", "image": Image.fromarray(one)} for one in shown(clip)]
        chat = [{"role": "user", "content": [*content, {"type": "text", "text": self.prompt}]}]
        asked = processor.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ).to(network.device, dtype=network.dtype)
        with torch.inference_mode():
            tokens = network.generate(**asked, max_new_tokens=self.num_tokens, do_sample=False)
        new = tokens[:, asked["input_ids"].shape[1] :]
        return parsed(processor.batch_decode(new, skip_special_tokens=True)[0])


@dataclass(frozen=True, kw_only=True)
class Own:
    """Our re-captioner (`worldtube train captioner`): at home with balls, boxes, cylinders, cups and water."""

    name = "own"
    columns = ()
    watches = True
    path: Path | None = None
    """Weight file; the one that ships when None."""
    temperature: float = 0.6
    """0 writes the likeliest words, 1 varies them as the grammar does."""
    prompt: str = ""
    device: str = "auto"
    """Where the network computes, in float32: auto, cpu, cuda, mps, or such as cuda:1."""
    _loaded: list[Any] = field(default_factory=list, repr=False, compare=False)

    @property
    def model(self) -> str:
        from worldtube.reader.captioner import embedded_path

        path = self.path or embedded_path()
        if not path.is_file():
            raise NotFound(
                f"no captioner at {path} (a file of `worldtube train captioner` is accepted)"
            )
        return (
            f"captioner-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}-t{self.temperature:g}"
        )

    def prepare(self, catalog: Catalog) -> None:
        """It looks at the clips alone."""

    def __call__(self, rows: Rows, clips: Clips) -> list[dict[str, str] | DataError]:
        from worldtube.reader import captioner

        if not self._loaded:
            self._loaded.append(captioner.load(self.path, device=self.device))
        own = self._loaded[0]
        seen = [own.read(clip) for clip in clips]
        seeds = [zlib.crc32(row["id"].encode()) for row in rows]
        return own.tell(seen, temperature=self.temperature, seeds=seeds)


CAPTIONERS: dict[str, Callable[..., Captioner]] = {
    "truth": Truth,
    "sidecar": Sidecar,
    "endpoint": Endpoint,
    "transformers": Transformers,
    "own": Own,
}
"""Name -> what makes the captioner of its options."""


def captioner(name: str, **options: Any) -> Captioner:
    """An entry of CAPTIONERS with options. Raises RequestError for what it does not take or lacks."""
    if name not in CAPTIONERS:
        raise unknown("captioner", name, CAPTIONERS)
    try:
        return CAPTIONERS[name](**options)
    except TypeError as error:
        accepted = [f for f in CAPTIONERS[name].__dataclass_fields__ if f[0] != "_"]  # ty: ignore
        given = ", ".join(options) or "none"
        raise RequestError(
            f"captioner {name} cannot be made of the options {given} (accepted: {', '.join(accepted)})"
        ) from error


def fill(
    catalog: Catalog, who: Captioner, *, batch: int = 16, progress: Progress | None = None
) -> dict[str, int]:
    """Caption the clips that this captioner has not captioned yet, a batch at a time.

    Returns how many were told and how many could not be; those are tried again by the next call. A kill costs one
    batch at most. The column is made, or goes over to this version, with the first caption of it, so a captioner that
    tells nothing takes nothing away. Raises RequestError where the captioner cannot be used at all.
    """
    catalog.take([], who.columns)  # an unknown column is told before anything is made
    who.prepare(catalog)
    name, own = column(who.name), version(who)
    todo, failed = catalog.missing(name, own), 0
    if len(todo) < len(catalog.ids("problem IS NULL")):
        catalog.add_column(name, own)
    for start in range(0, len(todo), batch):
        ids = todo[start : start + batch]
        rows = catalog.take(ids, ["id", *who.columns])
        clips = [catalog.clip(one) if who.watches else None for one in ids]
        told: dict[str, str] = {}
        try:
            for one, answer in zip(ids, who(rows, clips), strict=True):
                try:
                    fields = whole(answer) if isinstance(answer, dict) else answer
                except DataError as error:
                    fields = error
                if isinstance(fields, DataError):
                    logger.warning("%s: %s", one, fields)
                    failed += 1
                else:
                    told[one] = value(who, fields)
        finally:
            if told:  # also what an endpoint said before it refused, or Ctrl-C
                catalog.add_column(name, own)
                catalog.set(name, told)
        if progress is not None:
            progress(min(start + batch, len(todo)), len(todo))
    return {"told": len(todo) - failed, "failed": failed}


def told_by(catalog: Catalog) -> list[str]:
    """The captioners that have told something of a clip."""
    there = [by for by in CAPTIONERS if column(by) in catalog.columns()]
    return [by for by in there if catalog.ids(f"{column(by)} IS NOT NULL")]


def need(catalog: Catalog, by: str) -> None:
    """Raises NotFound where no clip has captions by `by`."""
    if by not in CAPTIONERS:
        raise unknown("captioner", by, CAPTIONERS)
    told = told_by(catalog)
    if by not in told:
        raise NotFound(
            f"no clip of {catalog.path} has captions by {by} (0 of {len(catalog.ids('problem IS NULL'))}; "
            f"accepted: {'captions by ' + ' or '.join(told) + ', or ' if told else ''}"
            f"the dataset after `worldtube caption {catalog.path} --by {by}`)"
        )


def captions(catalog: Catalog, by: str, ids: Sequence[str]) -> list[dict[str, str]]:
    """The fields that captioner `by` told of these clips; empty ones where it told nothing."""
    if by not in CAPTIONERS:
        raise unknown("captioner", by, CAPTIONERS)
    if column(by) not in catalog.columns():
        raise NotFound(
            f"{catalog.path} has no captions by {by} (run `worldtube caption {catalog.path} --by {by}`)"
        )
    rows = catalog.take(ids, [column(by)])
    return [fields_in(row[column(by)]) for row in rows]


def parsed(answer: str) -> dict[str, str]:
    """The fields in a model's answer: a JSON object, perhaps in a fence or between other words; others are left out."""
    found = re.search(r"\{.*\}", answer, re.DOTALL)
    try:
        raw = json.loads(found[0]) if found else None
    except json.JSONDecodeError:
        raw = None
    if not isinstance(raw, dict):
        raise DataError(f"the answer holds no JSON object of fields but {answer[:120]!r}")
    return {name: raw[name] for name in FIELDS if isinstance(raw.get(name), str)}


def shown(clip: Clip) -> list[np.ndarray]:
    """Up to FRAMES pictures of a clip, from first to last."""
    count = min(FRAMES, clip.num_frames)
    return [clip.frames[i] for i in np.linspace(0, clip.num_frames - 1, count).round().astype(int)]


def picture_url(frame: np.ndarray, side: int) -> str:
    picture = Image.fromarray(frame)
    picture.thumbnail((side, side))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return data_url(out.getvalue(), "image/jpeg")
