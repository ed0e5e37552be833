"""What happens to one job: lookup, reserve, download, extract, publish, cleanup, a file for each.

`stages.py` is what the pipeline calls, `wiring.py` builds it, `job_log.py` records. To add a stage: its file here, a
method of `pipeline.ports.StagePort` and of `Stages`, its place in the walk (`pipeline.pipeline`), a key in
`config.settings` if it has one, and the simulated stages of tests/test_pipeline.py. A stage that runs after
`record_completed` must not raise; what a crash before it leaves is decided in `lookup`. If it has a ledger status of
its own, `domain.stage` gets the status and the ledger's schema a version.
"""
