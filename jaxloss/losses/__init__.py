"""The families of losses, one file each."""
