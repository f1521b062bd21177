"""Judging predictions and codes (METHOD 7): arrays in, scores per query and tables of figures out.

Retrieval
    `rankings` gives distances, `relevance` says what should be found, `retrieval` scores it,
    `neighbours` looks at the nearest items only, `code_report` puts one set of codes together.
Recognition
    `genre_scores` for one genre per track, `tag_scores` for several tags.
Trust
    `bootstrap` for intervals and differences, `near_duplicates` and `split_audit` for splits that
    cannot flatter, `robustness` for codes of other versions of the same track.
"""
