"""What a client is told when something is wrong, in OpenAI's shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response


class Json(Response):
    """JSON in ASCII: a text with half of a surrogate pair, which a client may send, has no UTF-8 form."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json_text(content).encode()


def json_text(value: Any) -> str:
    """Compact JSON text, ASCII only."""
    return json.dumps(value, separators=(",", ":"))


class ApiError(Exception):
    """A request is not answered; the message says what to do.

    `param`: the field that is wrong, as `messages.0.content`. `code`: a name that programs look for.
    `retry_after_s`: when it may work.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
        kind: str = "invalid_request_error",
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.kind = status, param, code, kind
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """`{"error": …}`, whose text always has a UTF-8 form."""
        message = str(self).encode("utf-8", "backslashreplace").decode()
        return {"error": {"message": message, "type": self.kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The whole answer."""
        headers: Mapping[str, str] = {}
        if self.retry_after_s is not None:
            headers = {"Retry-After": str(self.retry_after_s)}
        elif self.status == 408:
            headers = {"Connection": "close"}
        elif self.status == 401:
            headers = {"WWW-Authenticate": "Bearer"}
        return Json(self.body(), self.status, headers)


def busy(message: str, retry_after_s: int = 1) -> ApiError:
    """As many requests as are taken are being answered."""
    return ApiError(message, status=503, kind="server_error", code="server_busy", retry_after_s=retry_after_s)
