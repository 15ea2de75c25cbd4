"""QLViT on the edge."""
