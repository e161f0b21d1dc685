"""One scipy CSR matrix as an .npz file, written in a stream: all rows may not fit in memory at once.

matrix = scipy.sparse.load_npz("documents.npz")
ids = np.load("documents.npz")["ids.txt"].decode().split("\\n")
"""

import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from scipy.sparse import csr_matrix

CHUNK = 2**24


def write_csr(path: Path, blocks: Iterable[tuple[Sequence[str], csr_matrix]], tokens: Sequence[str | None]) -> None:
    """Write blocks of (ids [n], weights [n, V]) as one matrix [N, V] with its rows' ids."""
    ids: list[str] = []
    lengths = [np.zeros(1, np.int64)]
    with tempfile.TemporaryFile(dir=path.parent) as data, tempfile.TemporaryFile(dir=path.parent) as indices:
        for names, weights in blocks:
            ids.extend(names)
            lengths.append(np.diff(weights.indptr).astype(np.int64))
            data.write(weights.data.astype("<f4").tobytes())
            indices.write(weights.indices.astype("<i4").tobytes())
        indptr = np.cumsum(np.concatenate(lengths))
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            shape = np.array([len(ids), len(tokens)], dtype=np.int64)
            for name, array in (("format", np.array(b"csr")), ("shape", shape), ("indptr", indptr)):
                _add(archive, name, array.dtype, array.shape, BytesIO(array.tobytes()))
            _add(archive, "indices", np.dtype("<i4"), (int(indptr[-1]),), indices)
            _add(archive, "data", np.dtype("<f4"), (int(indptr[-1]),), data)
            archive.writestr("ids.txt", "\n".join(ids))


def _add(archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...], content: IO[bytes]) -> None:
    """An array of which only the bytes are at hand."""
    header: dict[str, Any] = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    content.seek(0)
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        npy.write_array_header_1_0(file, header)
        while chunk := content.read(CHUNK):
            file.write(chunk)
