"""Training and tuning: the loop, its objectives and rewards, checkpoints, several processes."""
