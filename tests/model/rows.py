"""What a trial reports, to be compared bit for bit."""


def bits(result):
    """All but the time it took."""
    tables = {"curve": result.curve, **result.tables}
    columns = {
        (table, name): (values.dtype.str, values.tobytes())
        for table, named in tables.items()
        for name, values in named.items()
    }
    return result.config, result.status, result.error, result.last_step, result.metrics, columns


def finish(trainer):
    """Train to the end; what all who left with a result report, by trial_id."""
    for _ in trainer:
        pass
    return {result.config.trial_id: bits(result) for result in trainer.results()}
