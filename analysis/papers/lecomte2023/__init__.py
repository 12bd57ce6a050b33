"""Lecomte et al., *What Causes Polysemanticity?* (arXiv 2312.03096)."""
