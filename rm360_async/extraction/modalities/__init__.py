"""One small module per modality: from the opened .smc to files in a staging folder."""
