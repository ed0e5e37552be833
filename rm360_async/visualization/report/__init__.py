"""The report: a page for each published performance that shows whether everything is right, and a page for the run.

A page is a list of panels. Each panel has a state, a sentence with its number, the same numbers for `report.json`,
and a template. Pages are self-contained: no scripts, and no fonts, files or requests from elsewhere.
"""

from rm360_async.visualization.report.page import write_page
from rm360_async.visualization.report.page_files import (
    is_page_current,
    read_page_json,
    read_page_states,
    remove_orphan_pages,
)
from rm360_async.visualization.report.run_data import DiskUsage, PerformanceEntry, RunData
from rm360_async.visualization.report.run_page import write_run_page

__all__ = [
    "DiskUsage",
    "PerformanceEntry",
    "RunData",
    "is_page_current",
    "read_page_json",
    "read_page_states",
    "remove_orphan_pages",
    "write_page",
    "write_run_page",
]
