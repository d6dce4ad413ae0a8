"""One file per published question."""
