"""The trained thing: LightningModule, card, checkpoint, normalisation, freezing, ensemble."""
