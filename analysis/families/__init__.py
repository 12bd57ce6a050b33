"""What can be asked of one kind of toy model only, a folder each."""
