"""The summary of a manifest: by performance and by subject, as numbers and as a plot."""

from rm360_async.visualization.summary.manifest import decode_manifest, read_manifest
from rm360_async.visualization.summary.plot import write_plot
from rm360_async.visualization.summary.tally import Tally, by_performance, by_subject, tally

__all__ = ["Tally", "by_performance", "by_subject", "decode_manifest", "read_manifest", "tally", "write_plot"]
