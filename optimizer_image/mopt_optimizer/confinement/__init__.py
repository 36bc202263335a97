"""The walls of a process that opens what is not trusted. Imported before anything that takes time:
the standard library, and the libraries for Landlock and seccomp when a wall is put up."""
