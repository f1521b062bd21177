"""Decoding with FFmpeg, and the checks of the containers that it is used for."""
