"""An error of the action API."""

from __future__ import annotations

from typing import Any


class Refused(ValueError):
    """code, info: its words. more: further fields of the error."""

    def __init__(self, code: str, info: str, **more: Any) -> None:
        super().__init__(f"{code}: {info}")
        self.code = code
        self.doc = {"code": code, "info": info, **more}
