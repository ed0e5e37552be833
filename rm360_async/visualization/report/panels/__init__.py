"""The panels of a report page."""
