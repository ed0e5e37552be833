"""The format of a published folder: staged, sealed, published in one step, and checked against its own record.

Theory of operation. A performance is written to a staging folder beside its final path, under a name that belongs to
one attempt. `seal` adds the list of files and, last, the marker, and makes all of it durable: file data, every
directory of the tree. `publish` is one rename, and then the parent folders are synced. The order matters: a marker
does not replace syncing, and a rename that is durable before the data would show a broken folder under its final name
after a power cut. Whatever a crash leaves behind still has a staging name, so `find_staging_folders` finds it. No
symbolic link is ever followed below the output folder.

The marker `.extraction_complete` is written last, so a folder that has one under its final name is complete. It is
small (one read per performance when a run starts); the names, sizes and hashes of all files are beside it in
`.extraction_files.csv`, which only checks read. A folder that a check found damaged, and that is to be extracted
again, has `.extraction_damaged` instead of the marker: the disk says so, whatever happens to the ledger.
"""
