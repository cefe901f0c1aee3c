"""The tests: laws over all losses, an oracle for each, and what is particular to a family."""
