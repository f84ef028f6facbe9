"""Datasets: catalogs of clips, how they are filled, and batches from them. Knows nothing of losses or optimizers."""
