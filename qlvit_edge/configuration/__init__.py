"""A configuration file for a command of the command line: TOML, with the command's own options.

`keys` derives what such a file may say from the command, `document` reads and checks a file
against it, `example` writes one with everything in it, and `last_good` keeps a copy of the last
file that was good. There is no second list of options: one that is added to the command is a key.
"""
