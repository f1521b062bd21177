"""placeholder"""
from pathlib import Path
def write_report(store, config, path=None):
    return Path(store)/"report.html"
