"""Take RenderMe-360 performances from a remote to published folders, unchanged and resumably."""

__version__ = "0.3.0"
