"""The real peer libraries, called so that their definitions equal ours."""
