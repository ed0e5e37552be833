"""The only room that writes published folders: stage, seal, publish, sweep.

Theory of operation. A performance is written to a staging folder beside its final place, under a name that
belongs to one attempt. `seal` adds the list of files and, last, the marker, and makes all of it durable:
file data, every directory of the tree. `publish` is one rename, and then the parent folders are synced.
The order matters: a marker does not replace syncing, and a rename that is durable before the data would show
a broken folder under its final name after a power cut. Whatever a crash leaves behind still has a staging
name, so `find_staging` finds it. No symbolic link is ever followed below the output folder.
"""

from rm360_async.package.new_files import NewFiles
from rm360_async.package.places import find_staging, remove_tree, staging_path
from rm360_async.package.publishing import is_marked_damaged, mark_damaged, publish
from rm360_async.package.sealing import file_system_of, seal
from rm360_async.package.staging import StagingFolder
from rm360_async.package.writing import write_fault, writing

__all__ = [
    "NewFiles",
    "StagingFolder",
    "file_system_of",
    "find_staging",
    "is_marked_damaged",
    "mark_damaged",
    "publish",
    "remove_tree",
    "seal",
    "staging_path",
    "write_fault",
    "writing",
]
