"""One module per modality: each reads the opened .smc and writes files to the output folder.

A modality's files lie in a folder of its name. To add a modality: `domain.names.Modality` (its order is that of the
extraction; BY_CAMERA if it is stored for each camera), `domain.release` (which performances have it), its function
here and in `registry`, its HDF5 group in `extraction.source` and `smc.file`, its share of a file in
`download.ranges.estimate`, `commands.inspect`, config.yaml, and the writers of `synthetic` and tests/tiny_smc.py.
"""
