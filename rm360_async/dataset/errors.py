"""What reading a published folder raises."""

from __future__ import annotations


class MissingData(KeyError):
    """Data that the folder does not hold: a camera, a frame that is a hole, landmarks of a frame; says which."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message  # a KeyError would put quotes round it


class DamagedData(ValueError):
    """A file of a published folder that cannot be read as what it is; says which and why."""
