"""Delta tables of what was read and scored, and one SQL database of what changes in place."""
