"""Episodes on disk and what is made of them: the store, its token cache, packs and other forms."""
