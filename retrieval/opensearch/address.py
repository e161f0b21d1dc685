"""Addresses of OpenSearch servers."""

from typing import Any
from urllib.parse import unquote, urlsplit

from sparse_model.errors import UserError

NO_ADDRESS = "not an address; write http://host:9200 or https://host:443, or a list of such."


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
        raise UserError(f"opensearch_url: {NO_ADDRESS}")
    host = {"host": parts.hostname, "port": port, "use_ssl": parts.scheme == "https"}
    if parts.path.strip("/"):
        host["url_prefix"] = parts.path.strip("/")
    credentials = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return host, credentials


def public_address(url: str) -> str:
    """The URL without user and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
