"""The command line: one module a subcommand, each with ``add_parser`` and ``run``.

stdout is data, stderr is talk. Nothing heavy is imported before a command runs, so that ``--help``
answers at once.
"""
