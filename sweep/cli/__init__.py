"""The verbs of the command line; the front door `sweep.__main__` imports a verb when it is asked for."""
