"""Checks of a calibration."""
