"""The musicnn tagging networks (Pons and Serra, 2019): a pre-trained encoder for any music.

Four convolutional networks, two architectures trained on two collections, give 50 tag
probabilities, an embedding and feature maps per patch of three seconds, with no label of one's own
(METHOD 4.1, E2). The weights are the authors', under the ISC licence: see ``weights/README.md``.

The way of a track: `log_mel.MelPowerExtractor` turns samples at 16 kHz into mel power,
`log_mel.cut_patches` cuts evenly spaced patches, `log_mel.power_to_log_mel` (or, for frames that
were stored as bytes, `log_mel.bytes_to_log_mel`) compresses them, and `pretrained.encode_patches`
and `pretrained.summarise_patches` give what the network says about them.
"""
