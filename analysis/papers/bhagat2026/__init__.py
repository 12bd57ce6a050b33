"""Bhagat et al., *Compressed Computation is (probably) not Computation in Superposition* (arXiv 2606.14673)."""
