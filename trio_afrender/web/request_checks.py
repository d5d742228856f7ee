"""Which requests a page may have sent: rules over headers, and the headers of each answer. Pure.

A browser sends requests for every page that is open in it, also to 127.0.0.1, with cookies and as
its user. So where a request comes from is read from what pages cannot set.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Sequence

from trio_afrender.text import show_json
from trio_afrender.transport.address import is_loopback, split_host

__all__ = ("ANSWER_HEADERS", "MARK", "collect_headers", "find_refusal", "is_forwarded")

MARK = "x-trio-afrender"
"""A header that a page of another site cannot add without asking first, which is refused."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
ANSWER_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""Headers of every answer."""
_FORWARDED = ("forwarded", "x-real-ip", "x-client-ip", "x-original-host", "true-client-ip", "via")
_SINGLE = ("host", "origin", "sec-fetch-site", "content-type", "content-length", "cookie", MARK)
"""Headers that count once: of two, programs use different ones, and attacks rest on that."""


def collect_headers(raw: Sequence[tuple[bytes, bytes]]) -> tuple[dict[str, str], str]:
    """Headers by their names in lower case; and what is wrong with them, '' if nothing."""
    found: dict[str, str] = {}
    for name, value in raw:
        key = name.decode("latin-1").lower()
        if key in found and key in _SINGLE:
            return found, f"the header {key} stands twice"
        found[key] = value.decode("latin-1")
    if "content-length" in found and "transfer-encoding" in found:
        return found, "a body has Content-Length or Transfer-Encoding, not both"
    return found, ""


def is_forwarded(headers: Mapping[str, str]) -> bool:
    """Whether a proxy on this machine may have sent a request for another user."""
    return any(name in _FORWARDED or name.startswith("x-forwarded-") for name in headers)


def find_refusal(
    method: str, path: str, headers: Mapping[str, str], *, tls: bool, names: Collection[str]
) -> str:
    """Why a request is not answered; '' if it may be. `names` are those of this host."""
    host = headers.get("host", "")
    if not _is_own_host(host, names):
        return (
            f"the Host header is {show_json(host)}, not a name of this server; --host-name adds one"
        )
    own = f"{'https' if tls else 'http'}://{host.lower()}"
    origin = headers.get("origin")
    if origin is not None and origin.lower() != own:
        return f"the Origin header is {show_json(origin)}, not this server"
    site = headers.get("sec-fetch-site", "none")
    # A user may follow a link to the page, which holds no data by itself.
    visit = (
        method == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest", "document") == "document"
        and not path.startswith("/api/")
    )
    if site not in ("none", "same-origin") and not visit:
        return f"the Sec-Fetch-Site header is {show_json(site)}: the page of another site asks"
    if method not in ("GET", "HEAD"):
        if origin is None:
            return "a change needs the Origin header, which browsers send"
        if headers.get(MARK) != "1":
            return "a change needs the header X-Trio-Afrender: 1"
    return ""


def _is_own_host(header: str, names: Collection[str]) -> bool:
    """A name of this host, or an address: only names can be pointed here by others."""
    host = split_host(header)
    if not host:
        return False
    if is_loopback(host) or host in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
