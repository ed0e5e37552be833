"""The suites that try to break what is promised: kills, sick disks, hostile input; `scripts/suites` runs them."""
