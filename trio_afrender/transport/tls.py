"""TLS contexts for both ends, and messages for failed handshakes."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from trio_afrender.errors import ConfigError

__all__ = ("explain_tls", "make_client_context", "make_server_context")

# Keys are OpenSSL's X509_V_ERR_* numbers; the module `ssl` has no names for them.
_GIVE_CA = "; give the certificate of its CA with --ca-file"
_VERIFY_PROBLEMS = {
    9: "the server's certificate is not valid yet",
    10: "the server's certificate has expired",
    18: "the server's certificate is self-signed and not in the CA file; give it with --ca-file",
    19: f"the server's certificate comes from an unknown CA{_GIVE_CA}",
    20: f"the server's certificate comes from an unknown CA{_GIVE_CA}",
    21: f"the server's certificate comes from an unknown CA{_GIVE_CA}",
    23: "the server's certificate has been revoked",
    62: "the server's certificate is for another host name",
    64: "the server's certificate is for another address",
}


def make_client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Make a context that checks servers against the CAs in `ca_file`, else the system's.

    Raises `ConfigError`.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except OSError as error:  # ssl.SSLError is one
        problem = (
            "it has no certificates (PEM)" if isinstance(error, ssl.SSLError) else _name(error)
        )
        raise ConfigError(f"--ca-file {ca_file}: {problem}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def make_server_context(certificate: Path, key: Path | None = None) -> ssl.SSLContext:
    """Make a context that presents the certificate chain of a PEM file.

    Without `key` the file has to contain the private key as well. Raises `ConfigError`.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _check_pem("--cert", certificate, "CERTIFICATE", "it has no certificate (PEM)")
    if key is None:
        _check_pem(
            "--cert", certificate, "KEY", "it has no key: give the file of the key with --key"
        )
    else:
        _check_pem("--key", key, "KEY", "it has no key (PEM)")
    try:
        # An empty password, because OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        names = f"--cert {certificate}" + (f" --key {key}" if key else "")
        problem = f"certificate or key cannot be read ({_name(error)})"
        if _name(error) == "KEY_VALUES_MISMATCH":
            problem = "the key is not that of the certificate"
        raise ConfigError(f"{names}: {problem}") from error
    return context


def _check_pem(option: str, path: Path, part: str, problem: str) -> None:
    """Raise `ConfigError` for a file without a part of that name: OpenSSL would not say what lacks."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{option} {path}: {error.strerror or error}") from error
    if not re.search(rb"-----BEGIN [A-Z0-9 ]*" + part.encode() + b"-----", data):
        raise ConfigError(f"{option} {path}: {problem}")
    if part == "KEY" and b"ENCRYPTED" in data:
        advice = "give one that is not (openssl pkey -in KEY -out NEW)"
        raise ConfigError(f"{option} {path}: the key is encrypted: {advice}")


def explain_tls(error: BaseException | None) -> str:
    """Return the cause of a failed handshake, as part of a sentence about the server."""
    if isinstance(error, ssl.SSLCertVerificationError):
        problem = _VERIFY_PROBLEMS.get(error.verify_code)
        detail = error.verify_message
        return f"{problem} ({detail})" if problem else f"certificate refused: {detail}"
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None) or ""
        if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
            return "the server does not speak TLS there (ws:// instead of wss://?)"
        if "_ALERT_" in reason:
            return f"the server aborted the TLS handshake ({reason})"
    return f"TLS handshake failed ({_name(error) if error else 'connection closed'})"


def _name(error: BaseException) -> str:
    for attribute in ("reason", "strerror"):  # of ssl.SSLError, of other OSErrors
        if text := getattr(error, attribute, None):
            return str(text)
    return str(error) or type(error).__name__
