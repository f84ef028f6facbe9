"""`verify`: where files come from."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from worldtube.cli.arguments import parse

DESCRIPTION = """\
Where pictures and videos come from: unaltered, derived from something made here, changed, or unknown.

Exit code 0: unaltered, signed here or by someone known here. 1: no signal found, or signed by someone unknown.
2: a file cannot be checked. 3: derived from something made here. 4: changed since it was signed.
Of several files: 2 if one cannot be checked, else the largest."""


def verify(rest: list[str]) -> int:
    """Print a verdict for each file. Returns the exit code."""
    import tyro

    def command(
        files: Annotated[tuple[Path, ...], tyro.conf.Positional],
        /,
        *,
        json: bool = False,
        details: bool = False,
    ) -> Any:
        """Where pictures and videos come from.

        Args:
            files: pictures or videos
            json: print one JSON object a line
            details: print the statistics of the watermark and the codes of the credentials too
        """
        return files, json, details

    files, as_json, details = parse(command, "verify", rest, description=DESCRIPTION)
    from worldtube import provenance
    from worldtube.errors import RequestError, WorldtubeError

    if not files:
        raise RequestError("verify needs at least 1 file, got 0")
    codes = set()
    for file in files:
        try:
            report = provenance.verify(file)
        except WorldtubeError as error:
            print(f"worldtube: {error}", file=sys.stderr)
            codes.add(2)
            continue
        codes.add(report.exit_code)
        print(json.dumps(report.told) if as_json else report.text(details=details), flush=True)
    return 2 if 2 in codes else max(codes)
