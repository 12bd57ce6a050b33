"""Papers reproduced, a folder each: their batches, figures and claims."""
