"""What people say of a run: cells looked at, classes changed, signed, exported.

Records are only ever added (`records`), each bound to the one before and to the stored cells
that it speaks of (`chain`, `facts`). What they come to is worked out from them (`states`).
`store.ReviewStore` is the way in, also while a run writes to the same file.
"""
