"""DSACap, our reading of the method: image noise, denoiser and parallel readouts."""
