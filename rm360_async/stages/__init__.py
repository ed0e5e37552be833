"""What happens to one job, one file a stage."""
