"""The network QLViT V4 in PyTorch, its sizes as data, and what it costs."""
