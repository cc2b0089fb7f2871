"""Front ends: foreign model formats -> Model. The only place that knows them."""
