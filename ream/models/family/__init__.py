"""What differs between model families, as data: tensor names, routers, activations, layouts of experts."""
