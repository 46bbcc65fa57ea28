"""What is installed: the wheel and the source distribution, in an environment of their own."""
