"""Fetch BEIR archives, NanoBEIR and data sets that are named (hub:, irds:) into a folder, once.

BEIR archives come from the address in the environment variable BEIR_URL (by default the one that BEIR
publishes), continue after an interruption and are checked against BEIR's MD5 sums. NanoBEIR comes from the
Hugging Face hub. A data set's folder appears under its name only when it is whole. HF_HUB_OFFLINE=1 or
HF_DATASETS_OFFLINE=1 forbids the network; what the hub's own cache holds is used all the same.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from retrieval.archives import MOST_BYTES, unpack
from retrieval.dataset_names import IRDS, PARTS, folder_name, is_named
from retrieval.files import alone, move_aside
from retrieval.named_data import write_named, write_qrels, write_records
from sparse_model.errors import UserError

logger = logging.getLogger(__name__)

DEFAULT_BEIR_URL = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets"
NANOBEIR_REPOSITORY = "zeta-alpha-ai/{name}"
TEMPORARY = ".beir-download-"
CHUNK_BYTES = 2**18  # what a broken connection loses at most
ATTEMPTS = 5
LEAST_RATE = 1024  # bytes a second; below it, for SLOW_SECONDS on average, a connection counts as broken
SLOW_SECONDS = 60.0
WAIT_SECONDS = 1.0  # before the second attempt; doubles each time

# As published in BEIR's README.
BEIR_MD5 = {
    "msmarco": "444067daf65d982533ea17ebd59501e4",
    "trec-covid": "ce62140cb23feb9becf6270d0d1fe6d1",
    "nfcorpus": "a89dba18a62ef92f7d323ec890a0d38d",
    "nq": "d4d3d2e48787a744b6f6e691ff534307",
    "hotpotqa": "f412724f78b0d91183a0e86805e16114",
    "fiqa": "17918ed23cd04fb15047f73e6c3bd9d9",
    "arguana": "8ad3e3c2a5867cdced806d6503f29b99",
    "webis-touche2020": "46f650ba5a527fc69e0a6521c5a23563",
    "cqadupstack": "4e41456d7df8ee7760a7f866133bda78",
    "quora": "18fb154900ba42a600f84b839c173167",
    "dbpedia-entity": "c2a39eb420a3164af735795df012ac2c",
    "scidocs": "38121350fc3a4d2f48850f6aff52e4a9",
    "fever": "5a818580227bfb4b35bb6fa46d9b6c03",
    "climate-fever": "8b66f0a9126c521bae2bde127b4dc99d",
    "scifact": "5f7d1de60b170fc8027bb7898e2efca1",
}
NANOBEIR = (
    "NanoClimateFEVER NanoDBPedia NanoFEVER NanoFiQA2018 NanoHotpotQA NanoMSMARCO NanoNFCorpus NanoNQ "
    "NanoQuoraRetrieval NanoSCIDOCS NanoArguAna NanoSciFact NanoTouche2020"
).split()
NAMES = [*BEIR_MD5, *NANOBEIR]


def ensure(name: str, beir_dir: str, checksums: Mapping[str, str] = BEIR_MD5) -> Path:
    """The folder of this name in beir_dir, downloaded if it is absent or not whole. To be called in one process only.

    One download at a time goes into beir_dir, of whichever command.

    Args:
        checksums: name to the MD5 sum of its archive; an archive without one is accepted as it is.

    Raises:
        UserError: offline, or the download failed; says how to place the data by hand.
    """
    folder = Path(beir_dir, folder_name(name))
    if is_beir_folder(folder):
        return folder
    nano = name in NANOBEIR
    base = os.environ.get("BEIR_URL", DEFAULT_BEIR_URL).rstrip("/")
    source = f"huggingface.co/datasets/{NANOBEIR_REPOSITORY.format(name=name)}" if nano else f"{base}/{name}.zip"
    source = name if is_named(name) else source
    try:
        with alone(folder.parent):
            for left in folder.parent.glob(f"{TEMPORARY}*"):  # by one that was killed
                shutil.rmtree(left, ignore_errors=True)
            if is_beir_folder(folder):  # by now
                return folder
            if nano:
                _into_place(lambda target: _write_nanobeir(name, target), folder)
            elif is_named(name) and not (name.startswith(IRDS) and _offline()):  # the hub's cache serves offline too
                _into_place(lambda target: write_named(name, target), folder)
            elif _offline():
                raise ConnectionError("HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set")
            else:
                _fetch_archive(source, folder, checksums.get(name))
    except (OSError, ValueError) as error:  # requests' and the hub's errors are among these
        raise UserError(
            f"{name}: there is no whole folder {folder}, and it could not be fetched from {source} ({_why(error)}). "
            f"Place corpus.jsonl, queries.jsonl and qrels/<split>.tsv {_lacking(folder)} by hand, or correct beir_dir."
        ) from error
    return folder


def is_beir_folder(folder: Path) -> bool:
    """Whether a folder, or each part of it, holds corpus.jsonl, queries.jsonl and judgements, each maybe as .gz."""
    if folder.name in PARTS:
        return all(is_beir_folder(folder / part) for part in PARTS[folder.name])
    texts = ([folder / name, folder / f"{name}.gz"] for name in ("corpus.jsonl", "queries.jsonl"))
    return all(any(map(Path.is_file, files)) for files in texts) and any((folder / "qrels").glob("*.tsv*"))


def _lacking(folder: Path) -> str:
    parts = [part for part in PARTS.get(folder.name, ()) if not is_beir_folder(folder / part)]
    return f"in its folders {', '.join(parts)}" if parts else "there"


def _offline() -> bool:
    values = (os.environ.get(key, "") for key in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"))
    return any(value.upper() in {"1", "ON", "YES", "TRUE"} for value in values)


def _into_place(write: Callable[[Path], None], folder: Path) -> None:
    """Let write fill a temporary folder beside folder, then give it its name in one step; an old one is moved aside."""
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder.parent))
    try:
        target = temporary / folder.name
        target.mkdir()
        write(target)
        if not is_beir_folder(target):
            raise ValueError(f"it holds no {folder.name}/corpus.jsonl with queries.jsonl and qrels beside it")
        for path in filter(Path.is_file, target.rglob("*")):
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        if folder.exists():
            logger.warning("%s is not whole; it is now %s", folder, move_aside(folder))
        os.rename(target, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fetch_archive(url: str, folder: Path, md5: str | None) -> None:
    part = folder.with_name(folder.name + ".zip.part")
    was_begun = part.exists()
    try:
        _fetch(url, part)
        if md5 is not None and _md5(part) != md5:
            raise ValueError(f"the archive's MD5 sum is not {md5}; it was removed, try again")
        _into_place(lambda target: unpack(part, target), folder)
    except ValueError as error:
        part.unlink(missing_ok=True)  # continuing from it would give the same bytes again
        if not was_begun or isinstance(error, requests.RequestException):
            raise
        logger.warning("%s: what was there of it cannot be gone on with (%s); from the start", url, error)
        _fetch_archive(url, folder, md5)
    else:
        part.unlink()


def _fetch(url: str, part: Path) -> None:
    """Append what is missing to part, trying again after a broken connection or a server's error."""
    for attempt in range(ATTEMPTS):
        try:
            return _fetch_once(url, part)
        except requests.RequestException as error:
            status = error.response.status_code if error.response is not None else None
            refused = status is not None and status < 500 and status != 429
            if refused or attempt == ATTEMPTS - 1:
                raise
            if attempt == 0:
                logger.warning("%s: %s; trying again, %d times", url, _why(error), ATTEMPTS - 1)
            time.sleep(WAIT_SECONDS * 2**attempt)


def _why(error: Exception) -> str:
    """An error's words; of one of urllib3's within it only its name: the rest repeats the address."""
    within = error.args[0] if error.args else None
    cause = getattr(within, "reason", None)  # of the last of its own attempts
    return f"no connection ({type(cause).__name__})" if isinstance(cause, Exception) else str(error)


def _fetch_once(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=(10, 60)) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # nothing is missing
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            have = 0  # the server does not continue: from the start
        missing = response.headers.get("Content-Length")
        total = have + int(missing) if missing else None
        bar = tqdm(desc=part.stem, initial=have, total=total, unit="B", unit_scale=True, unit_divisor=1024)
        with open(part, "ab" if have else "wb") as file, bar:
            for chunk in _as_it_comes(response):
                file.write(chunk)
                bar.update(len(chunk))
                if bar.n > MOST_BYTES:
                    raise ValueError(f"the archive is larger than {MOST_BYTES / 2**30:.0f} GiB")


def _as_it_comes(response: requests.Response) -> Iterator[bytes]:
    """What each read of the network brings: waiting for a whole chunk would take a dripping server's whole day."""
    missing = int(response.headers.get("Content-Length") or 0)
    began, have = time.monotonic(), 0
    try:
        while chunk := response.raw.read1(CHUNK_BYTES):
            have += len(chunk)
            yield chunk
            if (seconds := time.monotonic() - began) > SLOW_SECONDS:
                if have < LEAST_RATE * seconds:
                    raise requests.ConnectionError(f"{have} bytes came in {seconds:.0f} s")
                began, have, missing = time.monotonic(), 0, missing - have
    except (OSError, HTTPError) as error:
        raise requests.ConnectionError(error) from error
    if have < missing:
        raise requests.ConnectionError(f"{missing - have} bytes did not come")


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _write_nanobeir(name: str, target: Path) -> None:
    """Three configurations of a hub repository as a BEIR folder; its judgements have no grade: 1 each."""
    from retrieval.row_files import rows_on_hub  # slow to import, and rarely needed

    repository = NANOBEIR_REPOSITORY.format(name=name)
    for config in ("corpus", "queries"):
        rows = ({"_id": row["_id"], "text": row["text"]} for row in rows_on_hub(repository, config))
        write_records(target / f"{config}.jsonl", rows)
    judged = rows_on_hub(repository, "qrels")
    write_qrels(target / "qrels/test.tsv", ((r["query-id"], r["corpus-id"], r.get("score", 1)) for r in judged))
