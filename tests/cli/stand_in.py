"""A fake renderer that tests can interrupt and make fail, and the command run with it."""

import numpy as np
from click.testing import CliRunner

from nrc_tracer.cli import main
from nrc_tracer.imaging import Image
from nrc_tracer.scene.film import resize_film

SCENE = {"film": {"width": 8, "height": 6}, "sampler": {"spp": 3}, "lights": [{"type": "constant", "radiance": 0.5}]}


class FakeRenderer:
    """Gives every pixel the value 0.5; `arguments` records what the renderer was created with."""

    device, accel, dropped, notice, cache = "cpu", "embree", 0, None, None

    def __init__(self, scene, *, width=None, height=None, **arguments):
        self.arguments = arguments
        film = resize_film(scene.description.film, width, height)
        self.width, self.height, self.samples = film.width, film.height, 0
        FakeRenderer.last = self
        print("a library that talks")

    def compile(self):
        return 0.25

    def image(self):
        return Image(np.full((self.height, self.width, 3), 0.5), samples=self.samples, dropped=self.dropped)

    def noise(self):
        return 0.125

    def layers(self, names):
        return {name: np.zeros((self.height, self.width, 3), np.float32) for name in names}

    def save_checkpoint(self, path):
        path.write_text(str(self.samples))

    def load_checkpoint(self, path):
        self.samples = int(path.read_text())

    def dropped_pixels(self):
        return [(1, 2)] * self.dropped


def run(renderer, *, spp, time, noise, progress, stop):
    renderer.samples = spp if spp is not None else 5
    progress(renderer)
    return True


def render(*arguments):
    return CliRunner().invoke(main, ["render", *map(str, arguments)])


def lines(result):
    return result.stderr.splitlines()
