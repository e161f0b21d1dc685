"""Addresses of OpenSearch servers, and what a user calls them."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from sparse_model.errors import UserError

NO_ADDRESS = "not an address; write http://host:9200 or https://host:443, or a list of such."


@dataclass(frozen=True)
class Words:
    """What to write where a message asks for another server: keys of an evaluation, or a command's options."""

    url: str = "opensearch_url"
    authority: str = "opensearch_ca=FILE"
    unverified: str = "opensearch_verify=false"
    without: str = "let a private node be started: opensearch_home=FOLDER"
    """how to do without a server"""


def split_address(url: str) -> tuple[dict[str, Any], tuple[str, str] | None]:
    """(host, port, scheme and path as opensearch-py takes them; user and password if the URL holds them).

    Without a port, http means 9200 and https 443.

    Raises:
        UserError: if it is no http(s) URL; the message does not repeat what may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 9200)
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(NO_ADDRESS)
    host = {"host": parts.hostname, "port": port, "use_ssl": parts.scheme == "https"}
    if parts.path.strip("/"):
        host["url_prefix"] = parts.path.strip("/")
    credentials = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return host, credentials


def public_address(url: str) -> str:
    """The URL without user and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
