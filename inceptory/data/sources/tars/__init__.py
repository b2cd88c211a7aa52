"""Pictures in tar files, as WebDataset packs them."""
