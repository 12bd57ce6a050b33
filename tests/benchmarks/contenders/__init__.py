"""What monosweep is measured against, and monosweep itself as a user launches it; each trains the same trials."""
