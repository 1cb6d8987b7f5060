"""The embedded world: a painted data set, a tiny Stable Diffusion, a tiny CLIP, and the recipe of both."""
