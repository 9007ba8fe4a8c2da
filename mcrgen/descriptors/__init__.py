"""Statistical descriptors of media: one per file, a pure function each and a thin Module where one is needed."""
