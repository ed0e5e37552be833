"""The camera rig: its convention, projection, coverage, camera sets, and checks of calibrations; numpy only."""
