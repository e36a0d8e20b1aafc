"""The code of a JAX function read as affine maps with activations between them, and what bounds follow.

`trace` and `patterns` read the jaxpr into a `graph`; `program` cuts it at its activations into `stages`. `forms` pushes
columns through the stages: `values` bounds what the activations read, `jacobians` the derivative over a ball.
"""
