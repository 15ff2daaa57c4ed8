"""A SOURCE on the command line as one whole recording, whatever it is."""
