"""`data export`: a dataset for other people's programs."""

from pathlib import Path
from typing import Any, Literal

from worldtube.cli.arguments import parse, positional
from worldtube.cli.bar import Bar


def export(rest: list[str]) -> int:
    def command(
        data: Path,
        *,
        to: Literal["webdataset", "huggingface", "files"],
        out: Path,
        view: str | None = None,
        where: str | None = None,
        caption: str | None = None,
        shard_mb: int | None = None,
    ) -> Any:
        """Write the clips of a dataset as WebDataset shards, as a folder for Hugging Face's datasets, or as files.

        Args:
            data: folder of the dataset
            to: layout
            out: folder to make; what is there already is not touched
            view: name of a saved view; all whole clips when neither it nor a condition is given
            where: SQL condition on the columns, such as "motion > 0.001 AND seed < 500"
            caption: column that becomes a clip's text, or captions_NAME:FIELD; caption_medium when not said
            shard_mb: a WebDataset shard is closed when it is as large; 500 when not said
        """
        return data, to, out, view, where, caption, shard_mb

    data, to, out, view, where, caption, shard_mb = parse(
        positional(command, "data"), "data export", rest
    )
    from worldtube.data.catalog import Catalog
    from worldtube.data.export import export as write
    from worldtube.data.views import kept
    from worldtube.data.views import view as view_of
    from worldtube.errors import RequestError

    if view is not None and where is not None:
        raise RequestError(
            f"view {view!r} and condition {where!r} were both given (accepted: one of them)"
        )
    catalog = Catalog(data)
    if view is not None:
        ids = view_of(catalog, view)
    else:
        ids = kept(catalog, where or "1")
    if not ids:
        raise RequestError(
            f"{data} has no clips to export (accepted: a view or condition that keeps some)"
        )
    with Bar("exporting") as bar:
        count = write(
            catalog, ids, to=to, out=out, caption=caption, shard_mb=shard_mb, progress=bar
        )
    print(f"{out}: {count} clips")
    return 0
