"""Builds everything: settings and the real parts become a run, its signals, its log and its exit code."""
