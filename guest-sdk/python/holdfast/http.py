"""Requests as handlers see them, and their answers: whole bodies, at most 32 MiB by default."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from http import HTTPStatus
from typing import Any, Union, cast
from urllib.parse import parse_qsl, unquote

from ._json import encode

__all__ = ["BadRequest", "Headers", "HeaderItems", "Request", "Response"]

HeaderItems = Union[Mapping[str, str], Iterable[tuple[str, str]]]
"""What headers are made of: names and values, or pairs of them where names repeat."""


class Headers(Mapping[str, str]):
    """Headers by name, in any case. As a mapping it joins the values of a repeated header by `, `.

    Values are ISO 8859-1, as everywhere in Python: any bytes come through unchanged.
    """

    __slots__ = ("raw",)

    raw: list[tuple[str, bytes]]
    """Names in lower case with their values, repeated headers in their order."""

    def __init__(self, items: HeaderItems = ()) -> None:
        self.raw = []
        for name, value in cast("Iterable[tuple[str, str]]", items.items() if isinstance(items, Mapping) else items):
            self.append(name, value)

    @classmethod
    def of_raw(cls, raw: list[tuple[str, bytes]]) -> Headers:
        """Headers of pairs that are as `raw` has them."""
        headers = cls.__new__(cls)
        headers.raw = raw
        return headers

    def append(self, name: str, value: str) -> None:
        """Add a header, beside any of that name."""
        self.raw.append((name.lower(), str(value).encode("latin-1")))

    def get_all(self, name: str) -> list[str]:
        """The values of a header, each by itself."""
        name = name.lower()
        return [value.decode("latin-1") for other, value in self.raw if other == name]

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __setitem__(self, name: str, value: str) -> None:
        """Set a header, in place of all of that name."""
        self.raw = [header for header in self.raw if header[0] != name.lower()]
        self.append(name, value)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self.raw = [header for header in self.raw if header[0] != name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(other == name.lower() for other, _ in self.raw)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self.raw))

    def __len__(self) -> int:
        return len({name for name, _ in self.raw})

    def __repr__(self) -> str:
        return f"Headers({[(name, value.decode('latin-1')) for name, value in self.raw]})"


class BadRequest(ValueError):
    """The caller sent something other than what was asked for. Says what, in words for the caller.

    Uncaught it fails the turn like any other error, and the caller gets status 500. To answer with status 400:

    ```python
    try:
        draft = request.json()
    except BadRequest as bad:
        return bad.response()
    ```
    """

    def response(self) -> Response:
        """The answer to it, with status 400."""
        return Response.error(HTTPStatus.BAD_REQUEST, str(self))


class Request:
    """One HTTP request."""

    method: str
    """The method as sent, for example `GET`."""
    uri: str
    """Path and query below the object: `/add?n=2` for a request to `/counter/alice/add?n=2`."""
    headers: Headers
    body: bytes
    handler: Any = None
    """The SDK's own: the handler that this is the request of."""

    def __init__(self, method: str, uri: str = "/", headers: Headers | HeaderItems = (), body: bytes = b"") -> None:
        self.method = method
        self.uri = uri
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self.body = body

    @property
    def path(self) -> str:
        """The path below the object as sent; it always begins with `/`."""
        return self.uri.partition("?")[0]

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """The path in pieces, percent-decoded: made for `match`. `/` has none; `/a/` has two, the second is empty.

        ```python
        match request.method, request.segments:
            case "GET", ():
                return self.list()
            case "GET", ("books", title):
                return self.show(title)
        ```
        """
        path = self.path[1:]
        return tuple(map(unquote, path.split("/"))) if path else ()

    @property
    def prefix(self) -> str:
        """The path that led to the object, for example `/counter/alice`: put it before a path to make a link."""
        return self.headers.get("x-forwarded-prefix", "")

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters of the query; where one repeats, its first value."""
        return dict(reversed(self.query_items))

    @cached_property
    def query_items(self) -> list[tuple[str, str]]:
        """The parameters of the query in their order, repeated ones included."""
        return parse_qsl(self.uri.partition("?")[2], keep_blank_values=True)

    def text(self) -> str:
        """The body as text. Raises `BadRequest` if it is not UTF-8."""
        try:
            return self.body.decode()
        except UnicodeDecodeError as error:
            raise BadRequest(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None

    def json(self) -> Any:
        """The body, which is JSON, whatever its content type. Raises `BadRequest` if it is not."""
        try:
            return json.loads(self.text())
        except json.JSONDecodeError as error:
            raise BadRequest(f"the body is not JSON: {error}") from None

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri}>"


class Response:
    """The answer to a request. It leaves the host once everything that its turn wrote is on disk.

    ```python
    Response("hello")
    Response.json({"id": 7}, status=201, headers={"location": "/notes/7"})
    ```
    """

    status: int
    headers: Headers
    body: bytes

    def __init__(self, body: str | bytes = b"", status: int = 200, headers: HeaderItems = ()) -> None:
        """Text is sent as `text/plain`, bytes as `application/octet-stream`, unless the headers say something else.

        The status is 200 to 599.
        """
        self.status = status
        self.headers = Headers(headers)
        self.body = body.encode() if isinstance(body, str) else body
        if body and "content-type" not in self.headers:
            kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/octet-stream"
            self.headers.append("content-type", kind)

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: HeaderItems = ()) -> Response:
        """A value as JSON."""
        response = cls(encode(value), status, headers)
        response.headers["content-type"] = "application/json"
        return response

    @classmethod
    def html(cls, page: str, status: int = 200, headers: HeaderItems = ()) -> Response:
        """An HTML page."""
        response = cls(page, status, headers)
        response.headers["content-type"] = "text/html; charset=utf-8"
        return response

    @classmethod
    def redirect(cls, location: str, status: int = HTTPStatus.SEE_OTHER) -> Response:
        """Look there, with GET. A path begins with `Request.prefix` to stay within the object."""
        return cls(status=status, headers={"location": location})

    @classmethod
    def error(cls, status: int, detail: str, headers: HeaderItems = ()) -> Response:
        """An error for the caller, in the form of the host's own errors: `application/problem+json` (RFC 9457).

        Unlike an exception it is an ordinary answer: the turn succeeds, and what it wrote stays.
        """
        title = HTTPStatus(status).phrase if status in _STATUSES else "Error"
        response = cls.json({"title": title, "status": int(status), "detail": detail}, status, headers)
        response.headers["content-type"] = "application/problem+json"
        return response

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


_STATUSES = frozenset(HTTPStatus)
