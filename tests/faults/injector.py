"""Let the k-th file operation below a folder go wrong, whichever library asks for it.

`shim.c` is compiled and loaded into a process with ``LD_PRELOAD``; it counts operations and reads
from a small shared file what to do. Processes that are forked afterwards obey the same file, so one
warm process can serve many trials. Public: `Control`, `build_shim`, `environment`, `FAULTS`.
"""

import mmap
import os
import struct
import subprocess
from pathlib import Path

FAULTS = {"none": 0, "kill": 1, "tear": 2, "full": 3, "broken": 4}
"""Before operation k the process is killed; half of a write reaches the file, then it is killed
(another operation is done, then it is killed); the disk is full from k on; k is an I/O error."""

SOURCE = Path(__file__).with_name("shim.c")
CONTROL_VARIABLE = "FAULTS_CONTROL"
_FORM = struct.Struct("<IIQQII1024s1024s1024s")


def build_shim(folder: Path) -> Path:
    """Compile the library; gives its path."""
    library = folder / "shim.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", library]
    subprocess.run([*command, SOURCE, "-ldl"], check=True)
    return library


def environment(library: Path, control: Path) -> dict[str, str]:
    """Give the environment of a process that the shim is to be loaded into."""
    control.write_bytes(bytes(_FORM.size))
    # Threads of numerical libraries do not survive a fork.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return os.environ | threads | {"LD_PRELOAD": str(library), CONTROL_VARIABLE: str(control)}


class Control:
    """What the shim of this process and of those that it forks is to do."""

    def __init__(self, path: Path | None = None) -> None:
        with (path or Path(os.environ[CONTROL_VARIABLE])).open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _FORM.size)

    def arm(self, root: Path, fault: str = "none", at: int = 0, log: Path | None = None) -> None:
        """Count from 0 below a folder; the fault comes at operation `at`."""
        texts = (os.fsencode(root.resolve()), os.fsencode(log or ""), b"")
        self._memory[:] = _FORM.pack(1, FAULTS[fault], at, 0, 0, 0, *texts)

    def disarm(self) -> None:
        """Count no more."""
        self._memory[:4] = bytes(4)

    @property
    def count(self) -> int:
        """Operations since it was armed."""
        return _FORM.unpack(self._memory)[3]

    @property
    def struck(self) -> str | None:
        """The operation that went wrong and its path; None where none did."""
        *_, has_struck, _, _, _, text = _FORM.unpack(self._memory)
        return os.fsdecode(text.rstrip(b"\0")) if has_struck else None
