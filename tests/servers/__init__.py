"""Real servers, and wire doubles of those that cannot be run here."""

import os

# grpc reads it once, when it is first imported, by whichever module that is; tests fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")
