"""A page to look at: what happened in a journal, and how far it is proved."""
