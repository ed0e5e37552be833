"""Checks of a calibration: conventions of RT, poses, lenses, the rig's table, and landmarks."""
