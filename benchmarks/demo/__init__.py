"""The recipe of the demo pair, a step a file; see README.md beside this file."""
