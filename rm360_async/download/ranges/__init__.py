"""Only the wanted bytes of a remote .smc: what they are, what they cost, and how they get here.

Theory of operation. The extraction's own steps run on a sparse file and write nothing; what they ask for and do
not find is noted (see `blocks`) and fetched, many ranges at once, and they run again, until the index of all that
is wanted is here. Then it is known to the byte what the pictures need: if that is too much of the file, the whole
of it is the cheaper way, and the same sparse file is simply filled up. Otherwise the pictures' ranges are fetched,
joined where they are near, and the worker extracts from the sparse file as from a whole one. It notes holes too:
one that it meets is a fault, never a zero that is published.

All of that happens in a child (`scout`), because the file may be damaged or hostile. The child speaks HTTP to an
rclone that serves the remote on loopback; the service only starts both, looks at the clock, and reads the outcome.
"""
