"""A mean that merges over microbatches and hosts; duck-typed to `clu.metrics`, without CLU."""

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Mean:
    """A weighted mean kept as total and count, float32 scalars, so that merging is exact."""

    total: jax.Array
    count: jax.Array

    @classmethod
    def of(cls, total, count=1.0) -> "Mean":
        """From a sum and the number it is over (1 for a value that is already a mean)."""
        return cls(jnp.asarray(total, jnp.float32), jnp.asarray(count, jnp.float32))

    @classmethod
    def over(cls, values: jax.Array, weights: jax.Array) -> "Mean":
        """Of `values` under `weights`, arrays of one shape."""
        weights = weights.astype(jnp.float32)
        return cls.of(jnp.sum(values.astype(jnp.float32) * weights), jnp.sum(weights))

    def merge(self, other: "Mean") -> "Mean":
        return Mean(self.total + other.total, self.count + other.count)

    def reduce(self) -> "Mean":
        """Sums over a leading axis, as after a scan over microbatches."""
        return Mean(jnp.sum(self.total, axis=0), jnp.sum(self.count, axis=0))

    def compute(self) -> jax.Array:
        return self.total / jnp.maximum(self.count, 1e-9)

    def compute_value(self):
        return self.compute()
