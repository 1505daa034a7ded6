"""What a client is told when it asks for something that cannot be done; the call goes on."""

from __future__ import annotations


class RequestError(ValueError):
    """One event of the client is refused. `code` and `param` as in an `error` event of the protocol."""

    def __init__(self, message: str, code: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
