"""From an anomaly to somebody who knows: rendering, pictures, receivers, delivery."""
