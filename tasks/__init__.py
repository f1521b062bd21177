"""One module per pipeline stage: read, compute, write, report."""
