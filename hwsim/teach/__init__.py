"""A page that shows what bits do: a layer's levels, a sum on its circuit, and what both cost."""
