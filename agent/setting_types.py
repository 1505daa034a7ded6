"""Kinds of settings: what a value may be, and what a field of the types tells of it."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic.fields import FieldInfo

PREFIX = "STRETTO_"
NESTED = "__"


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        validate_assignment=True,
    )


def _no_truth(value: Any) -> Any:
    """`port = true` is a slip, not the number 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def listed(value: Any) -> Any:
    """A variable is one text: a list's items stand apart by commas or spaces, or it is a JSON list."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("must be a list: items apart by commas, or JSON") from None
    return value.replace(",", " ").split()


def visible(value: SecretStr) -> SecretStr:
    """Refuse what no HTTP header carries; the message never shows the key."""
    text = value.get_secret_value()
    if not text or not all("!" <= character <= "~" for character in text):
        raise ValueError("a key is made of visible ASCII characters, without spaces")
    return value


def web_address(value: str) -> str:
    """Without a slash at the end."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be the address of a server, as in https://calls.example.com")
    return value.rstrip("/")


def host_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError("must be HOST:PORT, as in 127.0.0.1:9092")
    return value


def _network(value: str) -> str:
    ipaddress.ip_network(value, strict=False)
    return value


Number = BeforeValidator(_no_truth)
Count = Annotated[int, Field(ge=1), Number]
Natural = Annotated[int, Field(ge=0), Number]
Port = Annotated[int, Field(ge=0, le=65535), Number]
Positive = Annotated[float, Field(gt=0), Number]
Probability = Annotated[float, Field(ge=0, le=1), Number]
Key = Annotated[SecretStr, AfterValidator(visible)]
Network = Annotated[str, AfterValidator(_network)]


def section_of(field: FieldInfo | None) -> type[BaseModel] | None:
    """The type of a field that is a table of its own."""
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def sections_of(field: FieldInfo | None) -> type[BaseModel] | None:
    """The type of tables of their own that stand below a field, each under a name."""
    parts = get_args(field.annotation) if field else ()
    kind = parts[1] if len(parts) == 2 else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def variable(names: Sequence[str]) -> str:
    """The environment variable of a key: `("serve", "port")` is STRETTO_SERVE__PORT."""
    return PREFIX + NESTED.join(names).upper()


def is_secret(field: FieldInfo) -> bool:
    """Its value is shown nowhere."""

    def within(kind: Any) -> bool:
        return kind is SecretStr or any(within(part) for part in get_args(kind))

    return within(field.annotation)
