"""Only the needed bytes of a remote .smc: which they are, what they cost, and how they are downloaded.

Theory of operation. The extraction's own steps run on a sparse file and write nothing; what they read and do not find
is noted (see `system.sparse_file`) and downloaded, many ranges at once, and they run again, until the index of all
that is selected is here. Then it is known to the byte what the images need: if that is too much of the file, the whole
file costs less, and the same sparse file is simply completed. Otherwise the ranges of the images are downloaded, joined
where they are near, and the extraction reads the sparse file like a whole one. It notes holes too: one that it meets
is a fault, never zeros that are published.

All of that happens in a child process (`worker`), because the file may be damaged or hostile. It has no network: it
tells the service which spans it wants, waits for the answer that they are there, and reads the map of the sparse file
again. The service downloads them like any other bytes (`download.connections`).
"""
