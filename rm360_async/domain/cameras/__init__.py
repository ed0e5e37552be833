"""Camera convention, facts of the rig, projection, and camera sets; pure, numpy only."""
