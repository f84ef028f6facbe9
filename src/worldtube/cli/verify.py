"""`verify`: where files come from."""

import json
from pathlib import Path
from typing import Annotated, Any

from worldtube.cli.arguments import parse


def verify(rest: list[str]) -> int:
    """Exit code 0 when every file was made here or by a known other, else 1."""
    import tyro

    def command(
        files: Annotated[tuple[Path, ...], tyro.conf.Positional], /, *, json: bool = False
    ) -> Any:
        """Where pictures and videos come from: made here, by a known other, altered, or no signal found.

        Args:
            files: pictures or videos
            json: print one JSON object a line
        """
        return files, json

    files, as_json = parse(command, "verify", rest)
    from worldtube import provenance
    from worldtube.errors import RequestError

    if not files:
        raise RequestError("0 files to verify; 1 or more are accepted")
    verdicts = set()
    for file in files:
        report = provenance.verify(file)
        verdicts.add(report.verdict)
        print(json.dumps(report.told) if as_json else report, flush=True)
    return 0 if verdicts <= {"made_here", "known_other"} else 1
