"""Open a camera's address over HTTP, and say by its name what goes wrong.

No proxy is used: a camera is in the house.
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPBasicAuthHandler,
    HTTPDefaultErrorHandler,
    HTTPDigestAuthHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPPasswordMgrWithDefaultRealm,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
)

from qlvit_edge.camera.address import Address
from qlvit_edge.errors import CameraError

# A camera that writes its challenge oddly is its maker's affair, not a line for the user.
warnings.filterwarnings("ignore", "Basic Auth Realm was unquoted", UserWarning)

OPEN_SECONDS = 10.0
"""A server that does not answer, or says nothing more, within this time is not there."""

_SERVER = "check the address and that the camera's server runs"
_PATH = "check the path in the address; the camera's manual names it"
_REFUSALS = {
    403: ("access is forbidden", "allow this user or computer in the camera's settings"),
    404: ("there is no such stream", _PATH),
    405: ("it gives no stream at this address", _PATH),
    410: ("there is no such stream any more", _PATH),
    429: ("too many requests", "wait a little and start again"),
    503: ("the camera is busy", "close other viewers of the stream and start again"),
}
"""What an HTTP status means for a camera, and the remedy."""


class _Basic(HTTPBasicAuthHandler):
    """Answers a challenge, and closes the answer that was one (urllib leaves it open)."""

    def http_error_401(self, req: Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        with _closed_if_used(fp) as used:
            used.append(super().http_error_401(req, fp, code, msg, headers))
        return used[0]


class _Digest(HTTPDigestAuthHandler):
    """The same for Digest."""

    def http_error_401(self, req: Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        with _closed_if_used(fp) as used:
            used.append(super().http_error_401(req, fp, code, msg, headers))
        return used[0]


class _Redirection(HTTPRedirectHandler):
    """Follows to web addresses, and closes the answer whose address is none."""

    def http_error_302(self, req: Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except HTTPError:  # it holds the answer
            raise
        except BaseException:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


@contextmanager
def _closed_if_used(fp: Any) -> Iterator[list[Any]]:
    """Close ``fp`` unless what was put into the list says that the next handler needs it."""
    used: list[Any] = []
    try:
        yield used
    finally:
        if used != [None]:
            fp.close()


def open_url(address: Address, seconds: float) -> HTTPResponse:
    """Return the answer to a GET, after redirects and authentication (Basic, Digest).

    Args:
        address: where; user and password go to this host only.
        seconds: limit for the connection and for each wait for data.

    Raises:
        CameraError: no server, no agreement on TLS, or an answer that is a refusal.
    """
    opener = OpenerDirector()
    passwords = HTTPPasswordMgrWithDefaultRealm()
    for handler in (
        HTTPHandler(),
        HTTPSHandler(),
        HTTPDefaultErrorHandler(),
        _Redirection(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    if address.user is not None:
        root = "/".join([*address.url.split("/")[:3], ""])
        # No realm: whatever the camera calls itself.
        passwords.add_password(None, root, address.user, address.password)
        opener.add_handler(_Digest(passwords))
        opener.add_handler(_Basic(passwords))
    headers = {"User-Agent": "qlvit-edge", "Accept": "multipart/x-mixed-replace, image/jpeg, */*"}
    try:
        request = Request(address.url, headers=headers)  # noqa: S310 - the opener knows http and https only
        response = opener.open(request, timeout=seconds)
    except HTTPError as error:
        with error:
            raise CameraError(address.shown, *_refusal(error, address)) from None
    except URLError as error:
        raise CameraError(address.shown, *_failure(error.reason, seconds)) from None
    except Exception as error:  # urllib walks what it is sent, and may trip anywhere over it
        raise CameraError(address.shown, *_failure(error, seconds)) from None
    if not isinstance(response, HTTPResponse):
        raise CameraError(address.shown, "no video stream answers there", _SERVER)
    return response


def _refusal(error: HTTPError, address: Address) -> tuple[str, str]:
    """Finding and remedy for a status that is no success."""
    code = error.code
    if code == 401:
        if address.user is None:
            return (
                "it needs a user name and password (HTTP 401)",
                "put USER:PASSWORD@ before the host, with %2F for a / in the password",
            )
        return "it refuses this user name or password (HTTP 401)", "check both in the address"
    if code in _REFUSALS:
        finding, remedy = _REFUSALS[code]
    elif 300 <= code < 400:
        finding, remedy = "it redirects in circles or to no web address", _PATH
    elif code >= 500:
        finding, remedy = "the camera's server failed", "look at the server, or restart the camera"
    else:
        finding, remedy = "it refuses the request", _PATH
    known = {status.value: f" {status.phrase}" for status in HTTPStatus}
    return f"{finding} (HTTP {code}{known.get(code, '')})", remedy


def _failure(reason: object, seconds: float) -> tuple[str, str]:
    """Finding and remedy for a connection that did not come about."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({reason.verify_message})",
            "install the certificate on this computer (SSL_CERT_FILE names one), or use http://",
        )
    if isinstance(reason, ssl.SSLError):
        return "it does not speak TLS as this computer does", "try http:// instead of https://"
    if isinstance(reason, TimeoutError):
        return f"no video stream answers there within {seconds:.0f} s", _SERVER
    if isinstance(reason, HTTPException):
        return "what answers there is no web server", "check the port in the address"
    if isinstance(reason, OSError) and reason.strerror:
        return f"no video stream answers there ({reason.strerror.lower()})", _SERVER
    return "no video stream answers there", _SERVER
