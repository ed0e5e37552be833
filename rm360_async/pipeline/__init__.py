"""The flow of jobs through their stages; knows no disk, no network, no database."""
