"""Stub."""


def why_not() -> str:
    """Return why the backend cannot run here."""
    return "it is not built"
