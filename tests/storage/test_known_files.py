"""Known files looked up along with a scan: compared with a dictionary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musichash_core.records import SourceFile
from storage import collected_rows, tables
from storage.collected_rows import MemoryRows, RowCollector, Rows
from storage.known_files import KnownFiles
from storage.source_files import FILES, SourceFiles, found_table

ROOTS = ["/a", "/a b", "/b", "/é"]

places = st.tuples(
    st.sampled_from(ROOTS),
    st.sampled_from([b"a", b"a/b", b"a-b", b"a b", b"\xff", b"z"]) | st.binary(max_size=2),
)


def rows_of(files, *, in_file=False) -> Rows:
    table = SourceFiles.of(files).table
    if not in_file:
        return MemoryRows(table)
    with RowCollector(FILES) as rows:
        rows.add(table)
        return rows.finish()


@given(
    found=st.sets(places, max_size=20),
    known=st.lists(st.lists(places, max_size=20), max_size=3),
    is_sorted=st.booleans(),
    in_file=st.booleans(),
    batch_rows=st.integers(1, 7),
    part_rows=st.integers(1, 7),
)
def test_each_name_gets_the_first_that_is_known_of_it(
    found, known, is_sorted, in_file, batch_rows, part_rows
):
    sources = [sorted(source) if is_sorted else source for source in known]
    n_files = 0
    files: list[list[SourceFile]] = []
    wanted: dict[tuple[str, bytes], SourceFile] = {}
    for source in sources:
        files.append([])
        for root, path_raw in source:
            n_files += 1
            file = SourceFile(f"{n_files:032x}", root, "", path_raw, n_files, 0)
            files[-1].append(file)
            wanted.setdefault((root, path_raw), file)
    names = sorted(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collected_rows, "BATCH_ROWS", batch_rows)
        patch.setattr(collected_rows, "MEMORY_ROWS", 0)
        patch.setattr(tables, "ROW_GROUP_ROWS", 3)
        matcher = KnownFiles(*(rows_of(one, in_file=in_file) for one in files)).matcher()
        for start in range(0, len(names), part_rows):
            part = names[start : start + part_rows]
            matches = matcher.match(found_table([(*place, None, None, "") for place in part]))
            matched = SourceFiles(matches.files)
            assert [None if row < 0 else matched[row] for row in matches.rows.tolist()] == [
                wanted.get(place) for place in part
            ]
