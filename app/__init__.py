"""The command line of Fieldscape, and the jobs behind it that a web page runs too."""
