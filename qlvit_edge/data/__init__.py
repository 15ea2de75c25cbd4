"""Labelled images on disk: folders, checks, splits, augmentation and batches."""
