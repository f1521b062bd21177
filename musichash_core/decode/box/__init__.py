"""A confined process that decodes for its owner."""
