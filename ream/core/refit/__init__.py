"""Least squares on a layer's output, beyond the REAM paper (docs/refit.md).

The refit fits the down projections of a compressed layer's experts in closed form:

- `refit`: what is minimised, the settings, the report, and the choice of a solver
- `sums`: passes over the layer's tokens
- `conjugate_gradients`: the solver for layers of any size, one pass a sweep
- `direct`: the solver for small layers, one Cholesky factor for all experts
- `output_coordinates`: what changes where a matrix stands behind the experts
- `solution`: measures what a solver found, and undoes it for outputs that became worse

The fit then moves gate, up and down projections together:

- `projection_fit`: Adam by rounds of passes, the settings and the report
- `projection_passes`: the experts' outputs, errors and gradients, one pass over the tokens each
- `coordinates`: the coordinates in which the fit moves, in which all directions have about the same curvature

Choosing neurons is a way to merge a group of experts that a refit follows:

- `neuron_choice`: neurons that stay, the expert they make up, and the router rows of a group
"""
