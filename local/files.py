"""Files that appear whole or not at all."""

import os
import tempfile
from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """Writes `text` so that readers see the old file or the new one, readable by its owner alone."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w") as out:
            out.write(text)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
