"""The command line: arguments, exit codes and progress bars."""
