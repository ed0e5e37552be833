"""A file of which only some bytes are here: a sparse file and the list of its ranges that have arrived.

Theory of operation. The sparse file has the size of the remote's, so every offset in it is right and the disk
holds only what was fetched. Beside it the map lists each range with a hash of its bytes, appended after the
bytes were written. Nothing has to be synced: whoever opens the file to go on reads every listed range again and
believes only what the hash confirms, so neither a kill nor a power cut between the two can lie to us.

A reader that needs bytes which are not here gets an error, and the range is noted as wanted. So whatever reads
a file can be run on a file that is not there yet: once to learn what it lacks, again when that has arrived, until
nothing is wanted any more. Each round fetches all that was wanted at once, which is what makes a slow line bearable.
"""

from rm360_async.blocks.spans import Span, Spans, in_pieces, joined
from rm360_async.blocks.sparse import (
    Hole,
    Reader,
    SparseFile,
    is_sparse,
    map_path,
)

__all__ = ["Hole", "Reader", "Span", "Spans", "SparseFile", "in_pieces", "is_sparse", "joined", "map_path"]
