"""Noise, levels, samplers, guidance: pure functions over tensors that know nothing of video or of weights."""
