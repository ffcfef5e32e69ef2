"""Files that are replaced whole or not at all, and the container format of snapshots and checkpoints."""
