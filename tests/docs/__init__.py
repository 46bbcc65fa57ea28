"""The pages' commands, played as a reader would type them."""
