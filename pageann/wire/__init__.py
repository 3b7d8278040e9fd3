"""Library values to protocol messages and back: what the service and its clients have in common.

``vectors`` packs and unpacks arrays, ``results`` answers of searches, ``statuses`` errors. Bytes that
come from outside are checked before anything is allocated for them.
"""
