"""Pictures of published folders and calibrations, and the numbers beside them; knows nothing of the pipeline."""
