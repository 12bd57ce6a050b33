"""The toy model of Lecomte et al., *What Causes Polysemanticity?* (2023): neurons shared although there are enough."""
