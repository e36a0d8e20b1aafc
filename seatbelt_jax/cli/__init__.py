"""The commands, one file each: its flags, and `main`, which reads them and calls the library."""
