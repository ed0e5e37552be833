"""One module per modality: each reads the opened .smc and writes files to the output folder."""
