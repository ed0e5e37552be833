"""A synthetic RenderMe-360 remote, true to the release layouts, to test pipelines with and to show how things work."""
