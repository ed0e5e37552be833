"""Download RenderMe-360 performances from a remote and publish them as folders, unchanged and resumably."""

__version__ = "0.3.0"
