"""Every format on disk: Zarr, Parquet, FAISS files, checkpoints, snapshots."""
