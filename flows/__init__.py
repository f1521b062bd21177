"""Prefect flows and the command line: order, fan-out, progress."""
