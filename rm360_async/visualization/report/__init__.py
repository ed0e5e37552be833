"""The report: a page for each published performance that shows whether everything is right, and a page for the run.

A page is a list of panels. Each panel has a state, a sentence with its number, and the same numbers for
`report.json`; what it draws lies in its template. Pages are whole in themselves: no script, no font, no file and
no request from elsewhere.
"""

from rm360_async.visualization.report.page import page_is_current, read_brief, read_numbers, write_page
from rm360_async.visualization.report.run_data import DiskUsage, GridRow, RunNumbers
from rm360_async.visualization.report.run_page import sweep, write_index

__all__ = [
    "DiskUsage",
    "GridRow",
    "RunNumbers",
    "page_is_current",
    "read_brief",
    "read_numbers",
    "sweep",
    "write_index",
    "write_page",
]
