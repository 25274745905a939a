"""Networks' parts: layers, likelihoods and modules of counts."""
