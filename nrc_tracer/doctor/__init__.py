"""Self-checks of an installation and its devices: what `nrc-tracer doctor` and the first use of a GPU run."""
