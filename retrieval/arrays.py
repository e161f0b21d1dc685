"""Files of named arrays: safetensors, written whole or not at all, read through memory maps."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from retrieval.files import write_atomically


def write_arrays(path: Path, arrays: dict[str, np.ndarray], facts: dict[str, Any] | None = None) -> None:
    """Write arrays and a few facts (of JSON) about them, so that a kill or a full disk leaves the old file or none."""
    metadata = {"facts": json.dumps(facts or {}, sort_keys=True)}  # one entry: their order in the file is random
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)
    write_atomically(path, content)


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None if there is no such file or it is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (FileNotFoundError, SafetensorError):
        return None


def read_facts(path: Path) -> dict[str, Any]:
    """The facts that were written with the arrays of an undamaged file."""
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["facts"])


def checksum(arrays: dict[str, np.ndarray]) -> int:
    """CRC-32 of the arrays' bytes, by name."""
    found = 0
    for name in sorted(arrays):
        found = zlib.crc32(arrays[name].tobytes(), found)
    return found


def map_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """As `read_arrays`, but nothing is read before it is used: the arrays lie in the file, read-only."""
    try:
        with safe_open(path, framework="numpy") as file:  # checks header and size
            names = list(file.keys())
        whole = np.memmap(path, np.uint8, "r")
        size = int.from_bytes(whole[:8].tobytes(), "little")
        header = json.loads(whole[8 : 8 + size].tobytes())
    except (FileNotFoundError, SafetensorError):
        return None
    arrays = {}
    for name in names:
        start, stop = (8 + size + offset for offset in header[name]["data_offsets"])
        arrays[name] = whole[start:stop].view(_DTYPES[header[name]["dtype"]]).reshape(header[name]["shape"])
    return arrays


_DTYPES = {"F32": np.float32, "I64": np.int64, "I32": np.int32, "U16": np.uint16, "BOOL": np.bool_}
