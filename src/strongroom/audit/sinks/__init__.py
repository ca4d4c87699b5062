"""Where records go beside the journal: each sink takes a batch, or raises what a later attempt may mend."""
