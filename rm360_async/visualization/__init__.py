"""Plots, contact sheets and reports of published folders and calibrations; independent of the pipeline."""
